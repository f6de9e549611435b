"""One store has one owner: a copy of its catalog over the same packs can be read, and deletes nothing."""

import os
import shutil
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.engine import make_url

import versioned_io as vio
from tests.versioned_io.older_catalogs import put_back, rows_of
from tests.versioned_io.storage.test_beacons import WRITES, beacons_of, copy_catalog
from versioned_io.catalog.connect import connect_catalog
from versioned_io.errors import CatalogOlderError, FormatError, NotOwnerError, VersionedError
from versioned_io.storage.beacons import list_beacons
from versioned_io.storage.objects.local import LocalObjects
from versioned_io.versioning.backend.ownership import adopt

NOW = {"grace": timedelta(0), "expire": timedelta(0)}


@pytest.fixture
def place(tmp_path):
    return tmp_path / "s"


@pytest.fixture(params=["sqlite", "postgresql"])
def production(request, place, tmp_path):
    """The catalog of a store, which is elsewhere, and a function that clones it and returns the clone's URL."""
    if request.param == "sqlite":
        path = tmp_path / "production.db"
        catalog = f"sqlite:///{path}"

        def clone(name="staging"):
            copy_to = tmp_path / f"{name}.db"
            engine = create_engine(catalog)
            with engine.connect() as connection:
                connection.execute(text("VACUUM INTO :path"), {"path": str(copy_to)})
            engine.dispose()
            return f"sqlite:///{copy_to}"

    else:
        catalog = request.getfixturevalue("postgres_url")

        def clone(name="staging"):
            url = make_url(catalog)
            database = f"{url.database}_{name}"
            engine = create_engine(url.set(database="postgres"), isolation_level="AUTOCOMMIT")
            with engine.connect() as connection:
                connection.execute(
                    text("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = :name"),
                    {"name": url.database},
                )
                connection.execute(text(f'CREATE DATABASE "{database}" TEMPLATE "{url.database}"'))
            engine.dispose()
            return url.set(database=database).render_as_string(hide_password=False)

    with vio.create_store(place, catalog=catalog) as store:
        store.create_repo("r")
        for number in range(3):
            with store.transaction("r@main") as tx:
                tx.write("a", b"%d" % number)
    return catalog, clone


def lose(catalog):
    """Lose everything that the catalog holds; its place is still there."""
    engine = create_engine(catalog)
    if engine.dialect.name == "sqlite":
        for ending in ("", "-wal", "-shm"):
            Path(f"{engine.url.database}{ending}").unlink(missing_ok=True)
    else:
        with engine.begin() as connection:
            connection.execute(text("DROP SCHEMA public CASCADE"))
            connection.execute(text("CREATE SCHEMA public"))
    engine.dispose()


def commit(store, data, branch="r@main"):
    with store.transaction(branch) as tx:
        tx.write("a", data)
    return tx.commit


def test_a_clone_of_the_catalog_can_be_read_and_writes_nothing(place, production):
    catalog, clone = production
    staging = clone()
    with vio.open_store(place, catalog=staging) as store:
        assert store.snapshot("r@main").read("a") == b"2"
        before = beacons_of(store), sorted(path.name for path in place.rglob("*.pack"))
        for write in WRITES.values():
            with pytest.raises(NotOwnerError, match="versioned adopt"):
                write(store)
        with pytest.raises(NotOwnerError):
            store.gc(**NOW)
    with vio.open_store(place, catalog=catalog) as store:
        assert beacons_of(store) == before[0]
        commit(store, b"production goes on")
        assert store.fsck().is_clean


def test_the_catalog_that_adopts_the_store_writes_and_the_one_before_does_not(place, production):
    catalog, clone = production
    staging = clone()
    with vio.open_store(place, catalog=catalog) as old:
        commit(old, b"2")
        assert vio.adopt_store(place, catalog=staging)
        assert not vio.adopt_store(place, catalog=staging)
        with vio.open_store(place, catalog=staging) as new:
            commit(new, b"adopted")
            with pytest.raises(CatalogOlderError):  # it is both: not the owner, and older
                commit(old, b"late")
            with pytest.raises(VersionedError):
                old.gc(**NOW)
            assert new.snapshot("r@main").read("a") == b"adopted"
            assert new.fsck().is_clean
    with vio.open_store(place, catalog=staging) as new:
        commit(new, b"again")


def test_the_owner_before_is_refused_at_its_next_write(place, production):
    catalog, clone = production
    staging = clone()
    with vio.open_store(place, catalog=catalog) as old:
        vio.adopt_store(place, catalog=staging)
        with pytest.raises(NotOwnerError, match="owns the store"):
            commit(old, b"late")
        assert old.snapshot("r@main").read("a") == b"2"
    # Back again, since nothing was committed meanwhile.
    assert vio.adopt_store(place, catalog=catalog)
    with vio.open_store(place, catalog=catalog) as old:
        commit(old, b"later")


def test_a_clone_that_is_older_can_not_adopt_the_store(place, production):
    catalog, clone = production
    staging = clone()
    with vio.open_store(place, catalog=catalog) as store:
        commit(store, b"newer")
    with pytest.raises(CatalogOlderError, match="versioned recover"):
        vio.adopt_store(place, catalog=staging)
    with vio.open_store(place, catalog=catalog) as store:
        commit(store, b"production goes on")


def test_a_second_catalog_that_was_rebuilt_can_be_read_only(place, production, tmp_path):
    catalog, _ = production
    other = f"sqlite:///{tmp_path}/other.db"
    report = vio.rebuild_store(place, catalog=other)
    assert (report.commits, report.is_owner) == (3, False)
    with vio.open_store(place, catalog=other) as store:
        assert store.snapshot("r@main").read("a") == b"2"
        for write in WRITES.values():
            with pytest.raises(NotOwnerError):
                write(store)
    with vio.open_store(place, catalog=catalog) as store:
        commit(store, b"production goes on")


@pytest.fixture
def parted(place, production):
    """The newest commits of two lines of history: the one that production's catalog lost, and its own."""
    catalog, _ = production
    with vio.open_store(place, catalog=catalog) as store:
        before = rows_of(store)
        commit(store, b"lost")
        lost = commit(store, b"its child")
        with put_back(store, before) as older:
            commit(older, b"own")
            return lost, commit(older, b"its own child")


def objects_in(place):
    return {path: path.read_bytes() for path in place.rglob("*") if path.is_file()}


def check_that_adopting_holds_the_other_line(place, catalog, parted):
    assert vio.adopt_store(place, catalog=catalog)
    with vio.open_store(place, catalog=catalog) as store:
        heads = {branch.head for branch in store.branches("r")}
        assert heads == {one.id for one in parted}
        assert store.fsck().is_clean
        commit(store, b"later")
    again = vio.recover_store(place, catalog=catalog)
    assert (again.commits, again.entries, again.held, again.uncertain, again.is_owner) == (0, 0, (), (), True)


@pytest.mark.parametrize("dry_run", [True, False])
def test_a_catalog_that_is_not_the_owner_recovers_without_writing_to_the_store(place, production, parted, dry_run):
    staging = production[1]()
    before = objects_in(place)
    report = vio.recover_store(place, catalog=staging, dry_run=dry_run)
    # An entry that it put into the journal would be proof for the owner that it is older than the packs.
    assert objects_in(place) == before
    assert (report.is_owner, report.commits, report.held) == (False, 2, ())
    assert "`versioned adopt`" in report.uncertain[-1]
    with pytest.raises(NotOwnerError, match="versioned adopt"):
        vio.recover_store(place, catalog=staging, add=[parted[0].id], dry_run=dry_run)
    assert objects_in(place) == before
    if not dry_run:
        check_that_adopting_holds_the_other_line(place, staging, parted)


def test_a_second_catalog_is_rebuilt_without_writing_to_the_store(place, parted, tmp_path):
    other = f"sqlite:///{tmp_path}/other.db"
    before = objects_in(place)
    report = vio.rebuild_store(place, catalog=other)
    assert objects_in(place) == before
    assert (report.is_owner, report.commits) == (False, 7)
    assert "`versioned adopt`" in report.uncertain[-1]
    check_that_adopting_holds_the_other_line(place, other, parted)


def test_a_catalog_that_was_rebuilt_at_the_place_of_the_lost_one_is_the_owner(place, production):
    catalog, _ = production
    lose(catalog)
    assert vio.rebuild_store(place, catalog=catalog).is_owner
    with vio.open_store(place, catalog=catalog) as store:
        assert store.warning is None
        commit(store, b"goes on")


def test_a_catalog_that_was_rebuilt_elsewhere_is_the_owner_where_the_old_one_is_gone(place, tmp_path):
    with vio.create_store(place) as store:
        store.create_repo("r")
        commit(store, b"1")
    for file in place.glob("catalog.db*"):
        file.unlink()
    other = f"sqlite:///{tmp_path}/other.db"
    vio.rebuild_store(place, catalog=other)
    with vio.open_store(place, catalog=other) as store:
        commit(store, b"2")


def test_of_several_that_adopt_at_once_exactly_one_wins(place, production):
    _, clone = production
    names = [f"staging{number}" for number in range(4)]
    clones = [clone(name) for name in names]
    script = (
        "import sys, versioned_io as vio\n"
        "sys.stdin.readline()\n"
        "try:\n    print(vio.adopt_store(sys.argv[1], catalog=sys.argv[2]))\n"
        "except vio.VersionedError as error:\n    print(type(error).__name__)\n"
    )
    racers = [
        subprocess.Popen(
            [sys.executable, "-c", script, str(place), url], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        for url in clones
    ]
    for racer in racers:
        racer.stdin.write("go\n")
        racer.stdin.flush()
    said = [racer.communicate(timeout=120)[0].strip() for racer in racers]
    assert set(said) <= {"True", "NotOwnerError"}
    # Those that came after the first had been through may have adopted it from that one, one after the other.
    owners = []
    for url in clones:
        with vio.open_store(place, catalog=url) as store:
            try:
                store.create_tag("r@owned", at="r@main")
                owners.append(url)
            except VersionedError:
                continue
    assert len(owners) == 1


def test_of_two_that_adopt_the_same_owner_object_one_is_refused(place, production):
    from versioned_io.versioning.backend import ownership

    catalog, _ = production
    objects = LocalObjects(place)
    number = list_beacons(objects).owner + 1
    found = connect_catalog(catalog)
    with found.read() as connection:
        address = ownership.address_of(connection, found, objects)
    ownership.put_owner(objects, ownership.Owner(number, "one", address))
    ownership.put_owner(objects, ownership.Owner(number, "one", address))  # the reply was lost: its own
    with pytest.raises(NotOwnerError):
        ownership.put_owner(objects, ownership.Owner(number, "two", address))
    assert ownership.find_owner(objects, list_beacons(objects)).catalog_id == "one"
    assert adopt(objects, found)
    found.close()


def inside(place):
    with vio.create_store(place) as store:
        store.create_repo("r")
        commit(store, b"1")


def test_a_store_that_is_moved_stays_its_owners(place, tmp_path):
    inside(place)
    place.rename(tmp_path / "moved")
    with vio.open_store(tmp_path / "moved") as store:
        commit(store, b"2")
        assert store.gc(**NOW).deleted == 0


def test_a_copy_of_a_whole_store_is_a_store_of_its_own(place, tmp_path):
    inside(place)
    shutil.copytree(place, tmp_path / "copy")
    for where in (tmp_path / "copy", place, tmp_path / "copy", place):
        with vio.open_store(where) as store:
            commit(store, os.urandom(4))
            assert store.fsck().is_clean


def test_a_link_to_a_store_is_the_store(place, tmp_path):
    inside(place)
    (tmp_path / "link").symlink_to(place)
    for where in (tmp_path / "link", place, tmp_path / "link"):
        with vio.open_store(where) as store:
            commit(store, os.urandom(4))


@pytest.mark.parametrize("shared", [["packs"], ["packs", "beacons"]], ids="-".join)
@pytest.mark.parametrize("has_beacons", [True, False])
def test_a_copy_that_shares_the_packs_by_a_link_can_be_read_only(place, tmp_path, shared, has_beacons):
    inside(place)
    clone = tmp_path / "clone"
    shutil.copytree(place, clone)
    for name in shared:
        shutil.rmtree(clone / name)
        (clone / name).symlink_to(place / name)
    if not has_beacons and "beacons" not in shared:
        shutil.rmtree(clone / "beacons")
    with vio.open_store(clone) as store:
        assert store.snapshot("r@main").read("a") == b"1"
        with pytest.raises(NotOwnerError):
            store.gc(**NOW)
        with pytest.raises(NotOwnerError):
            commit(store, b"2")
    with vio.open_store(place) as store:
        commit(store, b"3")
        assert store.fsck().is_clean


def test_a_copy_of_a_copy_that_shares_its_packs_can_be_read_only(place, tmp_path):
    inside(place)
    copy, clone = tmp_path / "copy", tmp_path / "clone"
    shutil.copytree(place, copy)
    with vio.open_store(copy) as store:
        commit(store, b"2")
    shutil.copytree(copy, clone)
    shutil.rmtree(clone / "packs")
    (clone / "packs").symlink_to(copy / "packs")
    with vio.open_store(clone) as store, pytest.raises(NotOwnerError):
        store.gc(**NOW)


def test_a_catalog_that_was_put_back_in_its_place_is_the_owner(place, tmp_path):
    inside(place)
    copy_catalog(place, tmp_path / "backup")
    for file in place.glob("catalog.db*"):
        file.unlink()
    (tmp_path / "other").write_bytes(b"takes the inode")
    copy_catalog(tmp_path / "backup", place)
    with vio.open_store(place) as store:
        commit(store, b"2")


def test_a_store_without_an_owner_is_claimed_by_its_first_write_and_by_no_read(place):
    inside(place)
    shutil.rmtree(place / "beacons")
    with vio.open_store(place) as store, store._backend.catalog.engine.begin() as connection:
        connection.execute(text("DELETE FROM properties WHERE name = 'owner'"))
    with vio.open_store(place) as store:
        assert store.snapshot("r@main").read("a") == b"1"
        assert store.fsck().is_clean
        assert list_beacons(LocalObjects(place)).owner == 0
        commit(store, b"2")
    assert list_beacons(LocalObjects(place)).owner == 1


def test_an_owner_object_that_is_damaged_or_gone_is_written_anew_by_adopting(place):
    inside(place)
    [owner] = (place / "beacons").glob("owner-*")
    owner.write_bytes(b"{")
    with vio.open_store(place) as store, pytest.raises(VersionedError, match="versioned adopt"):
        commit(store, b"2")
    assert vio.adopt_store(place)
    with vio.open_store(place) as store:
        commit(store, b"3")


def test_an_owner_object_that_is_gone_is_put_again_by_the_catalog_that_had_claimed_it(place, tmp_path):
    inside(place)
    clone = tmp_path / "clone"
    shutil.copytree(place, clone)
    shutil.rmtree(clone / "packs")
    (clone / "packs").symlink_to(place / "packs")
    for where in (place, clone):
        for owner in (where / "beacons").glob("owner-*"):
            owner.unlink()
    with vio.open_store(clone) as store, pytest.raises(NotOwnerError, match="has lost its owner object"):
        commit(store, b"2")
    with vio.open_store(place) as store:
        commit(store, b"3")
    assert list_beacons(LocalObjects(place)).owner == 1


KILLED = """
import os, sys
import versioned_io as vio
from versioned_io.maintenance.evidence import contents
stage = sys.argv[3]
def dies(*_):
    os.kill(os.getpid(), 9)
def after(packs):
    if packs == int(stage):
        dies()
vio.rebuild_store(sys.argv[1], catalog=sys.argv[2] or None, progress=after)
"""


@pytest.mark.parametrize("stage", [1, 2, 4])
def test_a_rebuild_that_was_killed_does_not_open_and_completes_when_it_is_repeated(place, production, stage):
    catalog, _ = production
    lose(catalog)
    before = sorted(place.rglob("*.pack"))
    done = subprocess.run([sys.executable, "-c", KILLED, str(place), catalog, str(stage)], check=False)
    assert done.returncode == -9
    with pytest.raises(FormatError, match="versioned rebuild"):
        vio.open_store(place, catalog=catalog)
    with pytest.raises(FormatError, match="versioned rebuild"):
        vio.adopt_store(place, catalog=catalog)
    assert vio.rebuild_store(place, catalog=catalog).commits == 3
    with vio.open_store(place, catalog=catalog) as store:
        assert store.snapshot("r@main").read("a") == b"2"
        store.gc(**NOW)
        commit(store, b"3")
        assert store.fsck().is_clean
    assert before == [path for path in before if path.exists()]


def test_a_forged_owner_with_the_highest_number_of_eight_digits_is_adopted_away(tmp_path):
    with vio.create_store(tmp_path / "s") as store:
        store.create_repo("r")
    (tmp_path / "s/beacons/owner-99999999").touch()
    assert vio.adopt_store(tmp_path / "s")
    with vio.open_store(tmp_path / "s") as store:
        store.create_repo("q")
