"""Triggers beside a plain model: any order of commits, resets, renames, rules, times and evaluations."""

import shutil
import tempfile
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

import versioned_io as vio

FILES = ("a", "b", "c")
SIZES = (0, 10, 25)
BRANCHES = ("x", "y", "z")  # each follows the one before it, and x follows main; z is in another repo
HOUR = timedelta(hours=1)


@dataclass
class Node:
    """A commit of the model: its files by path, and its history."""

    tree: dict
    parent: "Node | None"
    at: datetime
    lineage: str = ""

    @property
    def history(self):
        found, one = [], self
        while one is not None:
            found.append(one)
            one = one.parent
        return found


@dataclass
class Follower:
    """A trigger of the model."""

    source: str
    conditions: dict
    any_: bool
    limit: timedelta | None
    set_at: datetime
    fired_at: datetime | None = None
    taken: list = field(default_factory=list)


class TriggerMachine(RuleBasedStateMachine):
    @initialize()
    def begin(self):
        self.directory = Path(tempfile.mkdtemp(prefix="versioned-machine-"))
        self.now = datetime(2026, 1, 1, 12, 20, tzinfo=UTC)
        self.store = vio.create_store(self.directory / "s", clock=lambda: self.now)
        self.store.create_repo("r")
        self.store.create_repo("q")
        self.heads = {"main": None, "x": None, "y": None, "z": None}
        self.reached = {}  # the node of the source that each branch has
        self.triggers = {}
        self.moved_at = {}  # when each branch was last moved other than by a commit
        self.copied_at = None  # the newest commit of z says when its trigger last fired
        for number, commits in zip(BRANCHES, (2, 1, 2), strict=True):
            self.trigger(number, {"commits": commits}, is_hourly=False, any_=True, limit=None)

    def teardown(self):
        if hasattr(self, "store"):
            assert self.store.fsck().is_clean
            self.store.close()
            shutil.rmtree(self.directory)

    @staticmethod
    def ref(branch):
        return f"q@{branch}" if branch == "z" else f"r@{branch}"

    @rule(changes=st.dictionaries(st.sampled_from(FILES), st.sampled_from([None, *SIZES]), min_size=1))
    def commit(self, changes):
        tree = dict(self.heads["main"].tree) if self.heads["main"] else {}
        with self.store.transaction("r@main", empty="allow") as tx:
            for path, size in changes.items():
                if size is None:
                    tx.delete(path)
                    tree.pop(path, None)
                else:
                    tx.write(path, b"x" * size)
                    tree[path] = size
        self.heads["main"] = Node(tree, self.heads["main"], self.now, tx.commit.lineage_id)

    @rule(minutes=st.sampled_from([1, 20, 40, 60, 200]))
    def wait(self, minutes):
        self.now += timedelta(minutes=minutes)

    @rule(back=st.integers(1, 3), branch=st.sampled_from(["main", "x", "y"]))
    def reset(self, back, branch):
        history = self.heads[branch].history if self.heads[branch] else []
        if len(history) > back:
            self.store.reset(self.ref(branch), f"{self.ref(branch)}~{back}")
            self.heads[branch] = self.reached[branch] = history[back]
            self.moved_at[branch] = self.now

    @rule(
        number=st.sampled_from(BRANCHES),
        conditions=st.dictionaries(st.sampled_from(["commits", "changed_bytes", "changed_files"]), st.integers(0, 3)),
        is_hourly=st.booleans(),
        any_=st.booleans(),
        limit=st.sampled_from([None, HOUR]),
    )
    def trigger(self, number, conditions, is_hourly, any_, limit):
        conditions = {name: value * (9 if name == "changed_bytes" else 1) for name, value in conditions.items()}
        conditions |= {"cron": "0 * * * *"} if is_hourly else {}
        source = {"x": "main", "y": "x", "z": "y"}[number]
        known = {one.name for one in self.store.branches("r")}
        if source not in known or not (conditions or limit):
            return
        self.store.trigger(self.ref(number), on=self.ref(source), **conditions, any_=any_, at_most_every=limit)
        before = self.triggers.get(number)
        fired_at = None if before is None else before.fired_at
        fired_at = self.copied_at if number == "z" else fired_at
        self.triggers[number] = Follower(source, conditions, any_, limit, self.now, fired_at)

    @rule(branch=st.sampled_from(BRANCHES))
    def end(self, branch):
        if self.triggers.pop(branch, None) is not None:
            self.store.delete_trigger(self.ref(branch))

    @rule(is_killed=st.booleans())
    def evaluate(self, is_killed):
        expected = [self.ref(one) for one in BRANCHES if one in self.triggers and self.fires(one)]
        if is_killed:  # another handle evaluates, as another process after a death would
            with vio.open_store(self.store.url, clock=lambda: self.now) as other:
                fired = other.run_triggers().fired
        else:
            fired = self.store.run_triggers().fired
        assert [one.branch for one in fired] == expected
        for one in fired:
            node = self.heads[one.branch[2:]]
            assert one.lineage_id == node.lineage
        for branch, node in self.heads.items():
            if node is not None:
                files = {file.path: file.size for file in self.store.snapshot(self.ref(branch)).walk()}
                assert files == node.tree
        assert not self.store.run_triggers().fired

    def fires(self, branch):
        """Whether the trigger of *branch* fires now; if so, the model's branch moves."""
        trigger = self.triggers[branch]
        source, own = self.heads[trigger.source], self.reached.get(branch)
        if source is None or source is own:
            return False
        if trigger.limit and trigger.fired_at and self.now < trigger.fired_at + trigger.limit:
            return False
        held = [self.holds(trigger, name, value, source, own) for name, value in trigger.conditions.items()]
        if held and not (any(held) if trigger.any_ else all(held)):
            return False
        self.heads[branch] = self.reached[branch] = source
        trigger.fired_at = self.moved_at[branch] = self.now
        self.copied_at = self.now if branch == "z" else self.copied_at
        return True

    def holds(self, trigger, name, value, source, own):
        had = own.history if own else []
        ahead = [one for one in source.history if one not in had]
        old = own.tree if own else {}
        changed = {path for path in old.keys() | source.tree.keys() if old.get(path) != source.tree.get(path)}
        if name == "commits":
            return len(ahead) >= value
        if name == "changed_files":
            return len(changed) >= value
        if name == "changed_bytes":
            return sum(source.tree.get(path, old.get(path)) for path in changed) >= value
        since = ahead[-1].at if ahead else self.moved_at[trigger.source]
        begin = max(trigger.fired_at or trigger.set_at, trigger.set_at)
        instant = self.now.replace(minute=0)
        return instant > begin and instant >= since


TriggerMachine.TestCase.settings = settings(max_examples=30, stateful_step_count=25, deadline=None)
test_triggers_fire_exactly_when_the_model_says = TriggerMachine.TestCase
