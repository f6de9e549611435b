"""Garbage is collected and nothing else is, whoever writes, reads or collects meanwhile."""

import random
from datetime import timedelta

import pytest
from sqlalchemy import select, update

import versioned_io as vio
from versioned_io.catalog.collection import CONDEMNED, DELETED
from versioned_io.catalog.tables import leases, packs
from versioned_io.errors import CommitForgottenError, InvalidInputError, PackCondemnedError
from versioned_io.storage.objects.probing import store_time
from versioned_io.storage.packs.writer import PackWriter

NOW = {"grace": timedelta(0), "expire": timedelta(0)}


@pytest.fixture(params=["sqlite", "postgresql"])
def any_store(request, tmp_path):
    catalog = request.getfixturevalue("postgres_url") if request.param == "postgresql" else None
    with vio.create_store(tmp_path / "store", catalog=catalog) as store:
        store.create_repo("r")
        yield store


def noise(seed, size=20_000):
    return random.Random(seed).randbytes(size)


def objects_of(store):
    return {info.key for info in store._backend.objects.list("packs/")}


def states_of(store):
    with store._backend.catalog.read() as connection:
        return {row.name: row.state for row in connection.execute(select(packs))}


def abandon(store, write):
    """Write to a branch that is deleted again, and return the commit."""
    store.create_branch("r@dev", at="r@main")
    commit = write(store, "r@dev", {"dev": noise(9)})
    store.delete_branch("r@dev")
    return commit


def test_nothing_is_garbage_in_a_store_that_only_grew(any_store, write):
    for number in range(5):
        write(any_store, "r@main", {"a": noise(number), f"b/{number}": b"1"})
    before = objects_of(any_store)
    report = any_store.gc(**NOW)
    assert (report.forgotten, report.condemned, report.deleted) == (0, 0, 0)
    assert objects_of(any_store) == before
    assert any_store.fsck().is_clean
    assert report.kept_bytes == sum(info.size_bytes for info in any_store._backend.objects.list("packs/"))


def test_what_no_name_leads_to_is_forgotten_but_its_record_and_lineage_stay(any_store, write):
    write(any_store, "r@main", {"a": noise(1)})
    gone = abandon(any_store, write)
    assert any_store.gc(expire=timedelta(days=1)).forgotten == 0
    report = any_store.gc(**NOW)
    assert report.forgotten == 1
    assert any_store.commit(gone.id).id == gone.id
    assert any_store.lineage(gone.lineage_id)
    with pytest.raises(CommitForgottenError, match=gone.id):
        any_store.snapshot(f"r@{gone.id}").read("dev")
    with pytest.raises(CommitForgottenError):
        any_store.diff("r@main", f"r@{gone.id}")
    with pytest.raises(CommitForgottenError):
        any_store.create_branch("r@again", at=f"r@{gone.id}")
    assert any_store.snapshot("r@main").read("a") == noise(1)
    assert any_store.fsck().is_clean


def test_a_large_dead_pack_is_condemned_first_and_deleted_after_the_grace(any_store, write):
    write(any_store, "r@main", {"a": b"1"})
    any_store.create_branch("r@dev", at="r@main")
    with any_store.transaction("r@dev") as tx:
        tx.write("large", noise(3, 9_000_000))  # so that the data has a pack of its own
    any_store.delete_branch("r@dev")
    before = objects_of(any_store)
    report = any_store.gc(grace=timedelta(hours=1), expire=timedelta(0))
    assert (report.forgotten, report.condemned, report.deleted) == (1, 1, 0)
    assert report.condemned_bytes > 9_000_000
    assert before < objects_of(any_store)  # the journal says that a commit was forgotten
    assert any_store.gc(grace=timedelta(hours=1), expire=timedelta(0)).deleted == 0
    assert any_store.gc(grace=timedelta(0), expire=timedelta(0)).deleted == 1
    assert len(before - objects_of(any_store)) == 1
    assert any_store.fsck().is_clean


def test_a_dry_run_says_what_would_be_done_and_changes_nothing(any_store, write, dump):
    write(any_store, "r@main", {"a": b"1"})
    abandon(any_store, write)
    before = dump(any_store)
    report = any_store.gc(**NOW, dry_run=True)
    assert (report.forgotten, report.dry_run) == (1, True)
    assert dump(any_store) == before


def test_content_that_is_stored_again_after_it_was_condemned_gets_a_new_place(any_store, write):
    any_store.create_branch("r@dev", at="r@main")
    data = noise(3, 9_000_000)
    with any_store.transaction("r@dev") as tx:
        tx.write("large", data)
    any_store.delete_branch("r@dev")
    assert any_store.gc(grace=timedelta(days=1), expire=timedelta(0)).condemned == 1
    with any_store.transaction("r@main") as tx:
        tx.write("large", data)
    assert tx.commit.stats.bytes_stored > 9_000_000
    any_store.gc(**NOW)
    assert any_store.snapshot("r@main").read("large") == data


def test_a_transaction_that_found_content_before_it_was_condemned_is_refused_and_can_begin_again(any_store):
    data = noise(3, 9_000_000)
    any_store.create_branch("r@dev", at="r@main")
    with any_store.transaction("r@dev") as tx:
        tx.write("large", data)
    late = any_store.transaction("r@main")
    late.write("large", data)
    late._data.placer.flush()
    any_store.delete_branch("r@dev")
    any_store.gc(**NOW)
    with pytest.raises(PackCondemnedError):
        late.finish()
    with any_store.transaction("r@main") as tx:
        tx.write("large", data)
    assert any_store.snapshot("r@main").read("large") == data


def test_a_pack_that_a_name_leads_to_again_is_revived(any_store, write):
    data = noise(3, 9_000_000)
    any_store.create_branch("r@dev", at="r@main")
    with any_store.transaction("r@dev") as tx:
        tx.write("large", data)
    # Condemned although something leads to it, as when it was referred to while the mark went on.
    with any_store._backend.catalog.write() as connection:
        connection.execute(
            update(packs)
            .where(packs.c.size_bytes > 8_000_000)
            .values(state=CONDEMNED, condemned_at=tx.commit.created_at)
        )
    report = any_store.gc(**NOW)
    assert (report.revived, report.deleted) == (1, 0)
    assert set(states_of(any_store).values()) == {"live"}
    assert any_store.snapshot("r@dev").read("large") == data


def test_a_tag_and_a_cursor_keep_what_they_point_at(any_store, write):
    for number in range(3):
        write(any_store, "r@main", {"a": noise(number)})
    any_store.create_tag("r@v1", at="r@main~1")
    follower = any_store.subscription("job", "r@main")
    follower.advance(any_store.commit("r@main~2"))
    any_store.set_retention("r@main", keep_last=1)
    assert any_store.gc(**NOW).forgotten == 0
    any_store.delete_tag("r@v1")
    follower.advance(any_store.commit("r@main"))
    assert any_store.gc(**NOW).forgotten == 2
    assert [commit.number for commit in any_store.log("r@main")] == [3, 2, 1]
    assert any_store.fsck().is_clean


def test_retention_by_age_keeps_what_is_young(tmp_path, write, clock):
    with vio.create_store(tmp_path / "s", clock=clock) as store:
        store.create_repo("r")
        for number in range(4):
            write(store, "r@main", {"a": noise(number)})
            clock.advance(3600)
        store.set_retention("r@main", keep_for=timedelta(hours=2))
        assert store.gc(**NOW).forgotten == 2
        store.set_retention("r@main", keep_for=timedelta(hours=2), keep_last=1)
        clock.advance(10 * 3600)
        assert store.gc(**NOW).forgotten == 1
        assert store.snapshot("r@main").read("a") == noise(3)
        store.set_retention("r@main")
        assert store.gc(**NOW).forgotten == 0


@pytest.mark.parametrize(
    ("rule", "message"),
    [({"keep_last": 0}, "1 or more, not 0"), ({"keep_for": timedelta(-1)}, "0 or more, not -86400 s")],
)
def test_a_rule_that_keeps_nothing_is_refused(any_store, rule, message, dump):
    before = dump(any_store)
    with pytest.raises(InvalidInputError, match=message):
        any_store.set_retention("r@main", **rule)
    with pytest.raises(InvalidInputError, match="0 or more"):
        any_store.gc(grace=timedelta(-1))
    assert dump(any_store) == before


def test_a_moved_branch_can_be_moved_back_until_the_journal_lets_go(any_store, write):
    write(any_store, "r@main", {"a": noise(1)})
    lost = write(any_store, "r@main", {"a": noise(2)})
    any_store.reset("r@main", "r@main~1")
    assert any_store.gc(grace=timedelta(0)).forgotten == 0
    any_store.reset("r@main", lost.id)
    assert any_store.snapshot("r@main").read("a") == noise(2)
    any_store.reset("r@main", "r@main~1")
    assert any_store.gc(**NOW).forgotten == 1
    with pytest.raises(CommitForgottenError):
        any_store.reset("r@main", lost.id)


def orphan(store):
    pack = PackWriter(store._backend.objects)
    pack.append_block(b"nobody knows me", [])
    return pack.close().name


def test_a_pack_that_nobody_knows_is_deleted_when_it_is_old_enough(any_store):
    name = orphan(any_store)
    assert any_store.gc(grace=timedelta(hours=1)).orphans == 0
    report = any_store.gc(grace=timedelta(0))
    assert (report.orphans, report.deleted) == (1, 1)
    assert states_of(any_store)[name] == DELETED
    assert not any(name in key for key in objects_of(any_store))


def test_a_writer_that_comes_back_after_a_collection_finds_its_record_and_lands(any_store, monkeypatch):
    late = any_store.transaction("r@main")
    late.write("a", b"1")
    publish = "versioned_io.versioning.transactions.publish._commit_drafts"
    from versioned_io.versioning.transactions import publish as module

    original = module._commit_drafts
    told = []

    def sleeps(*arguments):
        # The writer has stored its pack and sleeps, for longer than garbage is kept.
        told.extend(any_store.gc(**NOW).unclear)
        original(*arguments)

    monkeypatch.setattr(publish, sleeps)
    late.finish()
    monkeypatch.undo()
    assert told == [late.commit.id]
    assert any_store.snapshot("r@main").read("a") == b"1"
    assert any_store.gc(**NOW).unclear == ()
    assert any_store.fsck().is_clean


def test_a_long_transaction_keeps_its_packs_by_a_lease(any_store):
    data = noise(5, 60_000_000)
    tx = any_store.transaction("r@main")
    tx.write("large", data)
    tx.write("more", noise(6, 60_000_000))
    with any_store._backend.catalog.read() as connection:
        assert len(connection.execute(select(leases)).all()) == 1
    assert objects_of(any_store)
    assert any_store.gc(**NOW).orphans == 0
    tx.finish()
    with any_store._backend.catalog.read() as connection:
        assert connection.execute(select(leases)).all() == []
    assert any_store.snapshot("r@main").read("large") == data


def test_a_transaction_whose_lease_ran_out_cannot_commit(any_store):
    tx = any_store.transaction("r@main")
    tx.write("large", noise(5, 60_000_000))
    tx.write("more", noise(6, 60_000_000))
    with any_store._backend.catalog.write() as connection:
        connection.execute(update(leases).values(renewed_at=any_store._backend.clock() - timedelta(hours=3)))
    assert any_store.gc(**NOW).orphans > 0
    with pytest.raises(PackCondemnedError):
        tx.finish()
    assert list(any_store.log("r@main")) == []


def test_an_abandoned_transaction_leaves_no_lease(any_store):
    tx = any_store.transaction("r@main")
    tx.write("large", noise(5, 60_000_000))
    tx.abort()
    with any_store._backend.catalog.read() as connection:
        assert connection.execute(select(leases)).all() == []


def test_a_small_commit_takes_no_lease(any_store, write, monkeypatch):
    def fail(*_arguments, **_options):
        raise AssertionError("a lease was taken")

    monkeypatch.setattr("versioned_io.catalog.collection.hold_lease", fail)
    write(any_store, "r@main", {"a": noise(1)})


def test_the_clock_of_the_store_is_asked(any_store):
    first = store_time(any_store._backend.objects)
    assert first <= store_time(any_store._backend.objects)
    assert list(any_store._backend.objects.list("probes/")) == []


def test_a_damaged_page_is_named_and_every_pack_that_it_may_lead_to_stays(any_store, write):
    write(any_store, "r@main", {"a": noise(1)})
    abandon(any_store, write)
    root = any_store.commit("r@main").root
    objects = any_store._backend.objects
    key = next(key for key in objects_of(any_store) if root.pack.hex() in key)
    data = bytearray(objects.get(key))
    data[root.offset + 30] ^= 1
    objects.delete([key])
    objects.put(key, [data])
    before = objects_of(any_store)
    report = any_store.gc(**NOW)
    assert report.unreadable == (any_store.commit("r@main").id,)
    assert before <= objects_of(any_store)
