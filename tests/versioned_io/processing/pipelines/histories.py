"""Random histories of a pipeline beside a model: after each run the output is what computing from nothing gives."""

import io
import random
import uuid
from contextlib import contextmanager
from datetime import timedelta

import pyarrow as pa
import pyarrow.parquet as pq
from sqlalchemy import event
from sqlalchemy.engine import Engine

import versioned_io as vio
from versioned_io.catalog.tables import results
from versioned_io.errors import PathClaimedError
from versioned_io.platform.clock import system_clock
from versioned_io.processing.inputs.selecting import list_datums
from versioned_io.processing.inputs.specs import refs_of
from versioned_io.processing.results.stored_results import read_results
from versioned_io.processing.running.planning import begin_planning, make_plan
from versioned_io.storage.objects.local import LocalObjects
from versioned_io.storage.objects.remote import RemoteObjects

NAMES = ["a", "b", "c", "d/a", "d/b", "e/x/y", "f"]
CONTENTS = [b"0", b"1", b"2", b"3", b"none", b"two"]
GLOBS = {
    "files": vio.glob("images@main", "/(**)"),
    "directories": vio.glob("images@main", "/(*)"),
    "whole": vio.glob("images@main", "/"),
    "names only": vio.glob("images@main", "/(**)", empty_files=True),
}
INPUTS = GLOBS | {
    "union": vio.union(vio.glob("images@main", "/(*)"), vio.glob("labels@main", "/(**)")),
    "cross": vio.cross(vio.glob("images@main", "/(*)"), vio.glob("labels@main", "/(*)")),
    "join": vio.join(
        vio.glob("images@main", "/(*)", join_on="$1"), vio.glob("labels@main", "/(*)", join_on="$1", outer=True)
    ),
    "group": vio.group(
        vio.glob("images@main", "/(**)", group_by="$1"), vio.glob("labels@main", "/(**)", group_by="$1")
    ),
    "cron": vio.cron("* * * * *", ref="images@main"),
    "table": vio.table("tables@main", "/{name}.parquet", by="k"),
    "nested": vio.union(
        vio.cross(vio.glob("images@main", "/(*)"), vio.glob("labels@main", "/d/")),
        vio.group(
            vio.join(
                vio.glob("images@main", "/(*)/(*)", join_on="$2", group_by="$1"),
                vio.glob("labels@main", "/(*)", join_on="$1", name="other", outer=True),
            )
        ),
    ),
}
OUTPUTS = {"edges": "edges@main", "other": "other@main", "side": "edges@side"}
"""The outputs of a history: two of one pipeline, and one of another with the same code."""


class KilledError(BaseException):
    """What a process does not survive, here."""


@contextmanager
def killed_at(step):
    """Let nothing be durable from the *step*-th durable operation on, as if the process had ended there."""
    count = 0

    def pass_one(*_):
        nonlocal count
        count += 1
        if count >= step:
            raise KilledError

    def dying(real):
        def put(self, *args, **kwargs):
            pass_one()
            done = real(self, *args, **kwargs)
            pass_one()
            return done

        return put

    puts = [(objects, objects.put) for objects in (RemoteObjects, LocalObjects)]
    event.listen(Engine, "commit", pass_one)
    for objects, put in puts:
        objects.put = dying(put)
    try:
        yield
    finally:
        event.remove(Engine, "commit", pass_one)
        for objects, put in puts:
            objects.put = put


class ComputingError(Exception):
    """What the computation raises for some contents."""


def compute(version, files):
    """Return what the code *version* makes of {input: [(path, captures, content or None)]}: outputs by path."""
    parts = [f"{name}:{path}={content!r}" for name, some in files.items() for path, _, content in some]
    contents = [content for some in files.values() for *_, content in some if content is not None]
    if any(content.startswith(b"fail") for content in contents):
        raise ComputingError(min(contents))
    text = f"{version} {' '.join(parts)}".encode()
    if b"none" in contents:
        return {}
    to = [content[3:].decode() for content in contents if content.startswith(b"to:")]
    if to:
        return {f"shared/{to[0]}": text}
    seen = ["_".join(captures) or path for some in files.values() for path, captures, _ in some]
    name = "+".join(one.replace("/", "_") for one in seen) or "empty"
    made = {f"out/{name[:200]}": text}
    return made | {f"more/{name[:200]}/x": b"more"} if b"two" in contents else made


def plan_in_both_ways(pipe):
    """Return whether a plan was made of what changed, after comparing it with the plan that looks at everything."""
    found = make_plan(pipe._store, pipe._definition)
    whole = begin_planning(pipe._store, pipe._definition).whole()
    for datums in ("runs", "reuses"):
        both = [[(one.key, one.place, one.fingerprint) for one in getattr(plan, datums)] for plan in (found, whole)]
        assert both[0] == both[1], datums
    for fact in ("skips", "gone", "results", "unsettled", "basis"):
        assert getattr(found, fact) == getattr(whole, fact), fact
    assert found.skipped_keys() == whole.skipped_keys()
    assert found.empty_inputs() == [one.name for one in whole.datums.empty_inputs]
    return found.is_partial


class History:
    """A store with inputs and a pipeline, changed at random, and a model of its output."""

    def __init__(self, store, clock, seed, spec, on_failure="refuse"):
        self.store = store
        self.clock = clock
        self.dice = random.Random(seed)
        self.spec = spec
        self.ran = []
        self.partial_plans = self.kills = 0
        self.known = set()
        self.version = "A"
        self.on_failure = on_failure
        self.committed = {output: {} for output in OUTPUTS}
        self.heads = {None: {}}
        for repo in ("images", "labels", "tables", "edges", "other"):
            store.create_repo(repo)
        self.repos = sorted({ref.partition("@")[0] for ref in refs_of(spec)})
        self.only_names = any(getattr(one, "empty_files", False) for one in [spec])

    def pipe(self, output="edges"):
        """Return the pipeline with the code as it is now."""

        def function(datum, out):
            files = {name: [(one.path, one.captures, self._seen(one)) for one in datum[name]] for name in datum}
            self.ran.append((self.version, repr(files)))
            for path, data in compute(self.version, files).items():
                out.write(path, data)

        declared = vio.pipeline(
            OUTPUTS[output].partition("@")[0],
            inputs=self.spec,
            output=OUTPUTS[output],
            on_failure=self.on_failure,
            code_version=self.version,
        )
        return self.store.pipeline(declared(function))

    def _seen(self, one):
        if self.only_names:
            return None
        return one.read() if one.column is None else repr(one.table().to_pydict()).encode()

    def change(self):
        """Change the inputs, the code or a branch at random."""
        kinds = ["edit"] * 5 + ["delete", "rename", "reset", "code", "code", "output", "invalidate"]
        kind = self.dice.choice([*kinds, "kill", "kill", "gc", "branch"])
        getattr(self, f"_{kind}")(self.dice.choice([*self.repos[:1], *self.repos]))

    def _content(self):
        special = [b"fail1", b"fail2", b"to:a", b"to:a", b"to:b"]
        return self.dice.choice(special if self.dice.random() < 0.2 else CONTENTS)

    def _table(self):
        rows = self.dice.randint(0, 4)
        columns = {"k": self.dice.choices("abc", k=rows), "v": [self.dice.randint(0, 1) for _ in range(rows)]}
        sink = io.BytesIO()
        kinds = {"k": pa.string(), "v": pa.int64()}
        table = pa.table({name: pa.array(columns[name], kind) for name, kind in kinds.items()})
        pq.write_table(
            table, sink, row_group_size=self.dice.randint(1, 4), compression=self.dice.choice(["none", "gzip"])
        )
        return sink.getvalue()

    def _edit(self, repo):
        names = ["t.parquet", "u.parquet"] if repo == "tables" else NAMES
        with self.store.transaction(f"{repo}@main") as tx:
            for name in self.dice.sample(names, self.dice.randint(1, min(3, len(names)))):
                tx.write(name, self._table() if repo == "tables" else self._content())

    def _paths(self, repo):
        return [file.path for file in self.store.snapshot(f"{repo}@main").walk()]

    def _delete(self, repo):
        paths = self._paths(repo)
        if paths:
            with self.store.transaction(f"{repo}@main") as tx:
                tx.delete(self.dice.choice(paths))

    def _rename(self, repo):
        paths = self._paths(repo)
        if paths:
            with self.store.transaction(f"{repo}@main") as tx:
                path = self.dice.choice(paths)
                names = ("v.parquet", "w.parquet") if repo == "tables" else ("g", "h", "i/j")
                tx.move(path, self.dice.choice([one for one in names if one != path]))

    def _reset(self, repo):
        commits = list(self.store.log(f"{repo}@main"))
        if commits:
            self.store.reset(f"{repo}@main", self.dice.choice(commits).id)

    def _code(self, _repo):
        self.version = self.dice.choice("ABC")

    def _output(self, _repo):
        commits = list(self.store.log("edges@main"))
        if commits:
            chosen = self.dice.choice(commits).id
            self.store.reset("edges@main", chosen)
            self.committed["edges"] = self.heads[chosen]

    def _branch(self, _repo):
        """Make a branch of the output, or move it to a commit of the other one."""
        commits = list(self.store.log("edges@main"))
        if commits:
            chosen = self.dice.choice(commits).id
            if self._has_side():
                self.store.reset("edges@side", chosen)
            else:
                self.store.create_branch("edges@side", at=chosen)
            self.committed["side"] = self.heads[chosen]

    def _has_side(self):
        return any(one.name == "side" for one in self.store.repo("edges").branches)

    def _gc(self, _repo):
        self.store.gc(grace=timedelta(0))

    def edit(self, repo, contents):
        """Write every file anew."""
        with self.store.transaction(f"{repo}@main") as tx:
            for name in ("a", "b", "c", "d/a", "d/b"):
                tx.write(name, self.dice.choice(contents))

    def _kill(self, _repo):
        self.kill(self.dice.randint(1, 24))

    def kill(self, step):
        """Run, and end at a durable step; whatever is indexed then may not run again."""
        made, _, _ = self.expected("edges")
        before, indexed = self._head("edges@main"), self._indexed()
        self.ran.clear()
        try:
            with killed_at(step):
                self.pipe().run()
        except KilledError:
            self.kills += 1
        except PathClaimedError:
            pass
        assert not self.known.intersection(self.ran)
        self.clock.later()
        files = {one.key: repr(self._files(one)) for one in self._datums()}
        new = {one: commit for one, commit in self._indexed().items() if indexed.get(one) != commit}
        found = read_results(self.store._backend, new)
        assert found.keys() == new.keys()
        self.known |= {(self.version, files[one.key]) for one in found.values()}
        if self._head("edges@main") != before:
            self.committed["edges"] = self.heads[self._head("edges@main")] = made

    def _head(self, ref):
        return next((commit.id for commit in self.store.log(ref)), None)

    def _indexed(self):
        with self.store._backend.catalog.read() as connection:
            return {bytes(row.fingerprint): row.commit_id for row in connection.execute(results.select())}

    def _invalidate(self, _repo):
        pipe = self.pipe()
        keys = pipe.plan().skips[:1]
        pipe.invalidate(keys)
        wanted = {repr(self._files(one)) for one in self._datums() if one.key in keys}
        self.known = {one for one in self.known if one[1] not in wanted}

    def _datums(self):
        snapshots = {ref: self.store.snapshot(ref) for ref in refs_of(self.spec)}
        return list(list_datums(self.spec, snapshots))

    def _files(self, datum):
        return {
            name: [(one.path, one.captures, self._content_of(one)) for one in files]
            for name, files in datum.inputs.items()
        }

    def _content_of(self, file):
        if self.only_names:
            return None
        data = file.snapshot.read(file.path)
        if file.column is None:
            return data
        columns = pq.read_table(io.BytesIO(data)).to_pydict()
        rows = [at for at, value in enumerate(columns[file.column]) if value == file.captures[-1]]
        return repr({name: [values[at] for at in rows] for name, values in columns.items()}).encode()

    def expected(self, output):
        """Return the outputs of every datum by key, from nothing, the failed keys, and whether two claim a path."""
        made, failed = {}, set()
        for datum in self._datums():
            try:
                made[datum.key] = compute(self.version, self._files(datum))
            except ComputingError:
                failed.add(datum.key)
        if self.on_failure == "keep":
            made |= {key: self.committed[output][key] for key in failed if key in self.committed[output]}
        paths = [path for files in made.values() for path in files]
        return made, failed, len(paths) != len(set(paths))

    def check(self, output="edges"):
        """Run the pipeline, and compare everything that it says and leaves with the model."""
        made, failed, collides = self.expected(output)
        pipe, before = self.pipe(output), self.contents(output)
        self.partial_plans += plan_in_both_ways(pipe)
        plan = pipe.plan()
        self.ran.clear()
        try:
            run = pipe.run()
        except PathClaimedError:
            run = None
        self._check_minimal()
        assert run is None or list(run.runs) == plan.runs
        assert len(self.ran) == len(plan.runs)
        if failed and self.on_failure == "refuse":
            assert run is not None
            assert (run.state, run.commit, set(run.failed)) == ("failed", None, failed)
            assert self.contents(output) == before
            return
        assert (run is None) == collides
        if run is None:
            assert self.contents(output) == before
            return
        assert sum(run.counts.values()) - run.counts["deleted"] == len(made) + len(failed - made.keys())
        assert run.counts["deleted"] == len(plan.deletes)
        assert set(run.failed) == failed
        assert self.contents(output) == {path: data for files in made.values() for path, data in files.items()}
        assert (run.commit.metadata.get("complete", True)) is not bool(failed)
        self.committed[output] = made
        self.heads[run.commit.id] = made
        again = self.pipe(output).plan()
        assert set(again.runs) == failed if self.on_failure != "refuse" else again.is_empty

    def _check_minimal(self):
        """Nothing ran of which a result was known, and nothing twice."""
        assert not self.known.intersection(self.ran)
        assert len(self.ran) == len(set(self.ran))
        for version, files in self.ran:
            try:
                compute(version, eval(files))
            except ComputingError:
                continue
            self.known.add((version, files))

    def contents(self, output):
        """Return the output as {path: bytes}."""
        snapshot = self.store.snapshot(OUTPUTS[output])
        return {file.path: snapshot.read(file.path) for file in snapshot.walk()}

    def play(self, steps):
        """Make *steps* changes, and run after most of them."""
        for _ in range(steps):
            for _ in range(self.dice.choice([1, 1, 2, 3])):
                self.change()
            if self.dice.random() < 0.9:
                sides = ["side"] if self._has_side() else []
                self.check(self.dice.choice(["edges", "edges", "edges", "other", *sides]))


class Clock:
    """The system's clock, and later."""

    def __init__(self):
        self._offset = timedelta(0)

    def later(self):
        """Let the leases of a killed run end."""
        self._offset += timedelta(seconds=62)

    def __call__(self):
        return system_clock() + self._offset


def play(place, seed, spec, on_failure="refuse", steps=8, *, is_checked=True):
    """Play one history in a new store at *place*. To check the store at the end takes a quarter of the time."""
    clock = Clock()
    url = f"memory://{uuid.uuid4().hex}" if place == "memory://" else place
    with vio.create_store(url, clock=clock) as store:
        history = History(store, clock, seed, spec, on_failure)
        history.play(steps)
        assert not is_checked or store.fsck().is_clean
        return history
