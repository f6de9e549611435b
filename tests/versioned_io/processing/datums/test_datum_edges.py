"""Outputs of pipelines come from exactly the input files of their datum, and lead back to them."""

import io
import json
import random
import uuid
from datetime import timedelta

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import versioned_io as vio
from tests.versioned_io.processing.pipelines.histories import INPUTS, Clock, History
from versioned_io.catalog.collection import forget_commits
from versioned_io.catalog.moving import packs_of
from versioned_io.catalog.tables import datum_states, datum_uses
from versioned_io.errors import IntegrityError
from versioned_io.processing.datums import datum_changes
from versioned_io.processing.datums.datum_tree import encode_datum


@pytest.fixture
def repos():
    with vio.create_store(f"memory://{uuid.uuid4().hex}") as store:
        for name in ("images", "labels", "edges", "montage"):
            store.create_repo(name)
        yield store


def declare(name, inputs, output, compute, version="1", **options):
    """A pipeline that writes what *compute* returns of the datum."""

    def function(datum, out):
        for path, data in compute(datum).items():
            out.write(path, data)

    return vio.pipeline(name, inputs=inputs, output=output, code_version=version, **options)(function)


def upper(version="1", **options):
    return declare(
        "edges",
        vio.glob("images@main", "/(*)"),
        "edges@main",
        lambda datum: {f"{datum['images'].path}.edge": datum["images"].read()[:3].upper()},
        version,
        **options,
    )


def read(graph):
    return {(use.file.repo, use.file.path, use.file.made_by, use.file.output) for use in graph.files}


def test_an_output_comes_from_the_files_of_its_datum_only(repos, write):
    first = write(repos, "images@main", {"cat": b"cat", "dog": b"dog"})
    run = repos.pipeline(upper()).run()
    second = write(repos, "images@main", {"dog": b"fog"})
    again = repos.pipeline(upper()).run()
    graph = repos.upstream("edges@main:cat.edge")
    assert read(graph) == {("images", "cat", first.id, "cat.edge")}
    assert graph.edges == ((run.commit.id, first.id),)
    (origin,) = graph.datums
    assert (origin.commit, origin.path, origin.key, origin.run_id) == (run.commit.id, "cat.edge", "cat", run.id)
    assert read(repos.upstream("edges@main:dog.edge")) == {("images", "dog", second.id, "dog.edge")}
    assert read(repos.upstream(f"edges@{again.commit.id}")) == {("images", "dog", second.id, "dog.edge")}
    assert {use.file.digest for use in repos.upstream("edges@main").files} == {
        repos.snapshot("images@main").stat(path).digest for path in ("cat", "dog")
    }


def test_an_input_leads_to_exactly_its_outputs_also_by_its_content(repos, write):
    first = write(repos, "images@main", {"cat": b"cat", "dog": b"dog"})
    run = repos.pipeline(upper()).run()
    write(repos, "images@main", {"dog": b"fog"})
    again = repos.pipeline(upper()).run()
    assert read(repos.downstream("images@main:cat")) == {("images", "cat", first.id, "cat.edge")}
    assert read(repos.downstream(f"images@{first.id}:dog")) == {("images", "dog", first.id, "dog.edge")}
    assert repos.downstream(f"images@{first.id}:dog").edges == ((run.commit.id, first.id),)
    assert {one.id for one in repos.downstream("images@main").commits} >= {again.commit.id}
    fog = repos.snapshot("images@main").stat("dog").digest
    assert [(one.commit, one.path) for one in repos.downstream(digest=fog).datums] == [(again.commit.id, "dog.edge")]


def test_a_result_that_comes_out_the_same_comes_from_what_was_read_last(repos, write):
    write(repos, "images@main", {"cat": b"cat1", "dog": b"dog"})
    run = repos.pipeline(upper()).run()
    new = write(repos, "images@main", {"cat": b"cat2"})
    assert repos.pipeline(upper()).run().commit == run.commit  # the same bytes: nothing downstream wakes
    assert read(repos.upstream("edges@main:cat.edge")) == {("images", "cat", new.id, "cat.edge")}
    assert read(repos.downstream("images@main:cat")) == {("images", "cat", new.id, "cat.edge")}
    newest = write(repos, "images@main", {"cat": b"cat3", "dog": b"fog"})
    head = repos.pipeline(upper()).run().commit
    (asked,) = repos.upstream("edges@main:cat.edge").asked
    assert (asked.written_by, asked.made_by) == (run.commit.id, head.id)
    assert read(repos.upstream("edges@main:cat.edge")) == {("images", "cat", newest.id, "cat.edge")}


def test_a_chain_of_pipelines_is_followed_to_the_files(repos, write):
    first = write(repos, "images@main", {"cat": b"cat", "dog": b"dog", "eel": b"eel"})
    repos.pipeline(upper()).run()
    pairs = declare(
        "montage",
        vio.group(vio.glob("edges@main", "/(?)*.edge", group_by="$1")),
        "montage@main",
        lambda datum: {datum["edges"][0].captures[0]: b"".join(one.read() for one in datum["edges"])},
    )
    repos.pipeline(pairs).run()
    write(repos, "images@main", {"unread/x": b""})
    found = read(repos.upstream("montage@main:c"))
    assert {(repo, path) for repo, path, *_ in found} == {("edges", "cat.edge"), ("images", "cat")}
    downstream = repos.downstream(f"images@{first.id}:eel")
    assert {(use.file.repo, use.file.output) for use in downstream.files} == {("images", "eel.edge"), ("edges", "e")}


def test_inputs_of_two_refs_of_one_repo_are_told_apart(repos, write):
    old = write(repos, "images@main", {"cat": b"cat"})
    repos.create_branch("images@dev", at="images@main")
    new = write(repos, "images@dev", {"cat": b"new"})
    both = vio.cross(vio.glob("images@main", "/cat", name="old"), vio.glob("images@dev", "/cat", name="new"))
    repos.pipeline(declare("both", both, "edges@main", lambda datum: {"both": datum["new"].read()})).run()
    assert {made for _, _, made, _ in read(repos.upstream("edges@main:both"))} == {old.id, new.id}


def table(**columns):
    file = io.BytesIO()
    pq.write_table(pa.table(columns), file)
    return file.getvalue()


def test_a_key_of_a_table_comes_from_the_file_in_the_version_that_it_was_cut_from(repos, write):
    first = write(repos, "images@main", {"p": table(s=["A", "B"], v=[1, 2])})
    keys = declare(
        "means",
        vio.table("images@main", "/p", by="s"),
        "edges@main",
        lambda datum: {datum["images"].value: str(datum["images"].table().column("v").to_pylist()).encode()},
    )
    repos.pipeline(keys).run()
    second = write(repos, "images@main", {"p": table(s=["A", "B"], v=[1, 3])})
    repos.pipeline(keys).run()
    assert read(repos.upstream("edges@main:A")) == {("images", "p", first.id, "A")}
    assert read(repos.upstream("edges@main:B")) == {("images", "p", second.id, "B")}
    digest = repos.snapshot(f"images@{first.id}").stat("p").digest
    assert {one.path for one in repos.downstream(digest=digest).datums} == {"A", "B"}
    rows = next(one for one in repos.pipeline(keys).datums() if one.key.endswith("=B")).inputs["images"][0][1]
    assert {one.path for one in repos.downstream(digest=rows).datums} == {"B"}


def test_an_expired_input_is_still_named(repos, write):
    first = write(repos, "images@main", {"cat": b"cat"})
    run = repos.pipeline(upper()).run()
    with repos._backend.catalog.write() as connection:
        forget_commits(connection, [first.id])
    graph = repos.upstream("edges@main:cat.edge")
    assert [(use.file.path, use.file.commit) for use in graph.files] == [("cat", first.id)]
    (edge,) = repos.lineage_graph(first.id, way="down").edges
    assert edge == (run.commit.id, first.id)


def test_a_commit_whose_datums_expired_has_lineage_of_the_whole_commit(repos, write):
    first = write(repos, "images@main", {"cat": b"cat"})
    run = repos.pipeline(upper()).run()
    with repos._backend.catalog.write() as connection:
        connection.execute(datum_uses.delete())
        connection.execute(datum_states.delete())
    assert repos.upstream("edges@main:cat.edge").edges == ((run.commit.id, first.id),)


def rows_of(store):
    """The index by what it says; the numbers of states differ between catalogs."""
    with store._backend.catalog.read() as connection:
        states = {row.number: (row.commit_id, row.output_id) for row in connection.execute(datum_states.select())}
        uses = {(bytes(r.digest), states[r.state], r.datum) for r in connection.execute(datum_uses.select())}
        confirmed = connection.exec_driver_sql("SELECT commit_id, path, written_by FROM confirmations").all()
    return set(states.values()), uses, {tuple(row) for row in confirmed}


def test_a_rebuilt_catalog_gives_the_same_answers(tmp_path, write):
    with vio.create_store(tmp_path / "s") as store:
        for name in ("images", "edges"):
            store.create_repo(name)
        pipe = store.pipeline(upper())
        for contents in ({"cat": b"cat1", "dog": b"dog"}, {"cat": b"cat2"}, {"cat": b"cat3", "dog": b"fog"}):
            write(store, "images@main", contents)
            pipe.run()
        pipe.invalidate(["cat"])
        pipe.run()
        before = rows_of(store), store.upstream("edges@main"), store.downstream("images@main:cat")
    (tmp_path / "s" / "catalog.db").unlink()
    vio.rebuild_store(tmp_path / "s")
    with vio.open_store(tmp_path / "s") as store:
        assert rows_of(store) == before[0]
        assert store.upstream("edges@main") == before[1]
        assert store.downstream("images@main:cat") == before[2]


def check_both_ways(store):
    """B is upstream of A exactly when A is downstream of B, file by file, and each is what the datums say."""
    snapshot = store.snapshot("edges@main")
    outputs = [] if snapshot.is_empty else [file.path for file in snapshot.walk()]
    told = {}
    for path in outputs:
        graph = store.upstream(f"edges@main:{path}")
        (asked,) = graph.asked
        told[path] = {
            (use.file.path, use.file.made_by)
            for use in graph.files
            if (use.consumer, use.file.output) == (asked.made_by, path)
        }
        for use in graph.files:
            back = store.downstream(f"{use.file.repo}@{use.file.commit}:{use.file.path}")
            assert (use.consumer, use.file.output) in {(one.consumer, one.file.output) for one in back.files}
    for repo in ("images", "labels"):
        for file in () if store.snapshot(f"{repo}@main").is_empty else list(store.snapshot(f"{repo}@main").walk()):
            graph = store.downstream(f"{repo}@main:{file.path}")
            (asked,) = store.upstream(f"{repo}@main:{file.path}").asked
            at = {path: store.upstream(f"edges@main:{path}").asked[0].made_by for path in outputs}
            reached = {
                path for path in outputs if (at[path], path) in {(u.consumer, u.file.output) for u in graph.files}
            }
            assert reached == {path for path in outputs if (file.path, asked.made_by) in told[path]}
    return told


@pytest.mark.parametrize("seed", range(4))
def test_upstream_and_downstream_are_one_relation_in_random_histories(seed):
    history = play(f"memory://{uuid.uuid4().hex}", seed, INPUTS[list(INPUTS)[2 * seed % len(INPUTS)]], 3)
    history.store.close()


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(200))
def test_so_they_are_in_long_ones(seed):
    play(f"memory://{uuid.uuid4().hex}", 1_000 + seed, INPUTS[list(INPUTS)[seed % len(INPUTS)]], 10).store.close()


def play(place, seed, spec, steps):
    clock = Clock()
    store = vio.create_store(place, clock=clock)
    history = History(store, clock, seed, spec, random.Random(seed).choice(["keep", "drop"]))
    for _ in range(steps):
        history.change()
        history.check()
        told = check_both_ways(history.store)
        for facts in history.pipe().datums():
            for path in facts.outputs:
                assert {read for read, _ in told[path]} == {file.path for file in facts.files()}
    return history


def test_an_output_that_two_branches_share_comes_from_the_inputs_of_both(repos, write):
    def on(branch):
        spec = vio.glob(f"images@{branch}", "/(*)")
        return declare("edges", spec, f"edges@{branch}", lambda datum: {"o": datum["images"].read()[:3]})

    main = write(repos, "images@main", {"cat": b"cat1"})
    repos.pipeline(on("main")).run()
    repos.create_branch("images@dev", at="images@main")
    dev = write(repos, "images@dev", {"cat": b"cat2"})
    repos.create_branch("edges@dev", at="edges@main")
    repos.pipeline(on("dev")).run()
    assert repos.commit("edges@dev") == repos.commit("edges@main")  # the same bytes
    made = {("images", "cat", main.id, "o"), ("images", "cat", dev.id, "o")}
    assert read(repos.upstream("edges@main:o")) == made
    assert {one for branch in ("main", "dev") for one in read(repos.downstream(f"images@{branch}:cat"))} == made
    for branch in ("main", "dev"):
        assert repos.rerun("edges@main", pipeline=on(branch)).is_equal


def test_a_file_whose_writer_has_expired_still_leads_to_its_outputs(repos, write):
    write(repos, "images@main", {"cat": b"cat"})
    first = repos.commit("images@main")
    write(repos, "images@main", {"dog": b"dog"})
    repos.pipeline(upper()).run()
    told = repos.downstream("images@main:cat"), repos.downstream(f"images@{first.id}")
    assert read(told[0]) == {("images", "cat", first.id, "cat.edge")}
    with repos._backend.catalog.write() as connection:
        forget_commits(connection, [first.id])
    assert read(repos.downstream("images@main:cat")) == read(told[0])


def test_a_directory_that_was_made_leads_to_outputs_of_its_files(repos, write):
    write(repos, "labels@main", {"all": b"cats"})
    with repos.run("train") as run, repos.transaction("images@main") as tx:
        with run.making("model"):
            repos.snapshot("labels@main").read("all")
        tx.write("model/bin", b"bin")
    spec = vio.glob("images@main", "/model/(*)")
    repos.pipeline(declare("edges", spec, "edges@main", lambda datum: {"o": datum["images"].read()})).run()
    up, down = read(repos.upstream("edges@main:o")), read(repos.downstream("labels@main:all"))
    assert (
        up
        == down
        == {("labels", "all", repos.commit("labels@main").id, "model")} | {("images", "model/bin", tx.commit.id, "o")}
    )


@pytest.fixture
def place(tmp_path):
    with vio.create_store(tmp_path / "s") as store:
        for name in ("images", "edges"):
            store.create_repo(name)
    return tmp_path / "s"


def rebuild(place):
    (place / "catalog.db").unlink()
    vio.rebuild_store(place)
    return vio.open_store(place)


def test_a_rebuild_knows_the_files_of_outputs_that_have_expired(place, write):
    with vio.open_store(place) as store:
        write(store, "images@main", {"cat": b"cat", "dog": b"dog"})
        store.pipeline(upper()).run()
        write(store, "images@main", {"dog": b"fog"})
        store.pipeline(upper()).run()
        store.set_retention("edges@main", keep_last=1)
        store.gc(grace=timedelta(0), expire=timedelta(0))
        told = rows_of(store), store.upstream("edges@main:cat.edge"), store.downstream("images@main:cat")
    with rebuild(place) as store:
        assert (rows_of(store), store.upstream("edges@main:cat.edge"), store.downstream("images@main:cat")) == told


def test_a_rebuild_leaves_the_metadata_of_others_alone(place, write):
    with vio.open_store(place) as store:
        with store.transaction("images@main", metadata={"datums": ["others"]}) as tx:
            tx.write("cat", b"cat")
        run = store.pipeline(upper()).run()
        with store.transaction("images@main", metadata=dict(run.commit.metadata)) as tx:
            tx.write("dog", b"dog")
        told = rows_of(store)
    with rebuild(place) as store:
        assert rows_of(store) == told


@pytest.mark.parametrize("forged", [{"at": ["x", "y"]}, {"inputs": [["images", [["cat", "no digest"]]]]}])
def test_a_malformed_datum_does_not_stop_a_rebuild(place, write, monkeypatch, forged):
    def forge(facts):
        row = encode_datum(facts)
        told = json.loads(row.attributes["told"]) | forged
        return row._replace(attributes=row.attributes | {"told": json.dumps(told)})

    monkeypatch.setattr(datum_changes, "encode_datum", forge)
    with vio.open_store(place) as store:
        write(store, "images@main", {"cat": b"cat"})
        store.pipeline(upper()).run()
        with pytest.raises(IntegrityError, match="the datum 'd/cat' is malformed"):
            store.upstream("edges@main:cat.edge")
    with rebuild(place) as store:
        assert rows_of(store) == (set(), set(), set())


def test_datums_of_an_input_that_was_lost_with_its_pack_have_no_edges(place, write):
    with vio.open_store(place) as store:
        images = write(store, "images@main", {"cat": b"cat"})
        store.pipeline(upper()).run()
        digest = store.snapshot("images@main").stat("cat").digest
        with store._backend.catalog.read() as connection:
            pack = packs_of(connection, [images.id])[images.id]
    for file in place.rglob(f"*{pack}*"):
        file.unlink()
    with rebuild(place) as store:
        assert store.downstream(digest=digest).files == ()
