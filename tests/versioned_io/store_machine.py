"""The state machine that drives a store and a plain dict beside each other, on whatever backend it is given."""

from datetime import timedelta
from functools import partial

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

import versioned_io as vio
from tests.versioned_io.plain_model import PlainTransaction, below, collides, taken, three_way
from versioned_io.errors import (
    CommitForgottenError,
    ConflictError,
    InvalidInputError,
    MergeConflictError,
    NotAFileError,
    PathCollisionError,
    PathNotFoundError,
)

FILES = ["a", "b", "a/x", "a/y", "b/x", "a/x/q", "a-b", "a.", "c/d/e"]
PATHS = st.sampled_from(FILES)
DIRECTORIES = st.sampled_from(["a", "b", "a/x", "c", "c/d"])
# Small, empty, and of several chunks, most of which they share.
LARGE = bytes((index * 7 + index // 251) % 256 for index in range(400_000))
DATA = st.sampled_from([b"", b"0", b"1", b"2", LARGE, LARGE[:300_000] + b"end"])
SLOTS = st.sampled_from([0, 1])
STRATEGIES = st.sampled_from(["fail", "ours", "theirs"])


class StoreMachine(RuleBasedStateMachine):
    """One story; a subclass says with *begin_place* where its store is.

    That returns something with ``url`` and ``options`` for `create_store`, `open_store` and `rebuild_store`, with
    ``lose_catalog()``, called while the store is closed, and ``remove()``.
    """

    begin_place = None

    @initialize()
    def begin_story(self):
        self.place = self.begin_place()
        self.store = vio.create_store(self.place.url, **self.place.options)
        self.store.create_repo("r")
        self.branches = {"main": []}  # name: [(commit ID, tree)]
        self.tags = {}  # name: commit ID
        self.commits = {}  # every commit that was ever made: the commit, by its ID
        self.trees = {}
        self.writers = {}  # commit ID: {path: the commit that wrote this version}
        self.gone = set()  # commits whose data was dropped or let go of
        self.open = {}  # slot: (transaction, what it means)
        self.names = 0

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

    # Around them

    @precondition(lambda self: len(self.branches) < 3)
    @rule(data=st.data(), is_empty=st.booleans())
    def fork(self, data, is_empty):
        self.names += 1
        name = f"b{self.names}"
        origin = self.any_commit(data)
        if is_empty or origin is None:
            empty = next((branch for branch, story in self.branches.items() if not story), None)
            if empty is None:
                return
            self.store.create_branch(f"r@{name}", at=f"r@{empty}")
            self.branches[name] = []
        else:
            self.store.create_branch(f"r@{name}", at=f"r@{origin}")
            self.branches[name] = self.story_of(origin)

    @precondition(lambda self: len(self.branches) > 1)
    @rule(data=st.data())
    def delete_branch(self, data):
        branch = data.draw(st.sampled_from(sorted(self.branches.keys() - {"main"})))
        self.abort_all(branch)
        self.store.delete_branch(f"r@{branch}")
        del self.branches[branch]

    @precondition(lambda self: len(self.tags) < 2)
    @rule(data=st.data())
    def tag(self, data):
        commit_id = self.any_commit(data)
        if commit_id is not None:
            self.names += 1
            assert self.store.create_tag(f"r@t{self.names}", at=f"r@{commit_id}").id == commit_id
            self.tags[f"t{self.names}"] = commit_id

    @precondition(lambda self: self.tags)
    @rule(data=st.data())
    def delete_tag(self, data):
        tag = data.draw(st.sampled_from(sorted(self.tags)))
        self.store.delete_tag(f"r@{tag}")
        del self.tags[tag]

    def abort_all(self, branch=None):
        for slot, (tx, plain) in list(self.open.items()):
            if branch in {None, plain.branch}:
                tx.abort()
                del self.open[slot]

    @rule()
    def reopen(self):
        self.abort_all()
        self.store.close()
        self.store = vio.open_store(self.place.url, **self.place.options)

    @rule()
    def rebuild(self):
        self.abort_all()
        self.store.close()
        self.place.lose_catalog()
        report = vio.rebuild_store(self.place.url, **self.place.options)
        assert (report.damaged, report.uncertain) == ((), ())
        self.store = vio.open_store(self.place.url, **self.place.options)

    @rule()
    def compact(self):
        self.store.compact(small_bytes=1 << 20)

    @rule(forgets=st.booleans())
    def collect(self, forgets):
        self.abort_all()  # without a grace nobody else may be at work
        kept = self.ancestry(*(self.head_id(branch) for branch in self.branches), *self.tags.values())
        unnamed = self.commits.keys() - kept - self.gone if forgets else set()
        report = self.store.gc(grace=timedelta(0), **({"expire": timedelta(0)} if forgets else {}))
        assert report.forgotten == len(unnamed)
        self.gone |= unnamed

    @rule(back=st.integers(0, 3), data=st.data())
    def reset(self, back, data):
        branch = self.any_branch(data)
        story = self.branches[branch]
        if not story:
            return
        back = min(back, len(story) - 1)
        self.store.reset(f"r@{branch}", f"r@{branch}~{back}")
        self.branches[branch] = story[: len(story) - back]

    @rule(data=st.data())
    def drop(self, data):
        branch = self.any_branch(data)
        head = self.head_id(branch)
        needs = [self.head_id(other) for other in self.branches if other != branch]
        needs += self.tags.values()
        for commit_id in self.commits.keys() - self.gone:
            needs += [self.commits[commit_id].parent, self.commits[commit_id].merged]
        if head is None or head in needs:
            with pytest.raises(InvalidInputError):
                self.store.drop(f"r@{branch}")
        else:
            assert self.store.drop(f"r@{branch}").id == head
            self.branches[branch].pop()
            self.gone.add(head)

    @rule(data=st.data(), strategy=STRATEGIES, fast_forward=st.booleans())
    def merge(self, data, strategy, fast_forward):
        theirs, into = self.any_commit(data), self.any_branch(data)
        if theirs is None:
            return
        ours, base = self.head_id(into), self.base_of(self.head_id(into), theirs)

        def merge():
            options = {"strategy": strategy, "fast_forward": fast_forward}
            return self.store.merge(f"r@{theirs}", f"r@{into}", **options)

        if base == theirs:
            assert merge().id == ours
        elif fast_forward and base == ours:
            assert merge().id == theirs
            self.branches[into] = self.story_of(theirs)
        else:
            self.bring_in(merge, into, self.trees.get(base, {}), self.trees[theirs], strategy=strategy, merged=theirs)

    @rule(data=st.data(), strategy=STRATEGIES)
    def cherry_pick(self, data, strategy):
        picked, onto = self.any_commit(data), self.any_branch(data)
        if picked is not None and self.has_parent_at_hand(picked):
            before = self.trees.get(self.commits[picked].parent, {})
            pick = partial(self.store.cherry_pick, f"r@{picked}", f"r@{onto}", strategy=strategy)
            self.bring_in(pick, onto, before, self.trees[picked], strategy=strategy)

    @rule(data=st.data(), strategy=STRATEGIES)
    def revert(self, data, strategy):
        undone, on = self.any_commit(data), self.any_branch(data)
        if undone is not None and self.has_parent_at_hand(undone):
            before = self.trees.get(self.commits[undone].parent, {})
            revert = partial(self.store.revert, f"r@{undone}", f"r@{on}", strategy=strategy)
            self.bring_in(revert, on, self.trees[undone], before, strategy=strategy)

    def has_parent_at_hand(self, commit_id):
        return self.commits[commit_id].parent not in self.gone

    def bring_in(self, call, branch, base, theirs, *, strategy, merged=None):
        head = self.head(branch)
        result, undecided = three_way(base, head, theirs)
        if undecided and strategy == "fail":
            with pytest.raises(MergeConflictError) as caught:
                call()
            assert set(caught.value.paths) == undecided
            return
        if strategy == "theirs":
            result = taken(result, theirs, undecided)
        self.note(branch, call(), head, result, merged)

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
        branch = self.any_branch(data)
        changes, current = [], self.head_id(branch)
        while current is not None:
            tree, parent = self.trees[current], self.commits[current].parent
            before = self.trees.get(parent, {})
            if path in tree:
                current = self.writers[current][path]  # which may be a commit that a merge brought in
            elif (before.get(path), below(before, path)) == (None, below(tree, path)):
                current = parent
                continue
            changes.append(current)
            current = self.commits[current].parent
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
