"""The state machine that drives a store and a plain dict beside each other, on whatever backend it is given."""

from datetime import timedelta
from functools import partial

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule

import versioned_io as vio
from tests.versioned_io.plain_model import below, taken, three_way
from tests.versioned_io.transaction_machine import PATHS, TransactionMachine
from versioned_io.errors import InvalidInputError, MergeConflictError, PathNotFoundError

STRATEGIES = st.sampled_from(["fail", "ours", "theirs"])


class StoreMachine(TransactionMachine):
    """What else can happen to a store: names made, moved and removed, merges, upkeep, reopening, rebuilding."""

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

    @rule(data=st.data(), kept=st.integers(0, 2))
    def squash(self, data, kept):
        branch = self.any_branch(data)
        story = self.branches[branch]
        if not story:
            return
        kept = min(kept, len(story) - 1)
        since = story[kept - 1][0] if kept else None
        head, tree = story[-1]
        made = self.store.squash(f"r@{branch}", since and f"r@{since}")
        if len(story) - kept == 1:
            assert made.id == head
            return
        assert (made.parent, made.number) == (since, kept + 1)
        self.commits[made.id], self.trees[made.id], self.writers[made.id] = made, tree, self.writers[head]
        self.branches[branch] = [*story[:kept], (made.id, tree)]
        self.squashes.append((head, made.id))

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

    @rule(data=st.data(), strategy=STRATEGIES, count=st.integers(2, 4))
    def revert_several(self, data, strategy, count):
        undone, on = self.any_commit(data), self.any_branch(data)
        since = undone
        for _ in range(count):
            since = since and self.commits[since].parent
        if since is not None and since not in self.gone:
            revert = partial(self.store.revert, f"r@{undone}", f"r@{on}", since=f"r@{since}", strategy=strategy)
            self.bring_in(revert, on, self.trees[undone], self.trees[since], strategy=strategy)

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

    def standing(self, writer, commit_id):
        """What the history of a commit shows for *writer*: that, what it was squashed into, or None."""
        shown = {one for one, _ in self.story_of(commit_id)}
        found = self.squashed_into(writer, shown)
        return found if found is not None or writer in self.gone else writer

    def squashed_into(self, writer, shown):
        if writer in shown:
            return writer
        for old, new in self.squashes:
            if self.commits[new].number <= self.commits[writer].number and writer in dict(self.story_of(old)):
                found = self.squashed_into(new, shown)
                if found is not None:
                    return found
        return None

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
            writer = self.standing(self.writers[current][path], current) if path in tree else None
            if writer is not None:
                current = writer  # which may be a commit that a merge brought in
            elif (before.get(path), below(before, path)) == (tree.get(path), below(tree, path)):
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
