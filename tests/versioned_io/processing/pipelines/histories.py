"""Random histories of a pipeline beside a model: after each run the output is what computing from nothing gives."""

import random
import uuid

import versioned_io as vio
from versioned_io.errors import PathClaimedError
from versioned_io.processing.inputs.selecting import list_datums
from versioned_io.processing.inputs.specs import refs_of
from versioned_io.processing.running.planning import begin_planning, make_plan

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
}


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

    def __init__(self, store, seed, spec, on_failure="refuse"):
        self.store = store
        self.dice = random.Random(seed)
        self.spec = spec
        self.ran = []
        self.partial_plans = 0
        self.known = set()
        self.version = "A"
        self.on_failure = on_failure
        self.committed = {"edges": {}, "other": {}}
        self.heads = {"edges": {None: {}}, "other": {None: {}}}
        for repo in ("images", "labels", "edges", "other"):
            store.create_repo(repo)
        self.only_names = any(getattr(one, "empty_files", False) for one in [spec])

    def pipe(self, output="edges"):
        """Return the pipeline with the code as it is now."""

        def function(datum, out):
            files = {
                name: [(one.path, one.captures, None if self.only_names else one.read()) for one in datum[name]]
                for name in datum
            }
            self.ran.append((self.version, repr(files)))
            for path, data in compute(self.version, files).items():
                out.write(path, data)

        declared = vio.pipeline(
            output, inputs=self.spec, output=f"{output}@main", on_failure=self.on_failure, code_version=self.version
        )
        return self.store.pipeline(declared(function))

    def change(self):
        """Change the inputs, the code or a branch at random."""
        kind = self.dice.choice(["edit"] * 5 + ["delete", "rename", "reset", "code", "code", "output", "invalidate"])
        repo = self.dice.choice(["images", "images", "labels"])
        getattr(self, f"_{kind}")(repo)

    def _content(self):
        special = [b"fail1", b"fail2", b"to:a", b"to:a", b"to:b"]
        return self.dice.choice(special if self.dice.random() < 0.2 else CONTENTS)

    def _edit(self, repo):
        with self.store.transaction(f"{repo}@main") as tx:
            for name in self.dice.sample(NAMES, self.dice.randint(1, 3)):
                tx.write(name, self._content())

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
                tx.move(path, self.dice.choice([one for one in ("g", "h", "i/j") if one != path]))

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
            self.committed["edges"] = self.heads["edges"][chosen]

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
            name: [(one.path, one.captures, None if self.only_names else one.snapshot.read(one.path)) for one in files]
            for name, files in datum.inputs.items()
        }

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
        if failed and self.on_failure == "refuse":
            assert run is not None
            assert (run.state, run.commit, set(run.failed)) == ("failed", None, failed)
            assert self.contents(output) == before
            return
        assert (run is None) == collides
        if run is None:
            assert self.contents(output) == before
            return
        assert list(run.runs) == plan.runs
        assert sum(run.counts.values()) - run.counts["deleted"] == len(made) + len(failed - made.keys())
        assert run.counts["deleted"] == len(plan.deletes)
        assert set(run.failed) == failed
        assert self.contents(output) == {path: data for files in made.values() for path, data in files.items()}
        assert (run.commit.metadata.get("complete", True)) is not bool(failed)
        self.committed[output] = made
        self.heads[output][run.commit.id] = made
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
        snapshot = self.store.snapshot(f"{output}@main")
        return {file.path: snapshot.read(file.path) for file in snapshot.walk()}

    def play(self, steps):
        """Make *steps* changes, and run after most of them."""
        for _ in range(steps):
            for _ in range(self.dice.choice([1, 1, 2, 3])):
                self.change()
            if self.dice.random() < 0.9:
                self.check(self.dice.choice(["edges", "edges", "edges", "other"]))


def play(place, seed, spec, on_failure="refuse", steps=8):
    """Play one history in a new store at *place*."""
    with vio.create_store(f"memory://{uuid.uuid4().hex}" if place == "memory://" else place) as store:
        history = History(store, seed, spec, on_failure)
        history.play(steps)
        assert store.fsck().is_clean
        return history
