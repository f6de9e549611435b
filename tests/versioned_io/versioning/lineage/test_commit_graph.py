"""Graphs of whole commits: one lineage ID, or the full ancestry or descent of a commit."""

import uuid

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import versioned_io as vio
from versioned_io.catalog.plain import rows
from versioned_io.errors import CommitNotFoundError, InvalidInputError


@pytest.fixture
def repos(store):
    for name in ("data", "labels", "reports"):
        store.create_repo(name)
    return store


def compute(store, target, *sources, data=b"1", **options):
    """Read files in a run, commit one, and return the commit."""
    with store.run("compute"):
        for ref in sources:
            place, _, path = ref.partition(":")
            store.snapshot(place).read(path)
        with store.transaction(target, empty="allow", **options) as tx:
            tx.write("out", data)
    return tx.commit


def test_a_lineage_id_gives_its_commits_and_what_they_were_made_from(repos, write):
    labels = write(repos, "labels@main", {"l": b"1"})
    data = write(repos, "data@main", {"d": b"1"})
    report = compute(repos, "reports@main", "data@main:d", "labels@main:l")
    assert report.lineage_id == data.lineage_id != labels.lineage_id
    graph = repos.lineage_graph(data.lineage_id)
    assert graph.roots == (data.id, report.id)
    assert graph.ids == (labels.id, data.id, report.id)
    assert set(graph.edges) == {(report.id, data.id), (report.id, labels.id)}
    assert graph.is_whole
    assert graph.commits == ()
    assert repos.lineage_graph(data.lineage_id, with_commits=True).commits == (labels, data, report)


def test_an_edge_leads_to_the_commit_that_made_or_confirmed_the_file_and_not_to_the_one_it_was_read_at(repos, write):
    first = write(repos, "data@main", {"d": b"1"})
    write(repos, "data@main", {"other": b"1"})
    report = compute(repos, "reports@main", "data@main:d")
    assert repos.lineage_graph("reports@main").edges == ((report.id, first.id),)
    assert repos.lineage_graph(first.id, way="down").ids == (first.id, report.id)


def test_a_source_without_files_is_an_edge_too(repos, write):
    source = write(repos, "data@main", {"d": b"1"})
    made = write(repos, "reports@main", {"r": b"1"}, provenance=[source.id])
    assert repos.lineage_graph("reports@main").edges == ((made.id, source.id),)
    assert repos.lineage_graph(source.id, way="down").edges == ((made.id, source.id),)


@pytest.fixture
def chain(repos, write):
    """Five reports, each made from the one before."""
    made = [write(repos, "reports@main", {"out": b"0"})]
    made += [compute(repos, "reports@main", "reports@main:out", data=b"%d" % number) for number in range(1, 5)]
    return [commit.id for commit in made]


def test_depth_and_limit_keep_the_nearest_and_say_that_something_was_left_out(repos, chain):
    newest, oldest = chain[-1], chain[0]
    assert repos.lineage_graph(newest).ids == tuple(chain)
    assert repos.lineage_graph(newest, depth=2).ids == tuple(chain[2:])
    assert repos.lineage_graph(newest, limit=2).ids == tuple(chain[3:])
    assert repos.lineage_graph(oldest, way="down", depth=1).ids == tuple(chain[:2])
    assert repos.lineage_graph(newest, depth=0).ids == (newest,)
    assert [repos.lineage_graph(newest, depth=depth).is_whole for depth in (3, 4, 5)] == [False, True, True]
    assert [repos.lineage_graph(newest, limit=limit).is_whole for limit in (4, 5, 6)] == [False, True, True]
    assert repos.lineage_graph(newest, depth=2).edges == ((chain[3], chain[2]), (chain[4], chain[3]))
    assert repos.lineage_graph(newest, depth=10**15, limit=10**15).ids == tuple(chain)


def test_a_lineage_id_takes_no_bound_and_an_unknown_id_is_an_error(repos, write):
    commit = write(repos, "data@main", {"d": b"1"})
    for bound in ({"way": "up"}, {"depth": 1}, {"limit": 1}):
        with pytest.raises(InvalidInputError, match="is a lineage ID"):
            repos.lineage_graph(commit.lineage_id, **bound)
    with pytest.raises(CommitNotFoundError):
        repos.lineage_graph("0" * 32)


# Random graphs, and large ones


def check_both_ways(store, commits):
    """Both ways agree, and a file's upstream never reaches a commit that the graph of commits lacks."""
    up = {commit.id: store.lineage_graph(commit.id) for commit in commits}
    down = {commit.id: store.lineage_graph(commit.id, way="down") for commit in commits}
    for one, graph in up.items():
        assert set(down[one].ids) == {other for other in up if one in up[other].ids}
        exact = store.upstream(one)
        assert {commit.id for commit in exact.commits} <= set(graph.ids)
        assert set(exact.edges) <= set(graph.edges)
        for depth in range(3):
            near, names = {one}, {one}
            for _ in range(depth):
                near = {source for consumer, source in graph.edges if consumer in near}
                names |= near
            assert set(store.lineage_graph(one, depth=depth).ids) == names


drawn = st.lists(st.tuples(st.integers(0, 2), st.lists(st.integers(1, 6), max_size=3)), min_size=1, max_size=9)


def make_drawn(store, steps):
    names = ("data", "labels", "reports")
    for name in names:
        store.create_repo(name)
    made = []
    for number, (repo, backs) in enumerate(steps):
        sources = [f"{made[-back].id}:out" for back in backs if back <= len(made)]
        made.append(compute(store, f"{names[repo]}@main", *sources, data=b"%d" % (number % 3)))
    return made


@settings(max_examples=25)
@given(drawn)
def test_in_random_histories_both_ways_agree_and_contain_the_answers_by_file(steps):
    with vio.create_store(f"memory://{uuid.uuid4().hex}") as store:
        check_both_ways(store, make_drawn(store, steps))


def test_postgresql_answers_the_same(tmp_path, postgres_url):
    steps = [(0, []), (1, [1]), (2, [1, 2]), (0, [3]), (1, [1, 3]), (2, [2, 5]), (2, [])]
    with vio.create_store(tmp_path / "s", catalog=postgres_url) as store:
        made = make_drawn(store, steps)
        check_both_ways(store, made)
        whole = store.lineage_graph(made[-2].id)
        assert len(store.lineage_graph(made[-2].id, limit=2).ids) == min(2, len(whole.ids))
        assert store.lineage_graph(made[0].lineage_id).roots


@pytest.mark.parametrize("way", ["up", "down"])
def test_a_large_answer_is_read_in_one_pass_and_equals_the_walk(tmp_path, way):
    location = str(tmp_path / "s")
    # The core is also tried alone, without the benchmarks beside it.
    pytest.importorskip("benchmarks.ours_ancestry").make(location, 3_000, 1)
    with vio.open_store(location) as store:
        with store._backend.catalog.ask() as connection:
            ids = [one for (one,) in rows(connection, 'SELECT id FROM commits ORDER BY "order"')]
        root = ids[-1] if way == "up" else ids[0]
        whole = store.lineage_graph(root, way=way)
        assert whole == store.lineage_graph(root, way=way, limit=10_000)
        assert len(whole.ids) == 3_000
        middle = store.lineage_graph(ids[2_000 if way == "up" else 1_000], way=way)
        assert set(middle.ids) == set(ids[:2_001] if way == "up" else ids[1_000:])
        assert set(middle.edges) == {edge for edge in whole.edges if edge[0] in middle.ids and edge[1] in middle.ids}
