"""The state machine of disasters: catalogs rolled back, cloned and lost, packs damaged and lost, power lost.

One invariant: what was acknowledged is readable as it was, or refused with the reason. Nothing else is allowed, in any
order of events. Once the store has been recovered, or the content written again, it is readable.
"""

import random
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

import versioned_io as vio
from versioned_io.errors import VersionedError
from versioned_io.storage.packs.frames import FrameKind
from versioned_io.storage.packs.reader import read_footer

NOW = {"grace": timedelta(0), "expire": timedelta(days=1)}
PATHS = ["a", "b/x", "b/y", "c/d/e"]
DICE = random.Random(9)
# Small, and of several chunks that it shares with others.
CONTENTS = [b"", b"1" * 300, b"2" * 3_000, DICE.randbytes(200_000), DICE.randbytes(400_000)]
CHOICES = st.dictionaries(st.sampled_from(PATHS), st.integers(0, len(CONTENTS) - 1), min_size=1)
BRANCHES = st.sampled_from(["main", "dev"])


def chosen(choices):
    """Return {path: bytes}. The numbers stand in a failed story, where the bytes would be a megabyte."""
    return {path: CONTENTS[number] for path, number in choices.items()}


class DisasterMachine(RuleBasedStateMachine):
    """One story; a subclass says with *begin_place* where its store is; see `TransactionMachine`.

    The place also has ``copy_catalog()``, which returns a backup, ``restore_catalog(backup)``, and ``clone_catalog()``,
    which returns a URL. It may have ``lose_power()``.
    """

    begin_place = None

    @initialize(first=CHOICES)
    def begin_story(self, first):
        self.place = self.begin_place()
        self.store = vio.create_store(self.place.url, **self.place.options)
        self.store.create_repo("r")
        self.names = {"r": "r"}  # what the repos are called now, by what they were called first
        self.deleted = set()  # the repos that are, whose commits are refused until the repo is restored
        self.aside = set()  # the commits of the repo "side"
        self.renamed = 0
        self.truth = {}  # commit ID: {path: bytes}, of everything that was acknowledged
        self.heads = {("r", "main"): None}
        self.tags = {}
        self.backups = []  # (what the catalog was, how many events it knows)
        self.events = 0
        self.known = 0  # how many of the events the catalog knows
        self.harmed = set()  # the packs that were damaged, and not healed yet
        self.commit(("r", "main"), chosen(first))

    @property
    def is_older(self):
        return self.known < self.events

    def teardown(self):
        if hasattr(self, "store"):
            self.recover()
            self.heal()
            if self.deleted:
                self.delete_or_restore_the_repo()
            self.everything_is_readable()
            # What was healed is still damaged where it was, until the trees lead to the new place alone.
            self.store.compact(small_bytes=1 << 20)
            self.store.gc(**NOW)
            assert self.store.fsck().problems == ()
            self.everything_is_readable()
            self.store.close()
            self.place.remove()

    # What people do

    def attempt(self, act):
        """Return whether *act* was done; on an older catalog it must be refused, on a damaged store it may be."""
        if self.is_older:
            with pytest.raises(VersionedError):
                act()
            return False
        try:
            act()
        except VersionedError:
            assert self.harmed
            return False
        return True

    def acknowledge(self):
        self.events += 1
        self.known = self.events

    def ref(self, branch):
        return f"{self.names[branch[0]]}@{branch[1]}"

    def commit(self, branch, files):
        made = []

        def act():
            with self.store.transaction(self.ref(branch), empty="allow") as tx:
                for path, data in files.items():
                    tx.write(path, data)
            made.append(tx.commit)

        if self.attempt(act):
            before = self.truth[self.heads[branch]] if self.heads[branch] else {}
            self.truth[made[0].id] = before | files
            self.heads[branch] = made[0].id
            if branch[0] == "side":
                self.aside.add(made[0].id)
            self.acknowledge()

    @rule(branch=BRANCHES, files=CHOICES)
    def write(self, branch, files):
        if ("r", branch) in self.heads:
            self.commit(("r", branch), chosen(files))

    @precondition(lambda self: ("r", "dev") not in self.heads)
    @rule()
    def fork(self):
        if self.attempt(lambda: self.store.create_branch(self.ref(("r", "dev")), at=self.ref(("r", "main")))):
            self.heads["r", "dev"] = self.heads["r", "main"]
            self.acknowledge()

    @rule(files=CHOICES)
    def write_aside(self, files):
        """Commit to a second repo, which is deleted and restored at times."""
        if "side" not in self.names:
            if not self.attempt(lambda: self.store.create_repo("side")):
                return
            self.names["side"] = "side"
            self.heads["side", "main"] = None
            self.acknowledge()
        if "side" not in self.deleted:
            self.commit(("side", "main"), chosen(files))

    @precondition(lambda self: "side" in self.names)
    @rule()
    def delete_or_restore_the_repo(self):
        name, is_deleted = self.names["side"], "side" in self.deleted
        if self.attempt(lambda: self.store.restore_repo(name) if is_deleted else self.store.delete_repo(name)):
            self.deleted ^= {"side"}
            self.acknowledge()

    @rule(data=st.data())
    def rename_a_repo(self, data):
        repo = data.draw(st.sampled_from(sorted(self.names.keys() - self.deleted)))
        self.renamed += 1
        new = f"{repo}{self.renamed}"
        if self.attempt(lambda: self.store.rename_repo(self.names[repo], new)):
            self.names[repo] = new
            self.acknowledge()

    @precondition(lambda self: len(self.tags) < 4)
    @rule()
    def tag(self):
        name = f"t{len(self.tags)}"
        if self.attempt(lambda: self.store.create_tag(self.ref(("r", name)), at=self.ref(("r", "main")))):
            self.tags[name] = self.heads["r", "main"]
            self.acknowledge()

    @rule()
    def collect(self):
        self.attempt(lambda: self.store.gc(**NOW))

    @rule()
    def compact(self):
        self.attempt(lambda: self.store.compact(small_bytes=1 << 20))

    @rule()
    def maintain(self):
        self.attempt(lambda: self.store.maintain(full=True))

    @rule()
    def reopen(self):
        self.store.close()
        self.store = vio.open_store(self.place.url, **self.place.options)

    # What happens to them

    @rule()
    def back_up_the_catalog(self):
        self.store.close()
        self.backups.append((self.place.copy_catalog(), self.known))
        self.reopen()

    @precondition(lambda self: self.backups)
    @rule(data=st.data())
    def roll_back(self, data):
        backup, events = data.draw(st.sampled_from(self.backups))
        self.store.close()
        self.place.restore_catalog(backup)
        self.known = events
        self.reopen()

    @rule()
    def clone(self):
        """A second catalog over the same packs reads, and changes nothing."""
        self.store.close()
        url = self.place.clone_catalog()
        with vio.open_store(self.place.url, **{**self.place.options, "catalog": url}) as other:
            for change in (
                lambda: other.gc(**NOW),
                lambda: other.compact(small_bytes=1 << 20),
                lambda: other.create_branch(self.ref(("r", "other")), at=self.ref(("r", "main"))),
                lambda: other.rename_repo(self.names["r"], "other"),
                lambda: other.delete_repo(self.names["r"]),
            ):
                with pytest.raises(VersionedError):
                    change()
        self.store = vio.open_store(self.place.url, **self.place.options)

    @rule()
    def lose_the_catalog(self):
        if self.harmed:
            return
        self.store.close()
        self.place.lose_catalog()
        vio.rebuild_store(self.place.url, **self.place.options)
        self.known = self.events
        self.backups.clear()
        self.reopen()

    @rule()
    def recover(self):
        self.store.close()
        vio.recover_store(self.place.url, **self.place.options)
        self.known = self.events
        self.reopen()

    @precondition(lambda self: not self.harmed and not self.is_older)
    @rule(seed=st.integers(0, 1000), is_lost=st.booleans())
    def harm(self, seed, is_lost):
        """One block of data is damaged, or one pack that holds only data is lost."""
        dice = random.Random(seed)
        objects = self.store._backend.objects
        places = []
        for info in sorted(objects.list("packs/"), key=lambda one: Path(one.key).stem):
            name = Path(info.key).stem
            frames = read_footer(objects, name).frames
            blocks = [frame for frame in frames if frame.kind is FrameKind.BLOCK]
            if blocks and (not is_lost or len(blocks) == len(frames)):
                places.append((info.key, dice.choice(blocks)))
        if not places:
            return
        key, frame = dice.choice(places)
        self.harmed.add(key)
        file = Path(self.place.url) / key
        if is_lost:
            file.unlink()
            return
        data = bytearray(file.read_bytes())
        data[dice.randrange(frame.offset, frame.offset + frame.stored_size)] ^= 1 << dice.randrange(8)
        mode = file.stat().st_mode
        file.chmod(0o600)
        file.write_bytes(data)
        file.chmod(mode)

    @precondition(lambda self: self.harmed and not self.is_older)
    @rule()
    def heal(self):
        """The same bytes are written again, anywhere: every old commit that held them reads again."""
        if not self.harmed or self.is_older:
            return
        self.store.create_repo("again", exist_ok=True)
        with self.store.transaction("again@main", empty="allow") as tx:
            for number, content in enumerate(CONTENTS):
                tx.write(str(number), content)
        self.truth[tx.commit.id] = {str(number): content for number, content in enumerate(CONTENTS)}
        self.harmed.clear()
        self.acknowledge()

    @precondition(lambda self: hasattr(self.place, "lose_power"))
    @rule()
    def lose_power(self):
        self.store.close()
        self.place.lose_power()
        self.reopen()

    # What holds

    def read(self, commit_id):
        snapshot = self.store.snapshot(f"{self.store.commit(commit_id).repo}@{commit_id}")
        return {file.path: snapshot.read(file.path) for file in snapshot.walk()}

    @invariant()
    def what_was_acknowledged_is_readable_or_refused(self):
        if not hasattr(self, "store"):
            return
        is_whole = not self.harmed and not self.is_older
        for commit_id, files in self.truth.items():
            try:
                found = self.read(commit_id)
            except VersionedError:
                assert not is_whole or (self.deleted and commit_id in self.aside)
                continue
            assert found == files

    def everything_is_readable(self):
        for commit_id, files in self.truth.items():
            assert self.read(commit_id) == files
        for branch, head in self.heads.items():
            if head is not None and branch[0] not in self.deleted:
                assert self.store.commit(self.ref(branch)).id == head
        for tag, commit_id in self.tags.items():
            assert self.store.commit(self.ref(("r", tag))).id == commit_id
        live = {name for repo, name in self.names.items() if repo not in self.deleted}
        assert {repo.name for repo in self.store.repos()} - {"again"} == live
