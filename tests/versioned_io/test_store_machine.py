"""The store beside a plain dict: any order of writes, copies, moves, deletions, branches, races and reopening."""

import shutil
import tempfile
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

import versioned_io as vio
from versioned_io.errors import ConflictError, InvalidInputError, NotAFileError, PathCollisionError, PathNotFoundError

FILES = ["a", "b", "a/x", "a/y", "b/x", "a/x/q", "a-b", "a.", "c/d/e"]
PATHS = st.sampled_from(FILES)
DIRECTORIES = st.sampled_from(["a", "b", "a/x", "c", "c/d"])
# Small, empty, and of several chunks, most of which they share.
LARGE = bytes((index * 7 + index // 251) % 256 for index in range(400_000))
DATA = st.sampled_from([b"", b"0", b"1", b"2", LARGE, LARGE[:300_000] + b"end"])
SLOTS = st.sampled_from([0, 1])


def parents(path):
    parts = path.split("/")
    return ["/".join(parts[:count]) for count in range(1, len(parts))]


def collides(tree):
    return any(parent in tree for path in tree for parent in parents(path))


def below(tree, directory):
    return {path: data for path, data in tree.items() if path.startswith(f"{directory}/")}


class PlainTransaction:
    """What a transaction means: the files that it wrote, the paths that it deleted first, what it counts on."""

    def __init__(self, branch, base):
        self.branch = branch
        self.base = base
        self.files = {}
        self.deleted = set()
        self.read = set()

    def hides(self, path):
        return path in self.deleted or any(f"{parent}/" in self.deleted for parent in parents(path))

    @property
    def view(self):
        return {path: data for path, data in self.base.items() if not self.hides(path)} | self.files

    def delete_directory(self, directory):
        for path in below(self.files, directory):
            del self.files[path]
        self.deleted.add(f"{directory}/")

    def delete(self, path):
        if below(self.base, path) or below(self.files, path):
            self.delete_directory(path)
        self.files.pop(path, None)
        self.deleted.add(path)

    def taken_from(self, tree, origin):
        """What is at *origin*, as {the path below it: data}, or None."""
        if origin in tree:
            return {"": tree[origin]}
        return {path[len(origin) + 1 :]: data for path, data in below(tree, origin).items()} or None

    def overlap(self, head):
        changed = {path for path in {*self.base, *head} if self.base.get(path) != head.get(path)}
        touched = {path for path in changed if path in self.files or self.hides(path)}
        return sorted(path for path in touched if path in self.read or head.get(path) != self.files.get(path))

    def applied_to(self, head):
        return {path: data for path, data in head.items() if not self.hides(path)} | self.files


class StoreMachine(RuleBasedStateMachine):
    @initialize()
    def begin_story(self):
        self.directory = Path(tempfile.mkdtemp(prefix="versioned-machine-"))
        self.store = vio.create_store(self.directory / "s")
        self.store.create_repo("r")
        self.branches = {"main": []}  # name: [(commit ID, tree)]
        self.open = {}  # slot: (transaction, what it means)

    def teardown(self):
        if not hasattr(self, "store"):
            return
        for commits in self.branches.values():
            for commit_id, tree in commits:
                assert self.read_all(f"r@{commit_id}") == tree
        assert self.store.fsck().is_clean
        self.store.close()
        shutil.rmtree(self.directory)

    def read_all(self, ref):
        snapshot = self.store.snapshot(ref)
        return {file.path: snapshot.read(file.path) for file in snapshot.walk()}

    def head(self, branch):
        return self.branches[branch][-1][1] if self.branches[branch] else {}

    # Transactions

    @rule(slot=SLOTS, data=st.data())
    def begin(self, slot, data):
        if slot not in self.open:
            branch = data.draw(st.sampled_from(sorted(self.branches)))
            self.open[slot] = (self.store.transaction(f"r@{branch}"), PlainTransaction(branch, self.head(branch)))

    @precondition(lambda self: self.open)
    @rule(slot=SLOTS, path=PATHS, data=DATA)
    def write(self, slot, path, data):
        if slot in self.open:
            tx, plain = self.open[slot]
            tx.write(path, data)
            plain.files[path] = data

    @precondition(lambda self: self.open)
    @rule(slot=SLOTS, path=PATHS)
    def append(self, slot, path):
        if slot not in self.open:
            return
        tx, plain = self.open[slot]
        if path not in plain.files and path in plain.view:
            plain.read.add(path)
        if path in plain.view:
            tx.write(path, b"+", append=True)
            plain.files[path] = plain.view[path] + b"+"
        elif below(plain.view, path):
            plain.read.add(path)
            with pytest.raises(NotAFileError):
                tx.write(path, b"+", append=True)
        else:
            tx.write(path, b"+", append=True)
            plain.files[path] = b"+"

    @precondition(lambda self: self.open)
    @rule(slot=SLOTS, path=PATHS)
    def read(self, slot, path):
        if slot not in self.open:
            return
        tx, plain = self.open[slot]
        if path not in plain.files:
            plain.read.add(path)
        if path in plain.view:
            assert tx.read(path) == plain.view[path]
        else:
            with pytest.raises((PathNotFoundError, NotAFileError)):
                tx.read(path)

    @precondition(lambda self: self.open)
    @rule(slot=SLOTS, path=st.one_of(PATHS, DIRECTORIES))
    def delete(self, slot, path):
        if slot in self.open:
            tx, plain = self.open[slot]
            tx.delete(path)
            plain.delete(path)

    @precondition(lambda self: self.open)
    @rule(slot=SLOTS, directory=DIRECTORIES)
    def delete_below(self, slot, directory):
        if slot in self.open:
            tx, plain = self.open[slot]
            tx.delete(f"{directory}/")
            plain.delete_directory(directory)

    @precondition(lambda self: self.open)
    @rule(slot=SLOTS, source=st.one_of(PATHS, DIRECTORIES), to=PATHS)
    def move(self, slot, source, to):
        if slot not in self.open:
            return
        tx, plain = self.open[slot]
        moved = plain.taken_from(plain.view, source)
        if to == source or to.startswith(f"{source}/"):
            with pytest.raises(InvalidInputError):
                tx.move(source, to)
        elif moved is None:
            with pytest.raises(PathNotFoundError):
                tx.move(source, to)
        else:
            assert tx.move(source, to) == len(moved)
            plain.delete(source)
            plain.files |= {f"{to}/{path}" if path else to: data for path, data in moved.items()}

    @precondition(lambda self: self.open)
    @rule(slot=SLOTS, source=st.one_of(PATHS, DIRECTORIES), to=PATHS, data=st.data())
    def copy(self, slot, source, to, data):
        if slot not in self.open:
            return
        tx, plain = self.open[slot]
        commits = [("", plain.view)] + [(f"r@{name}", tree) for story in self.branches.values() for name, tree in story]
        ref, tree = data.draw(st.sampled_from(commits))
        copied = plain.taken_from(tree, source)
        if copied is None:
            with pytest.raises(PathNotFoundError):
                tx.copy(f"{ref}:{source}", to)
        else:
            assert tx.copy(f"{ref}:{source}", to) == len(copied)
            plain.files |= {f"{to}/{path}" if path else to: data for path, data in copied.items()}

    @precondition(lambda self: self.open)
    @rule(slot=SLOTS)
    def finish(self, slot):
        if slot not in self.open:
            return
        tx, plain = self.open.pop(slot)
        head = self.head(plain.branch)
        overlap = plain.overlap(head)
        result = plain.applied_to(head)
        if overlap:
            with pytest.raises(ConflictError) as caught:
                tx.finish()
            assert caught.value.paths == tuple(overlap)
            assert caught.value.winner in {commit_id for commit_id, _ in self.branches[plain.branch]}
        elif collides(result):
            own = head == plain.base or collides(plain.view)
            with pytest.raises(PathCollisionError if own else (ConflictError, PathCollisionError)):
                tx.finish()
        else:
            tx.finish()
            assert tx.changed == (result != head)
            if tx.changed:
                self.note(plain.branch, tx.commit, head, result)

    def note(self, branch, commit, before, after):
        story = self.branches[branch]
        assert commit.number == len(story) + 1
        assert commit.parent == (story[-1][0] if story else None)
        added = [path for path in after if path not in before]
        modified = [path for path in after if path in before and before[path] != after[path]]
        deleted = [path for path in before if path not in after]
        stats = commit.stats
        assert (stats.added, stats.modified, stats.deleted) == (len(added), len(modified), len(deleted))
        assert (stats.files, stats.size_bytes) == (len(after), sum(map(len, after.values())))
        assert stats.bytes_written == sum(len(after[path]) for path in added + modified)
        story.append((commit.id, after))

    @precondition(lambda self: self.open)
    @rule(slot=SLOTS)
    def abort(self, slot):
        if slot in self.open:
            self.open.pop(slot)[0].abort()

    @rule(path=PATHS, data=DATA, name=st.data())
    def commit_at_once(self, path, data, name):
        branch = name.draw(st.sampled_from(sorted(self.branches)))
        head = self.head(branch)
        result = head | {path: data}
        tx = self.store.transaction(f"r@{branch}")
        tx.write(path, data)
        if collides(result):
            with pytest.raises(PathCollisionError):
                tx.finish()
        else:
            tx.finish()
            if tx.changed:
                self.note(branch, tx.commit, head, result)

    # Around them

    @precondition(lambda self: len(self.branches) < 3)
    @rule(back=st.integers(0, 2), data=st.data())
    def fork(self, back, data):
        origin = data.draw(st.sampled_from(sorted(self.branches)))
        story = self.branches[origin]
        name = f"b{len(self.branches)}"
        if not story:
            back = 0
        back = min(back, max(len(story) - 1, 0))
        self.store.create_branch(f"r@{name}", at=f"r@{origin}~{back}" if back else f"r@{origin}")
        self.branches[name] = list(story[: len(story) - back])

    def abort_all(self):
        for tx, _ in self.open.values():
            tx.abort()
        self.open.clear()

    @rule()
    def reopen(self):
        self.abort_all()
        self.store.close()
        self.store = vio.open_store(self.directory / "s")

    @rule()
    def rebuild(self):
        self.abort_all()
        self.store.close()
        for file in (self.directory / "s").glob("catalog.db*"):
            file.unlink()
        report = vio.rebuild_store(self.directory / "s")
        assert (report.damaged, report.uncertain) == ((), ())
        self.store = vio.open_store(self.directory / "s")

    @rule()
    def compact(self):
        self.store.compact(small_bytes=1 << 20)

    @rule()
    def collect(self):
        self.abort_all()  # without a grace nobody else may be at work
        self.store.gc(grace=timedelta(0))

    @rule(back=st.integers(0, 3), data=st.data())
    def reset(self, back, data):
        branch = data.draw(st.sampled_from(sorted(self.branches)))
        story = self.branches[branch]
        if not story:
            return
        back = min(back, len(story) - 1)
        self.store.reset(f"r@{branch}", f"r@{branch}~{back}")
        self.branches[branch] = story[: len(story) - back]

    @rule(back=st.integers(0, 3), data=st.data())
    def revert(self, back, data):
        branch = data.draw(st.sampled_from(sorted(self.branches)))
        story = self.branches[branch]
        if back >= len(story):
            return
        number = len(story) - 1 - back
        undone, after = story[number]
        before = story[number - 1][1] if number else {}
        head = self.head(branch)
        changed = {path for path in {*before, *after} if before.get(path) != after.get(path)}
        clashes = {path for path in changed if head.get(path) not in {after.get(path), before.get(path)}}
        result = {path: data for path, data in head.items() if path not in changed}
        result |= {path: before[path] for path in changed if path in before}
        if clashes or collides(result):
            with pytest.raises(ConflictError) as caught:
                self.store.revert(undone, f"r@{branch}")
            assert clashes <= set(caught.value.paths)
        else:
            self.note(branch, self.store.revert(undone, f"r@{branch}"), head, result)

    @rule(data=st.data())
    def compare(self, data):
        commits = [(None, {})] + [(f"r@{name}", tree) for story in self.branches.values() for name, tree in story]
        (old, before), (new, after) = (data.draw(st.sampled_from(commits)) for _ in range(2))
        if new is None:
            return
        rows = self.store.diff(old, new).to_pylist()
        changed = {path for path in {*before, *after} if before.get(path) != after.get(path)}
        assert [row["path"] for row in rows] == sorted(changed)
        for row in rows:
            path = row["path"]
            change = "added" if path not in before else "deleted" if path not in after else "modified"
            sizes = [len(tree[path]) if path in tree else None for tree in (before, after)]
            assert (row["change"], [row["old_size"], row["new_size"]]) == (change, sizes)
        keys = {path.split("/")[1] for path in changed if path.startswith("a/") and path.count("/") == 1}
        assert self.store.affected(old, new, "a/{key}") == sorted(keys)
        digests = [self.store.commit(ref).tree_digest if ref else "0" * 64 for ref in (old, new)]
        assert (digests[0] == digests[1]) == (before == after)

    @rule(data=st.data(), path=PATHS)
    def look_up_a_path(self, data, path):
        branch = data.draw(st.sampled_from(sorted(self.branches)))
        story = self.branches[branch]
        trees = [{}] + [tree for _, tree in story]
        changes = [
            story[number][0]
            for number in reversed(range(len(story)))
            if (trees[number + 1].get(path), below(trees[number + 1], path))
            != (trees[number].get(path), below(trees[number], path))
        ]
        log = self.store.log(f"r@{branch}", path=path)
        if changes:
            assert [commit.id for commit in log] == changes
        else:
            with pytest.raises(PathNotFoundError):
                list(log)

    @invariant()
    def every_branch_is_what_the_dict_says(self):
        if not hasattr(self, "store"):
            return
        for branch, story in self.branches.items():
            snapshot = self.store.snapshot(f"r@{branch}")
            tree = self.head(branch)
            assert {file.path: file.size for file in snapshot.walk()} == {
                path: len(data) for path, data in tree.items()
            }
            assert [commit.number for commit in self.store.log(f"r@{branch}")] == list(range(len(story), 0, -1))

    @invariant()
    def every_open_transaction_sees_what_it_staged(self):
        for tx, plain in getattr(self, "open", {}).values():
            view = plain.view
            if collides(view):
                continue
            for path in [*FILES, "c", "c/d"]:
                assert tx.exists(path) == (path in view or bool(below(view, path)))
            listed = {entry.path: entry.is_directory for entry in tx.list()}
            assert listed == {path.split("/")[0]: "/" in path for path in view}


StoreMachine.TestCase.settings = settings(
    max_examples=50,
    stateful_step_count=40,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
    # A failure is made small; to explain it too would run every line of the library under a tracer, for minutes.
    phases=[phase for phase in Phase if phase is not Phase.explain],
)
TestStoreMachine = pytest.mark.slow(StoreMachine.TestCase)
