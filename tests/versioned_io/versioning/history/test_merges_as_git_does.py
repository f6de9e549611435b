"""Random histories with criss-cross merges: the verdict and the merged files are those of git."""

import os
import random
import subprocess

import pytest

import versioned_io as vio
from versioned_io.errors import MergeConflictError
from versioned_io.versioning.history.merge_bases import merge_bases

pytestmark = pytest.mark.slow

PATHS = "abcdef"
BRANCHES = ["main", "one", "two"]
SOME_SEEDS = (0, 1, 2, 4, 5)
MANY_SEEDS = range(6, 150)
STEPS = 40


class Git:
    """A repository whose files have one line each, so that git merges them whole or not at all."""

    def __init__(self, directory):
        self.directory = directory
        self.environment = os.environ | {
            "GIT_CONFIG_GLOBAL": os.devnull,
            "GIT_CONFIG_SYSTEM": os.devnull,
            **{f"GIT_{who}_{what}": "x@y" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")},
        }
        self.now = 1_700_000_000
        self.run("init", "-q", "-b", "main")

    def run(self, *arguments, may_fail=False):
        # Dates run backwards: they decide nothing.
        self.now -= 1
        dates = {f"GIT_{who}_DATE": f"{self.now} +0000" for who in ("AUTHOR", "COMMITTER")}
        done = subprocess.run(
            ["git", *arguments], cwd=self.directory, env=self.environment | dates, capture_output=True, check=False
        )
        assert may_fail or done.returncode == 0, done.stderr
        return done.returncode == 0

    def files(self):
        return {path.name: path.read_bytes() for path in self.directory.iterdir() if path.is_file()}

    def commit(self, branch, changes):
        self.run("checkout", "-q", branch)
        for path, data in changes.items():
            (self.directory / path).unlink(missing_ok=True) if data is None else (self.directory / path).write_bytes(
                data
            )
        self.run("add", "-A")
        self.run("commit", "-q", "--allow-empty", "-m", "x")

    def head(self, branch):
        return (self.directory / ".git" / "refs" / "heads" / branch).read_text().strip()

    def merge(self, source, into):
        self.run("checkout", "-q", into)
        # Not "ort", which looks for renames whatever it is told.
        options = ("-s", "recursive", "-X", "no-renames")
        if self.run("merge", "-q", "--no-edit", *options, source, may_fail=True):
            return self.files()
        self.run("merge", "--abort")
        return None


def merge(store, source, into, files_of):
    try:
        store.merge(f"r@{source}", f"r@{into}")
    except MergeConflictError:
        return None
    return files_of(store, f"r@{into}")


def compare(seed, tmp_path, write, files_of):
    chance = random.Random(seed)
    git = Git(tmp_path)
    verdicts, bases = [], []
    with vio.create_store(f"memory://git-{seed}") as store:
        store.create_repo("r")
        start = {path: path.encode() for path in PATHS[:4]}
        first(git, start)
        write(store, "r@main", start)
        for branch in BRANCHES[1:]:
            git.run("branch", branch)
            store.create_branch(f"r@{branch}", at="r@main")
        for step in range(STEPS):
            source, into = chance.sample(BRANCHES, 2)
            if chance.random() < 0.6:
                here = files_of(store, f"r@{into}")
                path = chance.choice(PATHS)
                data = None if path in here and chance.random() < 0.3 else b"%d" % (step % 3)
                git.commit(into, {path: data})
                write(store, f"r@{into}", {path: data}, empty="allow")
                continue
            heads = {one: (git.head(one), store.commit(f"r@{one}").id) for one in (source, into)}
            # Each takes what the other was before, so that they have several best common ancestors afterwards.
            pairs = [(source, into), (into, source)] if chance.random() < 0.5 else [(source, into)]
            for taken, target in pairs:
                sides = [[store.commit(f"r@{name}")] for name in (target, heads[taken][1])]
                bases.append(len(merge_bases(store._backend, *sides)))
                verdicts.append(git.merge(heads[taken][0], target))
                assert merge(store, heads[taken][1], target, files_of) == verdicts[-1], (seed, step)
            if None in verdicts[-len(pairs) :]:  # let them agree again, so that a later merge can succeed
                theirs = files_of(store, f"r@{source}")
                changes = dict.fromkeys(files_of(store, f"r@{into}")) | theirs
                git.commit(into, changes)
                write(store, f"r@{into}", changes, empty="allow")
        assert store.fsck().is_clean
    return verdicts, max(bases)


def first(git, start):
    for path, data in start.items():
        (git.directory / path).write_bytes(data)
    git.run("add", "-A")
    git.run("commit", "-q", "-m", "x")


@pytest.mark.parametrize("seed", SOME_SEEDS)
def test_a_random_history_merges_as_in_git(seed, tmp_path, write, files_of):
    verdicts, most_bases = compare(seed, tmp_path, write, files_of)
    assert any(verdict is not None for verdict in verdicts)
    assert most_bases > 1  # criss-cross merges came up


@pytest.mark.soak
@pytest.mark.parametrize("seed", MANY_SEEDS)
def test_many_random_histories_merge_as_in_git(seed, tmp_path, write, files_of):
    compare(seed, tmp_path, write, files_of)


@pytest.fixture
def crossed(store, write):
    """Branches that have merged each other's first commits: they have two best common ancestors."""
    store.create_repo("r")
    write(store, "r@main", {"a": b"1", "b": b"1"})
    store.create_branch("r@dev", at="r@main")

    def cross(main, dev):
        write(store, "r@main", main)
        write(store, "r@dev", dev)
        heads = [store.commit("r@main").id, store.commit("r@dev").id]
        store.merge(f"r@{heads[1]}", "r@main")
        store.merge(f"r@{heads[0]}", "r@dev")
        return store

    return cross


def test_disjoint_edits_after_a_criss_cross_are_no_conflict(crossed, write, files_of):
    store = crossed({"a": b"main"}, {"b": b"dev"})
    write(store, "r@main", {"a": b"main again"})
    write(store, "r@dev", {"b": b"dev again"})
    store.merge("r@dev", "r@main")
    assert files_of(store, "r@main") == {"a": b"main again", "b": b"dev again"}


def test_the_younger_commit_does_not_win_silently_after_a_criss_cross(crossed, write, files_of):
    store = crossed({"a": b"2"}, {"b": b"dev"})
    write(store, "r@main", {"a": b"1"})  # as the younger of the two bases has it, which never took the change to 2
    store.merge("r@dev", "r@main")
    assert files_of(store, "r@main") == {"a": b"1", "b": b"dev"}


def test_a_conflict_that_was_resolved_in_two_ways_is_one_again(store, write, files_of):
    store.create_repo("r")
    write(store, "r@main", {"a": b"1"})
    store.create_branch("r@dev", at="r@main")
    write(store, "r@main", {"a": b"main"})
    write(store, "r@dev", {"a": b"dev"})
    heads = [store.commit("r@main").id, store.commit("r@dev").id]
    store.merge(f"r@{heads[1]}", "r@main", strategy="ours")
    store.merge(f"r@{heads[0]}", "r@dev", strategy="ours")
    with pytest.raises(MergeConflictError) as caught:
        store.merge("r@dev", "r@main")
    assert caught.value.paths == ("a",)
    write(store, "r@dev", {"a": b"main"})
    store.merge("r@dev", "r@main")
    assert files_of(store, "r@main") == {"a": b"main"}
