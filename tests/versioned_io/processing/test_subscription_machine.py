"""Subscriptions beside a plain model: any order of commits, collections, claims, ends of leases and completions."""

import shutil
import tempfile
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, invariant, multiple, rule

import versioned_io as vio
from tests.versioned_io.conftest import SteppingClock
from versioned_io.errors import ClaimLostError

KEYS = st.sampled_from("ab")
FILES = st.sampled_from("12")
OWNERS = st.sampled_from(["one", "two"])
LEASES = st.sampled_from([10, 100])


@dataclass
class Request:
    """What the model knows of a key."""

    sequence: int = 0
    done: int = 0
    owner: str | None = None
    claimed: int | None = None
    until: object = None
    done_by: str | None = None
    commit: int = 0

    @property
    def is_due(self):
        return self.sequence > self.done


class SubscriptionMachine(RuleBasedStateMachine):
    dues = Bundle("dues")

    @initialize()
    def begin(self):
        self.directory = Path(tempfile.mkdtemp(prefix="versioned-machine-"))
        self.clock = SteppingClock()
        self.store = vio.create_store(self.directory / "s", clock=self.clock)
        self.store.create_repo("data")
        self.store.create_repo("out")
        self.subscription = self.store.subscription("s", "data@main", partitions="{key}/*")
        self.trees = [{}]  # by commit number
        self.collected = 0
        self.collections = 0
        self.requests = {}
        self.written = 0

    def teardown(self):
        if hasattr(self, "store"):
            assert self.store.fsck().is_clean
            self.store.close()
            shutil.rmtree(self.directory)

    # The branch

    @rule(changes=st.dictionaries(st.tuples(KEYS, FILES), st.sampled_from([b"x", b"y", None]), min_size=1, max_size=3))
    def commit(self, changes):
        tree = dict(self.trees[-1])
        with self.store.transaction("data@main") as tx:
            for (key, file), data in changes.items():
                path = f"{key}/{file}"
                if data is None:
                    tx.delete(path)
                    tree.pop(path, None)
                else:
                    tx.write(path, data)
                    tree[path] = data
        assert tx.changed == (tree != self.trees[-1])
        if tx.changed:
            self.trees.append(tree)

    @rule(key=KEYS, data=st.sampled_from([b"x", b"y", b"z"]))
    def a_file_comes_in(self, key, data):
        self.commit({(key, "1"): data})
        self.collect()

    @rule(key=KEYS)
    def a_key_goes_out(self, key):
        self.commit({(key, file): None for file in "12"})
        self.collect()

    # Collecting

    def files_of(self, key, number):
        return {path: data for path, data in self.trees[number].items() if path.startswith(f"{key}/")}

    def newest_touch(self, key):
        """The newest commit since the last collection that changed anything of *key*."""
        numbers = range(self.collected + 1, len(self.trees))
        return max(number for number in numbers if self.files_of(key, number) != self.files_of(key, number - 1))

    @rule()
    def collect(self):
        head = len(self.trees) - 1
        changed = {key for key in "ab" if self.files_of(key, head) != self.files_of(key, self.collected)}
        alive = {key for key in changed if self.files_of(key, head)}
        assert self.subscription.collect() == len(alive)
        if head == self.collected:
            return
        self.collections += 1
        for key in alive:
            request = self.requests.setdefault(key, Request())
            request.sequence = self.collections
            request.commit = self.newest_touch(key)
        for key in changed - alive:
            request = self.requests.get(key)
            if request is not None and request.is_due:
                request.done, request.done_by = request.sequence, None
        self.collected = head

    # Working

    def claim_in_the_model(self, key, owner, lease, *, force):
        request = self.requests.get(key)
        if request is None and force and len(self.trees) > 1:
            request = self.requests[key] = Request()
        if request is None:
            return None
        its_own = request.done_by == owner and request.done == request.sequence
        if not request.is_due and force and not (its_own and self.is_free(request, owner)):
            request.commit = len(self.trees) - 1
        if not self.is_free(request, owner) or not (request.is_due or its_own or force):
            return None
        request.owner, request.claimed, request.until = (
            owner,
            request.sequence,
            self.clock.now + timedelta(seconds=lease),
        )
        return request

    def is_free(self, request, owner):
        return request.owner in {None, owner} or request.until <= self.clock.now

    @rule(target=dues, key=KEYS, owner=OWNERS, lease=LEASES, force=st.booleans())
    def claim(self, key, owner, lease, force):
        expected = self.claim_in_the_model(key, owner, lease, force=force)
        claimed = self.subscription.claim(key, owner=owner, lease_s=lease, force=force)
        assert (claimed is None) == (expected is None)
        if claimed is None:
            return multiple()
        assert (claimed.sequence, claimed.number, claimed.claimed_until) == (
            expected.sequence,
            expected.commit,
            expected.until,
        )
        return claimed

    def complete_in_the_model(self, due):
        """Return whether the completion is accepted."""
        request = self.requests[due.key]
        if (request.owner, request.claimed) == (due.owner, due.sequence):
            request.done = max(request.done, due.sequence)
            request.done_by, request.owner, request.until = due.owner, None, None
            return True
        return (request.done_by, request.done) == (due.owner, due.sequence)

    @rule(due=dues)
    def complete(self, due):
        if self.complete_in_the_model(due):
            self.subscription.complete(due)
        else:
            with suppress(ClaimLostError):
                self.subscription.complete(due)
                raise AssertionError("the claim had been lost")

    @rule(due=dues)
    def complete_with_a_result(self, due):
        expected = self.complete_in_the_model(due)
        self.written += 1
        tx = self.store.transaction("out@main", completes=[due])
        tx.write("result", b"%d" % self.written)
        head = self.store.branches("out")[0].head
        if expected:
            tx.finish()
            assert tx.changed
        else:
            with suppress(ClaimLostError):
                tx.finish()
                raise AssertionError("the claim had been lost")
            assert self.store.branches("out")[0].head == head

    @rule(due=consumes(dues))
    def release(self, due):
        request = self.requests[due.key]
        if (request.owner, request.claimed) == (due.owner, due.sequence):
            if request.sequence > due.sequence:
                request.owner = request.until = None
            else:
                request.until = self.clock.now
        self.subscription.release(due)

    @rule(seconds=st.sampled_from([1, 10, 100]))
    def wait(self, seconds):
        self.clock.advance(seconds)

    @rule()
    def announce(self):
        self.subscription.mark_announced(self.subscription.unannounced(redeliver_after_s=5))
        assert self.subscription.unannounced(redeliver_after_s=5) == []

    @rule()
    def reopen(self):
        self.store.close()
        self.store = vio.open_store(self.directory / "s", clock=self.clock)
        self.subscription = self.store.subscription("s", "data@main", partitions="{key}/*")

    # What must always hold

    @invariant()
    def what_is_due_is_what_the_model_says(self):
        if not hasattr(self, "store"):
            return
        due = {key.key: (key.sequence, key.number, key.owner) for key in self.subscription.due()}
        assert due == {
            key: (request.sequence, request.commit, request.owner)
            for key, request in self.requests.items()
            if request.is_due
        }

    @invariant()
    def what_is_due_is_there_and_is_as_the_head_has_it(self):
        if not hasattr(self, "store"):
            return
        for due in self.subscription.due():
            files = self.files_of(due.key, due.number)
            assert files
            assert files == self.files_of(due.key, self.collected)

    @invariant()
    def nobody_is_told_what_is_held_or_done(self):
        if not hasattr(self, "store"):
            return
        for due in self.subscription.unannounced(redeliver_after_s=0):
            request = self.requests[due.key]
            assert request.is_due
            assert request.owner is None or request.until <= self.clock.now


SubscriptionMachine.TestCase.settings = settings(
    max_examples=25, stateful_step_count=40, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
TestSubscriptionMachine = pytest.mark.slow(SubscriptionMachine.TestCase)
