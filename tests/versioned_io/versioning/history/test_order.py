"""The order of commits is their own: a wrong clock decides neither what is newest nor what is kept."""

import itertools
import logging
import tarfile
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import versioned_io as vio
from versioned_io.catalog.dates import settle_dates
from versioned_io.catalog.ordering import OrderFacts, settle_orders
from versioned_io.errors import RefNotFoundError
from versioned_io.model.commits import CommitState

HOUR = timedelta(hours=1)
NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
FAR = datetime(2086, 1, 1, tzinfo=UTC)
UNSET = datetime(1970, 1, 1, tzinfo=UTC)


@pytest.fixture
def timed(tmp_path, clock):
    clock.now = NOON
    with vio.create_store(tmp_path / "s", clock=clock) as store:
        for repo in ("old", "new", "made"):
            store.create_repo(repo)
        yield store


def at(clock, now, make):
    before, clock.now = clock.now, now
    made = make()
    clock.now = before
    return made


def hourly(timed, write, clock, wrong=NOON, number=-1):
    """Make six commits, one each hour; the clock of that *number* says *wrong*."""
    made = []
    for step in range(6):
        clock.advance(3600)
        now = wrong if step == number else clock.now
        made.append(at(clock, now, lambda step=step: write(timed, "old@main", {"a": b"%d" % step})))
    return made


def test_the_end_of_time_can_be_asked_for(timed, write):
    write(timed, "old@main", {"a": b"1"})
    assert timed.snapshot("old@main@{9999-12-31T23:59:59.999999}").read("a") == b"1"


# Order


def test_every_commit_comes_after_all_that_were_there_before_it(store, write):
    for repo in ("a", "b"):
        store.create_repo(repo)
    made = [write(store, f"{repo}@main", {"f": b"%d" % number}) for number in range(3) for repo in ("a", "b")]
    assert [commit.order for commit in made] == [1, 2, 3, 4, 5, 6]
    assert [store.commit(f"{commit.repo}@{commit.id}").order for commit in made] == [1, 2, 3, 4, 5, 6]


@pytest.mark.parametrize("wrong", [FAR, UNSET])
def test_the_lineage_id_is_that_of_the_last_commit_that_was_read_whatever_the_clocks_say(timed, write, clock, wrong):
    first, second = ("old", "new") if wrong is FAR else ("new", "old")
    older = at(clock, FAR if wrong is FAR else NOON, lambda: write(timed, f"{first}@main", {"a": b"1"}))
    newer = at(clock, NOON if wrong is FAR else UNSET, lambda: write(timed, f"{second}@main", {"a": b"1"}))
    with timed.run("job"):
        for repo in ("old", "new"):
            timed.snapshot(f"{repo}@main").read("a")
        made = write(timed, "made@main", {"m": b"1"})
    assert made.lineage_id == newer.lineage_id != older.lineage_id


def test_a_lineage_id_names_the_last_commit_of_a_repo_that_carries_it_whatever_the_clocks_say(timed, write, clock):
    lineage_id = write(timed, "new@main", {"a": b"0"}).lineage_id
    made = [
        at(clock, now, lambda now=now: write(timed, "old@main", {"a": str(now).encode()}, lineage_id=lineage_id))
        for now in (NOON, FAR, NOON + HOUR)
    ]
    assert timed.commit(f"old@{lineage_id}") == made[-1]
    assert timed.commit(f"old@{lineage_id[:31]}") == made[-1]
    assert timed.lineage(lineage_id)[1:] == made
    with timed.run("job", lineage_id=made[0].id):
        for commit in made:
            timed.snapshot(f"old@{commit.id}").read("a")
        write(timed, "made@main", {"m": b"1"})
    assert timed.commit(f"old@{made[0].id}") == made[0]


def test_a_merge_finds_its_base_whatever_the_clocks_say(timed, write, clock):
    write(timed, "old@main", {"a": b"1", "b": b"1"})
    base = at(clock, UNSET, lambda: write(timed, "old@main", {"a": b"2"}))
    timed.create_branch("old@dev", at=f"old@{base.id}")
    at(clock, FAR, lambda: write(timed, "old@dev", {"b": b"dev"}))
    write(timed, "old@main", {"c": b"main"})
    timed.merge("old@dev", "old@main")
    snapshot = timed.snapshot("old@main")
    assert [snapshot.read(path) for path in "abc"] == [b"2", b"dev", b"main"]


def test_a_rebuilt_catalog_has_the_same_order(tmp_path, write):
    store = vio.create_store(tmp_path / "s")
    for repo in ("a", "b"):
        store.create_repo(repo)
    made = []
    for number in range(4):
        made.append(write(store, "a@main", {"f": b"%d" % number}))
        with store.run("job"):
            store.snapshot("a@main").read("f")
            made.append(write(store, "b@main", {"g": b"%d" % number}))
    store.squash("a@main", f"a@{made[2].id}")
    made.append(store.commit("a@main"))
    store.close()
    for file in (tmp_path / "s").glob("catalog.db*"):
        file.unlink()
    vio.rebuild_store(tmp_path / "s")
    with vio.open_store(tmp_path / "s") as again:
        assert [again.commit(f"{one.repo}@{one.id}").order for one in made] == [one.order for one in made]
        assert write(again, "a@main", {"f": b"more"}).order == made[-1].order + 1


@pytest.mark.parametrize("way", ["migrated", "rebuilt"])
def test_commits_of_older_stores_get_an_order_that_follows_from_what_they_were_made_from(tmp_path, way):
    archive = Path(__file__).parents[3] / "golden" / "format-1.tar.xz"
    with tarfile.open(archive) as opened:
        opened.extractall(tmp_path, **({"filter": "data"} if hasattr(tarfile, "data_filter") else {}))
    place = tmp_path / "format-1" / "store"
    if way == "migrated":
        vio.upgrade_store(place)
    else:
        for file in place.glob("catalog.db*"):
            file.unlink()
        vio.rebuild_store(place)
    with vio.open_store(place) as store:
        commits = {
            commit.id: commit
            for repo in store.repos()
            for branch in repo.branches
            for commit in store.log(f"{repo.name}@{branch.name}")
        }
        orders = [commit.order for commit in commits.values()]
        assert len(set(orders)) == len(orders)
        assert min(orders) > 0
        for commit in commits.values():
            for source in (commit.parent, commit.merged, *commit.provenance):
                if source in commits:
                    assert commits[source].order < commit.order
        with store.transaction("weather@main") as tx:
            tx.write("now", b"1")
        assert tx.commit.order > max(orders)


@st.composite
def histories(draw):
    """Commits with sources among those before them; some have a recorded order, as newer writers note it."""
    count = draw(st.integers(1, 12))
    recorded_from = draw(st.integers(0, count))
    facts = []
    for number in range(count):
        few = st.lists(st.integers(0, number - 1), max_size=3, unique=True) if number else st.just([])
        sources = tuple(f"{source:032x}" for source in draw(few))
        date = NOON + draw(st.integers(-5, 5)) * HOUR
        facts.append(OrderFacts(f"{number:032x}", sources, number + 1 if number >= recorded_from else 0, date))
    return draw(st.permutations(facts))


@given(histories())
def test_settled_orders_come_after_their_sources_and_keep_what_was_recorded(facts):
    orders = settle_orders(facts)
    for one in facts:
        assert all(orders[source] < orders[one.id] for source in one.sources)
        assert one.recorded in (0, orders[one.id])
    assert set(orders) == {one.id for one in facts}


# Dates


@pytest.mark.parametrize("number", range(6))
@pytest.mark.parametrize("wrong", [FAR, UNSET])
def test_one_wrong_date_does_not_change_where_a_branch_was_at_other_times(timed, write, clock, wrong, number):
    made = hourly(timed, write, clock, wrong, number)
    assert [commit.created_at for commit in made] == [
        wrong if step == number else NOON + (step + 1) * HOUR for step in range(6)
    ]
    for step in set(range(6)) - {number}:
        for minutes in (0, 59) if step + 1 != number or number == 5 else (0,):
            time = NOON + (step + 1) * HOUR + timedelta(minutes=minutes)
            expected = made[5] if (step, number) == (4, 5) and time >= clock.now else made[step]
            assert timed.commit(f"old@main@{{{time.isoformat()}}}") == expected
    clock.advance(60)
    assert timed.commit(f"old@main@{{{clock.now.isoformat()}}}") == made[-1]
    with pytest.raises(RefNotFoundError):
        timed.commit(f"old@main@{{{(NOON + timedelta(minutes=59)).isoformat()}}}")


@pytest.mark.parametrize("wrong", [FAR, UNSET])
def test_an_entry_of_the_journal_with_a_wrong_date_does_not_hide_the_others(timed, write, clock, wrong):
    made = hourly(timed, write, clock)
    clock.advance(3600)
    at(clock, wrong, lambda: timed.reset("old@main", f"old@{made[0].id}"))
    clock.advance(3600)
    timed.protect_branch("old@main")
    later = write(timed, "old@main", {"a": b"later"})
    assert timed.commit(f"old@main@{{{(NOON + 6 * HOUR).isoformat()}}}") == made[5]
    assert timed.commit(f"old@main@{{{clock.now.isoformat()}}}") == later


@pytest.mark.parametrize("number", range(6))
@pytest.mark.parametrize("wrong", [FAR, UNSET])
def test_retention_by_age_survives_one_wrong_date(tmp_path, write, wrong, number):
    def now():
        return current[0]

    current = [datetime.now(UTC) - timedelta(days=6)]
    with vio.create_store(tmp_path / "s", clock=now) as store:
        store.create_repo("r")
        made = []
        for step in range(6):
            honest, current[0] = current[0], wrong if step == number else current[0]
            made.append(write(store, "r@main", {"a": b"%d" % step}))
            current[0] = honest + timedelta(days=1)
        store.set_retention("r@main", keep_for=timedelta(days=3, hours=12))
        current[0] = datetime.now(UTC)
        store.gc(grace=timedelta(0), expire=timedelta(0))
        kept = {commit.number for commit in store.log("r@main") if commit.state is CommitState.LIVE}
        # A commit without a date of its own is as young as the next one, so it may stay a day longer.
        assert {4, 5, 6} <= kept <= {3, 4, 5, 6}
        assert kept == {4, 5, 6} or number == 2


@pytest.mark.parametrize("wrong", [FAR, UNSET])
def test_what_a_wrong_clock_made_and_nothing_leads_to_expires_like_everything_else(tmp_path, write, wrong):
    current = [datetime.now(UTC) - timedelta(days=40)]
    with vio.create_store(tmp_path / "s", clock=lambda: current[0]) as store:
        store.create_repo("r")
        root = write(store, "r@main", {"a": b"0"})
        store.create_branch("r@dev", at="r@main")
        honest, current[0] = current[0], wrong
        gone = write(store, "r@dev", {"a": b"1"})
        current[0] = honest + timedelta(days=1)
        later = write(store, "r@dev", {"a": b"2"})
        store.delete_branch("r@dev")
        current[0] = honest + timedelta(days=1)
        assert store.gc(expire=timedelta(days=50)).forgotten == 0
        current[0] = datetime.now(UTC)
        assert store.gc(expire=timedelta(days=30)).forgotten == 2
        assert store.commit(f"r@{gone.id}").state is store.commit(f"r@{later.id}").state is CommitState.FORGOTTEN
        assert store.commit(f"r@{root.id}").state is CommitState.LIVE


@given(st.lists(st.integers(0, 20), max_size=8), st.sets(st.integers(0, 7), max_size=2))
def test_dates_that_rise_count_and_no_time_ever_falls(steps, wrong):
    honest = [NOON + hours * HOUR for hours in itertools.accumulate(steps)]
    now = honest[-1] + HOUR if honest else NOON
    assert settle_dates(honest, now) == honest
    dates = [FAR if number in wrong else date for number, date in enumerate(honest)]
    settled = settle_dates(dates, now)
    assert settled == sorted(settled)
    assert all(
        one == date for number, (one, date) in enumerate(zip(settled, honest, strict=True)) if number not in wrong
    )
    assert all(one >= date for one, date in zip(settled, honest, strict=True))


def test_a_clock_that_is_before_the_last_commit_is_warned_of_once_with_both_times(timed, write, clock, caplog):
    at(clock, FAR, lambda: write(timed, "old@main", {"a": b"1"}))
    with caplog.at_level(logging.WARNING, "versioned_io"):
        write(timed, "old@main", {"a": b"2"})
        write(timed, "old@main", {"a": b"3"})
        write(timed, "new@main", {"a": b"3"})
    assert len(caplog.messages) == 1
    assert FAR.isoformat() in caplog.messages[0]
    assert NOON.isoformat() in caplog.messages[0]
    assert "old@main" in caplog.messages[0]


def test_a_clock_that_is_far_from_the_stores_is_warned_of_by_a_collection(timed, caplog):
    with caplog.at_level(logging.WARNING, "versioned_io"):
        timed.gc()
        timed.gc()
    assert [message for message in caplog.messages if NOON.isoformat() in message] == caplog.messages
    assert len(caplog.messages) == 1


def test_clocks_that_differ_by_seconds_are_not_warned_of(timed, write, clock, caplog):
    for seconds in (0, -4, 3, -290):
        at(clock, NOON + timedelta(seconds=seconds), lambda s=seconds: write(timed, "old@main", {"a": b"%d" % s}))
    assert caplog.messages == []
