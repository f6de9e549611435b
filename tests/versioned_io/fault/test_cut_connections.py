"""The connection to PostgreSQL is cut after any message: what was told is so, and one logical write is one commit."""

import uuid
from contextlib import contextmanager, suppress
from datetime import timedelta
from itertools import count

import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.engine import make_url

import versioned_io as vio
from tests.versioned_io.fault.cutting_proxy import TO_CLIENT, TO_SERVER, CuttingProxy
from versioned_io.catalog import replies
from versioned_io.errors import OutcomeUnknownError, PathNotFoundError, StorageError

process = pytest.importorskip("devservers.process", reason="the servers of tests are not there")

pytestmark = pytest.mark.slow

SLOW_S = 0.03
STRIDE = 29
"""One message in so many is cut after in `make test`."""

COMMIT = b"COMMIT\0"
"""Both the statement and the reply to it hold this."""


TABLES = ("packs", "subscriptions", "due_keys", "tags")
"""Changing one row of these through the proxy takes a while at COMMIT."""

SHAKY = "shaky"
"""What the sessions of the proxy are called."""

UNDER_WAY = f"""SELECT count(*) FROM pg_stat_activity
    WHERE application_name = '{SHAKY}' AND datname = current_database() AND state <> 'idle'"""
GATE = 7
"""The advisory lock that each slow COMMIT waits for."""


class Place:
    """A store on PostgreSQL that is opened directly and, by `shaky`, through the proxy."""

    def __init__(self, directory, url, proxy):
        self.directory, self.url, self.proxy = directory, url, proxy
        through = (
            make_url(url).set(port=proxy.port).update_query_dict({"sslmode": "disable", "application_name": SHAKY})
        )
        self.through = through.render_as_string(hide_password=False)
        self.store = vio.create_store(directory, catalog=url)
        self.shaky = vio.open_store(directory, catalog=self.through)
        self.store.create_repo("r")
        self.store.create_repo("s")

    def execute(self, *statements):
        engine = create_engine(self.url)
        with engine.begin() as connection:
            for statement in statements:
                connection.execute(text(statement))
        engine.dispose()

    def slow_down(self):
        """Let each COMMIT of the proxy's sessions that changes one of `TABLES` take a while, and wait for the gate."""
        self.execute(
            f"""CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS
            'BEGIN IF current_setting(''application_name'') = ''{SHAKY}'' THEN
                PERFORM pg_sleep({SLOW_S}); PERFORM pg_advisory_xact_lock_shared({GATE});
            END IF; RETURN NULL; END'""",
            *(
                f"""CREATE CONSTRAINT TRIGGER slow AFTER INSERT OR UPDATE OR DELETE ON {table}
                DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION slow()"""
                for table in TABLES
            ),
        )

    @contextmanager
    def shut_gate(self):
        """Let no COMMIT of the proxy's sessions that changes one of `TABLES` end in the meantime."""
        engine = create_engine(self.url)
        with engine.begin() as connection:
            connection.execute(text(f"SELECT pg_advisory_xact_lock({GATE})"))
            yield
        engine.dispose()

    def wait_for_the_end(self):
        """Return when nothing that came through the proxy is under way on the server."""

        def is_over():
            with self.store._backend.catalog.look_up() as connection:
                return connection.execute(text(UNDER_WAY)).scalar_one() == 0

        process.wait_until(is_over, what="the end of what was cut", timeout_s=60, poll_s=0.01)


@pytest.fixture(scope="module")
def place(tmp_path_factory, postgres_server):
    url = postgres_server.create_database(f"cut_{uuid.uuid4().hex}", driver="psycopg")
    with CuttingProxy(make_url(url).port) as proxy:
        one = Place(tmp_path_factory.mktemp("cut") / "s", url, proxy)
        for number in (-2, -1):
            commit(one.shaky, number)
        one.slow_down()
        yield one
        one.shaky.close()
        one.store.close()


def commit(store, content, key=None):
    """One logical write to two branches."""
    with store.transaction("r@main", idempotency_key=key) as tx:
        tx.write("file", str(content).encode())
        tx.branch("s@main").write("file", str(content).encode())
    return tx.commit.id


def heads(store):
    return store.commit("r@main"), store.commit("s@main")


def commit_through(place, number, cut_after, direction, holding=b""):
    """Commit while the connection is cut, hold what was told against what is so, and retry; return how it was told."""
    before = heads(place.store)
    content = f"{number} {direction}"
    place.proxy.arm(cut_after, direction, holding=holding)
    made = None
    try:
        made = commit(place.shaky, content, content)
    except OutcomeUnknownError:
        pytest.fail("the catalog could be asked")
    except StorageError:
        # What is not there now does not come later either: nothing is under way.
        assert heads(place.store) == before
        place.wait_for_the_end()
        assert heads(place.store) == before
    is_cut = place.proxy.is_cut
    place.proxy.arm(0)
    again = commit(place.shaky, content, content)
    assert made in {None, again}
    assert [head.number for head in heads(place.store)] == [head.number + 1 for head in before]
    assert place.store.commit("r@main").id == again
    return made is not None, is_cut


@pytest.mark.parametrize("direction", [TO_SERVER, TO_CLIENT])
def test_a_commit_whose_connection_is_cut_is_reported_as_it_is(place, direction):
    place.proxy.arm(0, direction)
    commit(place.shaky, direction)
    messages = place.proxy.seen
    assert messages > 2 * STRIDE
    told = {commit_through(place, number, number, direction) for number in range(1, messages, STRIDE)}
    assert (False, True) in told  # a statement was lost, and so was the transaction
    # The COMMIT itself went through, and only the reply to it was lost.
    assert commit_through(place, 1_000, 1, direction, COMMIT) == (True, True)
    assert place.store.fsck().is_clean


@pytest.mark.soak
@pytest.mark.parametrize("direction", [TO_SERVER, TO_CLIENT])
def test_a_commit_whose_connection_is_cut_after_any_message_is_reported_as_it_is(place, direction):
    for number in count(1):
        _, is_cut = commit_through(place, number, number, direction)
        if not is_cut:
            break
    assert number > 2 * STRIDE
    assert place.store.fsck().is_clean


def test_a_commit_whose_catalog_is_gone_is_said_to_be_unknown_and_a_retry_makes_no_second(place, monkeypatch):
    monkeypatch.setattr(replies, "REACH_TIMEOUT_S", 0.1)
    before = heads(place.store)
    place.proxy.arm(1, holding=COMMIT, then_gone=True)
    with pytest.raises(OutcomeUnknownError, match="whether the change was made is unknown") as caught:
        commit(place.shaky, 2_000, "gone")
    process.wait_until(lambda: heads(place.store) != before, what="the commit", timeout_s=60)
    assert caught.value.commits == tuple(f"{head.repo}@{head.id}" for head in heads(place.store))
    place.proxy.arm(0)
    assert commit(place.shaky, 2_000, "gone") == place.store.commit("r@main").id
    assert [head.number for head in heads(place.store)] == [head.number + 1 for head in before]


def test_a_commit_that_does_not_end_is_waited_for_and_then_said_to_be_unknown(place, monkeypatch):
    monkeypatch.setattr(replies, "SETTLE_TIMEOUT_S", 1)
    before = heads(place.store)
    for change in (
        lambda: commit(place.shaky, 3_000, "endless"),
        lambda: place.shaky.create_tag("s@endless", at=f"s@{before[1].id}"),
    ):
        place.proxy.arm(1, holding=COMMIT)
        with place.shut_gate(), pytest.raises(OutcomeUnknownError, match="still at it a minute later"):
            change()
    place.proxy.arm(0)
    monkeypatch.undo()
    assert commit(place.shaky, 3_000, "endless") == place.store.commit("r@main").id
    assert [head.number for head in heads(place.store)] == [head.number + 1 for head in before]
    process.wait_until(lambda: "endless" in place.store.tags("s"), what="the tag", timeout_s=60)


CHANGES = {
    "create a repo": lambda store: store.create_repo("new"),
    "create a branch": lambda store: store.create_branch("r@dev", at="r@main"),
    "create a tag": lambda store: store.create_tag("r@v1", at="r@main"),
    "protect a branch": lambda store: store.protect_branch("r@dev"),
    "lift that": lambda store: store.protect_branch("r@dev", False),
    "rename a branch": lambda store: store.rename_branch("r@dev", "old"),
    "set a retention": lambda store: store.set_retention("r@old", keep_last=3),
    "reset a branch": lambda store: store.reset("r@old", "r@main~1"),
    "drop": lambda store: store.drop("s@main"),
    "squash": lambda store: store.squash("r@main", "r@main~2"),
    "delete a tag": lambda store: store.delete_tag("r@v1"),
    "delete a branch": lambda store: store.delete_branch("r@old"),
    "subscribe": lambda store: store.subscription("sub", "r@main"),
    "collect": lambda store: store.subscription("sub", "r@main").collect(),
    "claim": lambda store: store.subscription("sub", "r@main").claim("*", owner="me"),
    "complete": lambda store: store.subscription("sub", "r@main").complete(
        store.subscription("sub", "r@main").find("*")
    ),
    "advance": lambda store: store.subscription("sub", "r@main").advance(store.commit("r@main~1")),
    "compact": lambda store: store.compact(small_bytes=1 << 20),
    "condemn": lambda store: store.gc(grace=timedelta(0), expire=timedelta(0)),
}


def test_every_other_change_whose_reply_is_lost_succeeds_and_is_made_once(tmp_path, postgres_server):
    states = []
    for is_cut in (False, True):
        url = postgres_server.create_database(f"cut_{uuid.uuid4().hex}", driver="psycopg")
        with CuttingProxy(make_url(url).port) as proxy:
            place = Place(tmp_path / str(is_cut), url, proxy)
            for number in range(3):
                commit(place.store, number)
            for name, change in CHANGES.items():
                proxy.arm(is_cut, holding=COMMIT)
                change(place.shaky)
                assert proxy.is_cut == is_cut, name
            proxy.arm(0)
            states.append(state_of(place.store))
            assert place.store.fsck().is_clean
            place.shaky.close()
            place.store.close()
    assert states[0] == states[1]


def state_of(store):
    """Return the names, what they hold, and all that ever happened to them."""
    found = {}
    for repo in store.repos():
        for branch in repo.branches:
            ref = f"{repo.name}@{branch.name}"
            snapshot = store.snapshot(ref)
            found[ref] = branch.number, [file.path for file in snapshot.walk()]
            found[f"log of {ref}"] = [(entry.entry.action, sorted(entry.entry.details)) for entry in store.reflog(ref)]
        found[repo.name] = list(store.tags(repo.name))
    subscription = store.subscription("sub", "r@main")
    due = subscription.find("*")
    return found, subscription.is_behind(), due.is_done, due.sequence


def has_repo(store, name):
    return name in {repo.name for repo in store.repos()}


def drop_again(store):
    with store.transaction("t@dev") as tx:
        tx.write("dropped", b"1")


WHOLE_REPOS = {
    "drop": (
        lambda store: store.drop("t@dev"),
        lambda store: not store.snapshot("t@dev").exists("dropped"),
        drop_again,
    ),
    "rename": (
        lambda store: store.rename_repo("t", "u", force=True),
        lambda store: has_repo(store, "u"),
        lambda store: store.rename_repo("u", "t", force=True),
    ),
    "delete": (
        lambda store: store.delete_repo("t", force=True),
        lambda store: not has_repo(store, "t"),
        lambda store: store.restore_repo("t"),
    ),
    "restore": (
        lambda store: store.restore_repo("gone"),
        lambda store: has_repo(store, "gone"),
        lambda store: store.delete_repo("gone", force=True),
    ),
}


def make_repo(store, name):
    store.create_repo(name)
    for number in range(2):
        with store.transaction(f"{name}@main", idempotency_key=f"{name} {number}") as tx:
            tx.write("file", str(number).encode())
    store.create_branch(f"{name}@dev", at=f"{name}@main~1")
    store.create_tag(f"{name}@v1", at=f"{name}@main")
    store.protect_branch(f"{name}@main")


def packs_of(store):
    return sum(1 for _ in store._backend.objects.list("packs/"))


@pytest.fixture(scope="module")
def repos(place):
    for name in ("t", "gone"):
        make_repo(place.store, name)
    place.store.delete_repo("gone", force=True)
    return place


def change_through(place, change, is_made, cut_after, direction):
    """Change whole repos while the connection is cut, and hold what was told against what is so; return both."""
    packs = packs_of(place.store)
    place.proxy.arm(cut_after, direction)
    told = True
    try:
        change(place.shaky)
    except OutcomeUnknownError:
        pytest.fail("the catalog could be asked")
    except StorageError:
        told = False
        place.wait_for_the_end()
    is_cut = place.proxy.is_cut
    place.proxy.arm(0)
    assert is_made(place.store) == told
    if not told:
        assert packs_of(place.store) == packs  # no entry of the journal is left that never counted
        change(place.shaky)
        assert is_made(place.store)
    return told, is_cut


@pytest.mark.parametrize("direction", [TO_SERVER, TO_CLIENT])
@pytest.mark.parametrize("name", WHOLE_REPOS)
def test_a_change_of_a_whole_repo_whose_connection_is_cut_is_reported_as_it_is(repos, name, direction):
    change, is_made, undo = WHOLE_REPOS[name]
    if is_made(repos.store):
        undo(repos.store)
    seen = set()
    for number in count(1, STRIDE):
        found = change_through(repos, change, is_made, number, direction)
        seen.add(found)
        undo(repos.store)
        if not found[1]:
            break
    assert (False, True) in seen
    assert repos.store.fsck().is_clean
    assert repos.store.gc(dry_run=True).unclear == ()


@pytest.mark.soak
@pytest.mark.parametrize("direction", [TO_SERVER, TO_CLIENT])
def test_a_purge_whose_connection_is_cut_is_finished_by_the_next(repos, direction):
    for number in count(1, STRIDE * 2):
        secret = f"secret {number} {direction}".encode()
        with repos.store.transaction("t@dev") as tx:
            tx.write("secret", secret)
        with repos.store.transaction("t@dev") as tx:
            tx.write("kept", str((number, direction)).encode())
        kept = repos.store.commit("t@dev").number
        repos.proxy.arm(number, direction)
        told = None
        try:
            told = repos.shaky.purge("t", "secret").gone
        except OutcomeUnknownError:
            pytest.fail("the catalog could be asked")
        except StorageError:
            repos.wait_for_the_end()
        is_cut = repos.proxy.is_cut
        repos.proxy.arm(0)
        assert told in {None, True}
        with suppress(PathNotFoundError):  # only the reply was lost: no commit has it, and no garbage
            assert repos.shaky.purge("t", "secret").gone
        left = [file.path for file in repos.store.snapshot("t@dev").walk()]
        assert "secret" not in left
        assert "kept" in left
        assert repos.store.commit("t@dev").number == kept
        if not is_cut:
            break
    assert repos.store.fsck().is_clean
    assert repos.store.gc(dry_run=True).unclear == ()
