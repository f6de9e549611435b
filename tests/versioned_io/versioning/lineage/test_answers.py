"""Upstream is what the newest run read that made or confirmed a file, and downstream is the same, the other way."""

import uuid
from dataclasses import dataclass, field
from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import event

import versioned_io as vio
from versioned_io.errors import InvalidInputError


@pytest.fixture
def repos(store):
    for name in ("data", "reports", "copies"):
        store.create_repo(name)
    return store


def sources(graph):
    """The versions of files that a graph reached: (path, which commit's run made or confirmed it)."""
    return {(use.file.path, use.file.made_by) for use in graph.files}


def ids(graph):
    return {commit.id for commit in graph.commits}


def compute(store, files, ref="reports@main", reads=("data@main:input",), **options):
    """Read some files in a run and commit others, also when that changes nothing; return the commit."""
    options.setdefault("empty", "allow")
    with store.run("compute"):
        for one in reads:
            place, _, path = one.partition(":")
            store.snapshot(place).read(path)
        with store.transaction(ref, **options) as tx:
            for path, data in files.items():
                tx.write(path, data)
    return tx.commit


@dataclass
class Recomputed:
    """A report that came out the same from a corrected input."""

    old: vio.Commit
    first: vio.Commit
    new: vio.Commit
    again: vio.Commit


@pytest.fixture
def recomputed(repos, write):
    old = write(repos, "data@main", {"input": b"1"})
    first = compute(repos, {"report": b"same"})
    new = write(repos, "data@main", {"input": b"2"})
    again = compute(repos, {"report": b"same"})
    assert first.tree_digest == again.tree_digest
    return Recomputed(old, first, new, again)


# Made or confirmed


@pytest.mark.parametrize("ref", ["reports@main:report", "reports@main", "reports@{again}", "reports@{again}:report"])
def test_a_report_that_comes_out_the_same_comes_from_what_was_read_last(repos, recomputed, ref):
    graph = repos.upstream(ref.format(again=recomputed.again.id))
    assert sources(graph) == {("input", recomputed.new.id)}
    assert ids(graph) == {recomputed.new.id, recomputed.again.id}
    assert graph.roots == (recomputed.again.id,)
    for commit in (recomputed.first.id, f"{recomputed.first.id}:report", "main~1"):
        assert sources(repos.upstream(f"reports@{commit}")) == {("input", recomputed.old.id)}


def test_by_default_it_does_so_too_and_makes_no_commit_where_lineage_is_right_already(repos, write):
    def again(reads=("data@main:input",), data=b"same", ref="reports@main"):
        return compute(repos, {"report": data}, ref, reads, empty="skip").id

    write(repos, "data@main", {"input": b"1"})
    first = again()
    assert again() == first
    write(repos, "data@main", {"unread": b"1"})
    assert again() == first  # the same version of the same file, at another commit
    new = write(repos, "data@main", {"input": b"2"})
    second = again()
    assert second != first
    assert sources(repos.upstream("reports@main:report")) == {("input", new.id)}
    assert again() == second
    third = again(("reports@main:report", "data@main:unread"))
    assert third != second
    assert {again(("reports@main:report", "data@main:unread")) for _ in range(3)} == {third}
    assert again(()) == third  # what read nothing says nothing
    # What is made from the report goes on from the run that confirmed it last.
    summary = again(("reports@main:report",), b"short", "copies@main")
    assert again(("reports@main:report",), b"short", "copies@main") == summary
    fourth = again()
    assert again(("reports@main:report",), b"short", "copies@main") != summary
    assert ids(repos.upstream("copies@main")) >= {fourth, new.id}
    assert repos.fsck().is_clean


def test_the_answer_says_who_wrote_the_bytes_first(repos, recomputed):
    (asked,) = repos.upstream("reports@main:report").asked
    assert (asked.written_by, asked.made_by) == (recomputed.first.id, recomputed.again.id)
    assert repos.snapshot("reports@main").stat("report").written_by == recomputed.first.id
    (asked,) = repos.upstream(f"reports@{recomputed.first.id}:report").asked
    assert (asked.written_by, asked.made_by) == (recomputed.first.id, recomputed.first.id)


def test_downstream_is_the_same_edge_the_other_way(repos, recomputed):
    assert ids(repos.downstream(f"data@{recomputed.new.id}")) == {recomputed.new.id, recomputed.again.id}
    assert ids(repos.downstream("data@main:input")) == {recomputed.new.id, recomputed.again.id}
    assert ids(repos.downstream(f"data@{recomputed.old.id}:input")) == {recomputed.old.id, recomputed.first.id}


def test_what_reads_a_confirmed_file_goes_on_from_the_run_that_confirmed_it(repos, recomputed):
    early = compute(repos, {"a": b"1"}, "copies@main", [f"reports@{recomputed.first.id}:report"])
    late = compute(repos, {"b": b"1"}, "copies@main", ["reports@main:report"])
    assert ids(repos.upstream(f"copies@{early.id}")) == {early.id, recomputed.first.id, recomputed.old.id}
    assert ids(repos.upstream("copies@main:b")) == {late.id, recomputed.again.id, recomputed.new.id}
    assert ids(repos.downstream(f"data@{recomputed.new.id}")) == {recomputed.new.id, recomputed.again.id, late.id}
    assert ids(repos.downstream(f"reports@{recomputed.first.id}:report")) == {recomputed.first.id, early.id}
    assert ids(repos.downstream("reports@main:report")) == {recomputed.again.id, late.id}
    assert repos.fsck().is_clean


def test_a_later_confirmation_does_not_change_what_was_read_before(repos, recomputed, write):
    reader = compute(repos, {"a": b"1"}, "copies@main", ["reports@main:report"])
    newest = write(repos, "data@main", {"input": b"3"})
    third = compute(repos, {"report": b"same"})
    assert sources(repos.upstream("copies@main:a")) == {("report", recomputed.again.id), ("input", recomputed.new.id)}
    assert sources(repos.upstream("reports@main")) == {("input", newest.id)}
    assert reader.id not in ids(repos.downstream(f"reports@{third.id}"))


def test_one_of_several_outputs_is_confirmed_in_a_larger_transaction(repos, write):
    old = write(repos, "data@main", {"input": b"1"})
    compute(repos, {"same": b"s", "other": b"1", "untouched": b"u"})
    new = write(repos, "data@main", {"input": b"2"})
    again = compute(repos, {"same": b"s", "other": b"2"})
    assert sources(repos.upstream("reports@main:same")) == {("input", new.id)}
    assert sources(repos.upstream("reports@main:other")) == {("input", new.id)}
    assert sources(repos.upstream("reports@main:untouched")) == {("input", old.id)}
    assert sources(repos.upstream("reports@main")) == {("input", old.id), ("input", new.id)}
    assert sources(repos.upstream(f"reports@{again.id}")) == {("input", new.id)}


def test_outputs_that_are_told_apart_are_confirmed_each_by_what_was_read_for_it(repos, write):
    for number in (1, 2):
        made = write(repos, "data@main", {"a": b"a%d" % number, "b": b"b%d" % number})
        with repos.run("both") as run:
            for name in "ab":
                with run.making(name):
                    repos.snapshot("data@main").read(name)
            with repos.transaction("reports@main", empty="allow", outputs={"a": "out/a", "b": "out/b"}) as tx:
                tx.write("out/a/file", b"same")
                tx.write("out/b/file", b"%d" % number)
    assert sources(repos.upstream("reports@main:out/a/file")) == {("a", made.id)}
    assert sources(repos.upstream("reports@main:out/a")) == {("a", made.id)}
    assert sources(repos.upstream("reports@main:out/b/file")) == {("b", made.id)}
    assert sources(repos.upstream("reports@main")) == {("a", made.id), ("b", made.id)}


def test_deleting_and_writing_the_same_again_confirms(repos, recomputed, write):
    newest = write(repos, "data@main", {"input": b"3"})
    with repos.run("job"):
        repos.snapshot("data@main").read("input")
        with repos.transaction("reports@main", empty="allow") as tx:
            tx.delete("report")
            tx.write("report", b"same")
    assert sources(repos.upstream("reports@main:report")) == {("input", newest.id)}


def test_what_a_person_writes_again_by_hand_confirms_nothing(repos, recomputed, write):
    write(repos, "reports@main", {"report": b"same", "note": b"1"})
    assert sources(repos.upstream("reports@main:report")) == {("input", recomputed.new.id)}


def test_a_run_that_read_nothing_confirms_all_the_same(repos, recomputed):
    again = compute(repos, {"report": b"same"}, reads=())
    graph = repos.upstream("reports@main:report")
    assert (sources(graph), graph.roots) == (set(), (again.id,))
    assert graph.asked[0].written_by == recomputed.first.id


def test_a_result_that_comes_back_after_another_one_has_a_new_author(repos, recomputed, write):
    compute(repos, {"report": b"different"})
    newest = write(repos, "data@main", {"input": b"3"})
    back = compute(repos, {"report": b"same"})
    graph = repos.upstream("reports@main:report")
    assert sources(graph) == {("input", newest.id)}
    assert graph.asked[0].written_by == back.id


# Histories that are joined, and rewritten


def test_a_confirmation_on_another_branch_counts_once_it_is_merged(repos, recomputed, write):
    repos.create_branch("reports@dev", at="reports@main")
    newest = write(repos, "data@main", {"input": b"3"})
    on_dev = compute(repos, {"report": b"same"}, "reports@dev")
    write(repos, "reports@dev", {"dev": b"1"})
    write(repos, "reports@main", {"main": b"1"})
    assert sources(repos.upstream("reports@main:report")) == {("input", recomputed.new.id)}
    assert sources(repos.upstream("reports@dev:report")) == {("input", newest.id)}
    reader = compute(repos, {"a": b"1"}, "copies@main", ["reports@main:report"])
    repos.merge("reports@dev", "reports@main")
    assert sources(repos.upstream("reports@main:report")) == {("input", newest.id)}
    assert repos.upstream("reports@main:report").roots == (on_dev.id,)
    assert reader.id not in ids(repos.downstream(f"data@{newest.id}"))
    write(repos, "reports@main", {"later": b"1"})
    after = compute(repos, {"b": b"1"}, "copies@main", ["reports@main:report"])
    assert ids(repos.downstream(f"data@{newest.id}")) == {newest.id, on_dev.id, after.id}


def test_a_squash_keeps_what_confirmed_a_file(repos, recomputed, write):
    write(repos, "reports@main", {"more": b"1"})
    repos.squash("reports@main")
    write(repos, "reports@main", {"later": b"1"})
    for _ in range(2):
        assert sources(repos.upstream("reports@main:report")) == {("input", recomputed.new.id)}
        repos.squash("reports@main")
    squashed = repos.upstream(f"reports@{repos.commit('reports@main').id}")
    assert sources(squashed) == {("input", recomputed.old.id), ("input", recomputed.new.id)}
    assert repos.fsck().is_clean


def test_a_revert_brings_back_where_a_file_came_from_then(repos, recomputed, write):
    newest = write(repos, "data@main", {"input": b"3"})
    changed = compute(repos, {"report": b"different"})
    repos.revert(f"reports@{changed.id}", "reports@main")
    found = sources(repos.upstream("reports@main:report"))
    # The revert says that it was made from the commit that it undoes; so it was, and so were all of its files.
    assert found == {("report", recomputed.again.id), ("input", recomputed.new.id), ("input", newest.id)}
    assert ("input", recomputed.old.id) not in found


def test_a_move_or_a_copy_goes_on_from_what_confirmed_the_file(repos, recomputed):
    with repos.transaction("reports@main") as tx:
        tx.copy(":report", to="copied")
        tx.move("report", "moved")
    with repos.transaction("copies@main") as tx:
        tx.copy("reports@main:moved", to="elsewhere")
    for ref in ("reports@main:copied", "reports@main:moved", "copies@main:elsewhere"):
        assert ("input", recomputed.new.id) in sources(repos.upstream(ref))
        assert ("input", recomputed.old.id) not in sources(repos.upstream(ref))
    assert ids(repos.downstream("data@main:input")) >= {repos.commit("copies@main").id, repos.commit("reports@main").id}


def test_a_copy_onto_equal_bytes_says_where_they_come_from_now(repos, recomputed, write):
    write(repos, "reports@main", {"by-hand": b"same"})
    assert sources(repos.upstream("reports@main:by-hand")) == set()
    with repos.transaction("reports@main", empty="allow") as tx:
        tx.copy(":report", to="by-hand")
    assert sources(repos.upstream("reports@main:by-hand")) == {
        ("report", recomputed.again.id),
        ("input", recomputed.new.id),
    }


def test_compaction_and_a_rebuild_keep_what_confirmed_a_file(tmp_path, write):
    store = vio.create_store(tmp_path / "s")
    for name in ("data", "reports", "copies"):
        store.create_repo(name)
    write(store, "data@main", {"input": b"1"})
    compute(store, {"report": b"same"})
    new = write(store, "data@main", {"input": b"2"})
    compute(store, {"report": b"same"})
    compute(store, {"a": b"1"}, "copies@main", ["reports@main:report"])

    def answers(one):
        refs = ("reports@main:report", "copies@main:a", "copies@main")
        up = [(sources(found), found.edges, found.roots) for found in map(one.upstream, refs)]
        return up, ids(one.downstream("data@main:input")), ids(one.downstream(f"data@{new.id}"))

    before = answers(store)
    assert sources(store.upstream("reports@main:report")) == {("input", new.id)}
    store.compact()
    store.gc(grace=timedelta(0))
    assert answers(store) == before
    store.close()
    for file in (tmp_path / "s").glob("catalog.db*"):
        file.unlink()
    assert vio.rebuild_store(tmp_path / "s").uncertain == ()
    with vio.open_store(tmp_path / "s") as again:
        assert answers(again) == before
        assert again.fsck().is_clean


# Bytes


def test_what_was_made_from_bytes_is_found_wherever_they_were(repos, write):
    write(repos, "data@main", {"a": b"leaked", "b": b"fine"})
    write(repos, "copies@main", {"elsewhere": b"leaked"})
    first = compute(repos, {"r": b"1"}, reads=["data@main:a"])
    second = compute(repos, {"s": b"1"}, reads=["copies@main:elsewhere"])
    compute(repos, {"t": b"1"}, reads=["data@main:b"])
    third = compute(repos, {"u": b"1"}, "copies@main", reads=["reports@main:s"])
    digest = repos.snapshot("data@main").stat("a").digest
    graph = repos.downstream(digest=digest)
    assert ids(graph) - set(graph.roots) == {first.id, second.id, third.id}
    assert {path for path, _ in sources(graph)} == {"a", "elsewhere", "s"}
    assert repos.downstream(digest="0" * 64).commits == ()


@pytest.mark.parametrize("arguments", [{}, {"ref": "data@main", "digest": "0" * 64}, {"digest": "abc"}])
def test_downstream_needs_one_thing_to_begin_with(repos, arguments):
    with pytest.raises(InvalidInputError):
        repos.downstream(**arguments)


# Cost


@dataclass
class Counted:
    """How many statements there were, and how many rows of input files they returned."""

    statements: int = 0
    rows: int = 0


@pytest.fixture
def counting(monkeypatch):
    """A function that counts the statements on a store and the rows of lineage that are turned into values."""
    from versioned_io.catalog import lineage

    def count(store, call):
        counted = Counted()
        engine = store._backend.catalog.engine
        original = lineage.Use

        def note(*_):
            counted.statements += 1

        def use(*arguments):
            counted.rows += 1
            return original(*arguments)

        event.listen(engine, "before_cursor_execute", note)
        monkeypatch.setattr(lineage, "Use", use)
        try:
            call()
        finally:
            event.remove(engine, "before_cursor_execute", note)
            monkeypatch.setattr(lineage, "Use", original)
        return counted

    return count


@pytest.fixture
def wide(new_store, write):
    """A commit of 3,000 outputs, each made from a file of its own."""
    store = new_store()
    for name in ("data", "reports"):
        store.create_repo(name)
    write(store, "data@main", {f"in/{number}": b"%d" % number for number in range(3_000)})
    snapshot = store.snapshot("data@main")
    with store.run("all") as run:
        for number in range(3_000):
            with run.making(f"out/{number}"):
                snapshot.row(f"in/{number}")
        write(store, "reports@main", {f"out/{number}": b"%d" % number for number in range(3_000)})
    return store


@pytest.mark.parametrize(("ask", "statements"), [("upstream", 14), ("downstream", 16)])  # with those of transactions
def test_the_lineage_of_one_file_costs_nothing_for_the_others(wide, counting, ask, statements):
    ref = "reports@main:out/7" if ask == "upstream" else "data@main:in/7"
    found = []
    counted = counting(wide, lambda: found.append(getattr(wide, ask)(ref)))
    assert sources(found[0]) == {("in/7", wide.commit("data@main").id)}
    assert counted.rows == 1
    assert counted.statements <= statements


def test_lineage_is_looked_up_in_indexes(wide):
    plans = []
    engine = wide._backend.catalog.engine

    def explain(connection, cursor, statement, parameters, *_):
        if "input_files" in statement and not statement.startswith("EXPLAIN"):
            plans.append(connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters).all())

    event.listen(engine, "before_cursor_execute", explain)
    wide.upstream("reports@main:out/7")
    wide.downstream("data@main:in/7")
    wide.downstream(digest="0" * 64)
    event.remove(engine, "before_cursor_execute", explain)
    steps = [row[-1] for plan in plans for row in plan]
    assert any("ix_input_files_commit_id_output (commit_id=? AND output=?)" in step for step in steps)
    assert any("ix_input_files_written_by_path (written_by=? AND path=?)" in step for step in steps)
    assert any("ix_input_files_digest (digest=?)" in step for step in steps)
    assert not [step for step in steps if step.startswith("SCAN input_files")]


# Random histories

PATHS = ["a", "d/x", "d/y", "e/f/z"]
REPOS = ["r0", "r1", "r2"]


@dataclass(frozen=True)
class Read:
    repo: int
    back: int
    path: str
    output: str


@dataclass(frozen=True)
class Step:
    """What one run does: it reads, writes files of few contents, and copies one file of its own branch."""

    repo: int
    reads: tuple[Read, ...]
    writes: tuple[tuple[str, int], ...]
    own_copy: tuple[str, str] | None


outputs = st.sampled_from(["", "", "a", "d", "d/x", "e/f"])
reads = st.builds(Read, st.integers(0, 2), st.integers(0, 2), st.sampled_from(PATHS), outputs)
steps = st.builds(
    Step,
    st.integers(0, 2),
    st.lists(reads, max_size=3).map(tuple),
    st.dictionaries(st.sampled_from(PATHS), st.integers(0, 1), min_size=1, max_size=3).map(lambda one: (*one.items(),)),
    st.none() | st.tuples(st.sampled_from(PATHS), st.sampled_from(["copy", "d/copy"])),
)


@dataclass
class Model:
    """What the answers must be, told in the plainest way: who wrote each file last, and what each commit read."""

    makers: dict[str, dict[str, str]] = field(default_factory=dict)
    history: dict[int, list[str]] = field(default_factory=lambda: {0: [], 1: [], 2: []})
    uses: set[tuple[str, str, str, str]] = field(default_factory=set)
    """(consumer, output, maker, path)"""

    def upstream(self, commit, path=None):
        """Return the commits and the (maker, path) that a file of a commit, or the commit, comes from."""
        found, waiting = set(), [(commit, path)]
        while waiting:
            consumer, of = waiting.pop()
            for one, output, maker, source in self.uses:
                is_for = of is None or not output or of == output or of.startswith(f"{output}/")
                if one == consumer and is_for and (maker, source) not in found:
                    found.add((maker, source))
                    waiting.append((maker, source))
        return found


def apply(store, model, step):
    repo = f"{REPOS[step.repo]}@main"
    base = model.history[step.repo][-1] if model.history[step.repo] else None
    noted = set()
    with store.run("step") as run:
        for read in step.reads:
            history = model.history[read.repo]
            source = history[max(0, len(history) - 1 - read.back)] if history else None
            if source is None or read.path not in model.makers[source]:
                continue
            with run.making(read.output):
                store.snapshot(f"{REPOS[read.repo]}@{source}").read(read.path)
            noted.add((read.output, model.makers[source][read.path], read.path))
        with store.transaction(repo, empty="allow") as tx:
            makers = {}
            if step.own_copy is not None and base is not None and step.own_copy[0] in model.makers[base]:
                origin, target = step.own_copy
                tx.copy(f":{origin}", to=target)
                noted.add((target, model.makers[base][origin], origin))
                makers[target] = None
            for path, content in step.writes:
                tx.write(path, b"%d" % content)
                makers[path] = None
    made = tx.commit.id
    model.history[step.repo].append(made)
    model.makers[made] = {**(model.makers[base] if base is not None else {}), **dict.fromkeys(makers, made)}
    model.uses |= {(made, *one) for one in noted}


def check_commits(store, model, name):
    up = {one: ids(store.upstream(f"{name[one]}@{one}")) for one in model.makers}
    down = {one: ids(store.downstream(f"{name[one]}@{one}")) for one in model.makers}
    for one in model.makers:
        assert up[one] == {one, *(maker for maker, _ in model.upstream(one))}
        assert down[one] == {other for other in model.makers if one in up[other]}


def check_files(store, model, name):
    files = {(maker, path): commit for commit, tree in model.makers.items() for path, maker in tree.items()}
    down = {}
    for (maker, path), commit in files.items():
        graph = store.upstream(f"{name[commit]}@{commit}:{path}")
        assert {(use.file.made_by, use.file.path) for use in graph.files} == model.upstream(maker, path)
        assert graph.roots == (maker,)
        below = store.downstream(f"{name[commit]}@{commit}:{path}").files
        down[maker, path] = {(use.consumer, use.file.output) for use in below}
    for target in files:
        expected = model.upstream(*target)
        for source in files:
            outputs = {"", target[1], *(target[1][:end] for end, sign in enumerate(target[1]) if sign == "/")}
            assert (source in expected) == any((target[0], output) in down[source] for output in outputs)


@settings(max_examples=25)
@given(st.lists(steps, min_size=1, max_size=8))
def test_answers_are_those_of_the_plain_model_and_the_two_ways_agree(random_steps):
    with vio.create_store(f"memory://{uuid.uuid4().hex}") as store:
        for repo in REPOS:
            store.create_repo(repo)
        model = Model()
        for step in random_steps:
            apply(store, model, step)
        name = {commit: REPOS[repo] for repo, history in model.history.items() for commit in history}
        check_commits(store, model, name)
        check_files(store, model, name)


def test_answers_are_the_same_from_postgresql(tmp_path, postgres_url):
    history = [
        Step(0, (), (("a", 0), ("d/x", 0), ("d/y", 0)), None),
        Step(1, (Read(0, 0, "d/x", "d"), Read(0, 0, "a", "")), (("a", 0), ("d/x", 0), ("e/f/z", 1)), None),
        Step(0, (), (("a", 1), ("d/x", 0)), ("a", "d/copy")),
        Step(1, (Read(0, 0, "d/x", "d/x"), Read(0, 1, "a", "e/f")), (("d/x", 0), ("e/f/z", 1)), ("a", "copy")),
        Step(2, (Read(1, 0, "e/f/z", ""), Read(1, 1, "d/x", "a")), (("a", 0),), None),
        Step(2, (Read(1, 0, "d/x", ""), Read(2, 0, "a", "d")), (("a", 0), ("d/y", 1)), None),
    ]
    with vio.create_store(tmp_path / "s", catalog=postgres_url) as store:
        for repo in REPOS:
            store.create_repo(repo)
        model = Model()
        for step in history:
            apply(store, model, step)
        name = {commit: REPOS[repo] for repo, commits in model.history.items() for commit in commits}
        check_commits(store, model, name)
        check_files(store, model, name)
        digest = store.snapshot("r0@main").stat("d/x").digest
        assert store.downstream(digest=digest).files
        assert store.fsck().is_clean
