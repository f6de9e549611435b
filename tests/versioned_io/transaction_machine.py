"""The half of the store machine that begins stories, and writes, reads and commits in transactions."""

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

import versioned_io as vio
from tests.versioned_io.plain_model import PlainTransaction, below, collides
from versioned_io.errors import (
    CommitForgottenError,
    ConflictError,
    InvalidInputError,
    NotAFileError,
    PathCollisionError,
    PathNotFoundError,
)

FILES = ["a", "b", "a/x", "a/y", "b/x", "a/x/q", "a-b", "a.", "c/d/e"]
PATHS = st.sampled_from(FILES)
DIRECTORIES = st.sampled_from(["a", "b", "a/x", "c", "c/d"])
# Small, empty, and of several chunks, most of which they share.
LARGE = bytes((index * 7 + index // 251) % 256 for index in range(400_000))
CONTENTS = (b"", b"0", b"1", b"2", LARGE, LARGE[:300_000] + b"end")
# By number: Hypothesis keeps the text of a strategy for each story, and with the bytes in it that is 8 MB.
DATA = st.integers(0, len(CONTENTS) - 1).map(CONTENTS.__getitem__)
TREES = st.dictionaries(st.sampled_from(["a/x", "a/y", "b/x"]), DATA, min_size=1)
SLOTS = st.sampled_from([0, 1])


class TransactionMachine(RuleBasedStateMachine):
    """One story; a subclass says with *begin_place* where its store is.

    That returns something with ``url`` and ``options`` for `create_store`, `open_store` and `rebuild_store`, with
    ``lose_catalog()``, called while the store is closed, and ``remove()``.
    """

    begin_place = None

    @initialize(is_forked=st.booleans(), first=TREES, ours=TREES, theirs=TREES)
    def begin_story(self, is_forked, first, ours, theirs):
        self.place = self.begin_place()
        self.store = vio.create_store(self.place.url, **self.place.options)
        self.store.create_repo("r")
        self.branches = {"main": []}  # name: [(commit ID, tree)]
        self.tags = {}  # name: commit ID
        self.commits = {}  # every commit that was ever made: the commit, by its ID
        self.trees = {}
        self.writers = {}  # commit ID: {path: the commit that wrote this version}
        self.squashes = []  # (head before, head afterwards)
        self.gone = set()  # commits whose data was dropped or let go of
        self.open = {}  # slot: (transaction, what it means)
        self.names = 0
        if is_forked:
            # What a merge has something to do on takes many rules in the right order otherwise.
            self.commit("main", first)
            self.store.create_branch("r@dev", at="r@main")
            self.branches["dev"] = list(self.branches["main"])
            self.commit("main", first | ours)
            self.commit("dev", first | theirs)

    def commit(self, branch, files):
        """Commit *files*, which collide with nothing."""
        head = self.head(branch)
        with self.store.transaction(f"r@{branch}") as tx:
            for path, data in files.items():
                tx.write(path, data)
        if tx.changed:
            self.note(branch, tx.commit, head, head | files)

    def teardown(self):
        if not hasattr(self, "store"):
            return
        for commit_id in self.commits:
            if commit_id in self.gone:
                with pytest.raises(CommitForgottenError):
                    self.read_all(f"r@{commit_id}")
            else:
                assert self.read_all(f"r@{commit_id}") == self.trees[commit_id]
        assert self.store.fsck().problems == ()
        self.store.close()
        self.place.remove()

    def read_all(self, ref):
        snapshot = self.store.snapshot(ref)
        return {file.path: snapshot.read(file.path) for file in snapshot.walk()}

    def head(self, branch):
        return self.branches[branch][-1][1] if self.branches[branch] else {}

    def head_id(self, branch):
        return self.branches[branch][-1][0] if self.branches[branch] else None

    def story_of(self, commit_id):
        """The commits up to this one, each with its tree, as a branch shows them."""
        story = []
        while commit_id is not None:
            story.append((commit_id, self.trees[commit_id]))
            commit_id = self.commits[commit_id].parent
        return story[::-1]

    def ancestry(self, *commit_ids):
        """These commits and all that they were made from, through merges too."""
        found, waiting = set(), [one for one in commit_ids if one is not None]
        while waiting:
            commit_id = waiting.pop()
            if commit_id not in found:
                found.add(commit_id)
                commit = self.commits[commit_id]
                waiting += [parent for parent in (commit.parent, commit.merged) if parent is not None]
        return found

    def base_of(self, ours, theirs):
        shared = self.ancestry(ours) & self.ancestry(theirs)
        return max(shared, key=lambda one: self.commits[one].created_at, default=None)

    def any_branch(self, data):
        return data.draw(st.sampled_from(sorted(self.branches)))

    def any_commit(self, data):
        """Draw a commit that a branch or a tag leads to, or None while there is none."""
        shown = {commit_id for story in self.branches.values() for commit_id, _ in story} | set(self.tags.values())
        return data.draw(st.sampled_from(sorted(shown))) if shown else None

    # Transactions

    @rule(slot=SLOTS, data=st.data())
    def begin(self, slot, data):
        if slot not in self.open:
            branch = self.any_branch(data)
            plain = PlainTransaction(branch, self.head_id(branch), self.head(branch))
            self.open[slot] = (self.store.transaction(f"r@{branch}"), plain)

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
        if plain.base_id in self.gone:
            with pytest.raises(CommitForgottenError):
                tx.finish()
        elif overlap:
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

    def note(self, branch, commit, before, after, merged=None):
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
        assert commit.merged == merged
        kept = self.writers[story[-1][0]] if story else {}
        brought = {} if merged is None else self.writers[merged]
        self.writers[commit.id] = {
            path: kept[path] if path in before and before[path] == after[path] else brought.get(path, commit.id)
            for path in after
        }
        self.commits[commit.id], self.trees[commit.id] = commit, after
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

    @invariant()
    def every_branch_is_what_the_dict_says(self):
        if not hasattr(self, "store"):
            return
        for branch, story in self.branches.items():
            snapshot = self.store.snapshot(f"r@{branch}")
            tree = self.head(branch)
            assert {file.path: (file.size, file.written_by) for file in snapshot.walk()} == {
                path: (len(data), self.writers[self.head_id(branch)][path]) for path, data in tree.items()
            }
            log = list(self.store.log(f"r@{branch}"))
            assert [commit.id for commit in log] == [commit_id for commit_id, _ in reversed(story)]
            assert [commit.number for commit in log] == list(range(len(story), 0, -1))
        assert self.store.tags("r") == self.tags

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
