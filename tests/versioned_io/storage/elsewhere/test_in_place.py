"""Files that stay where they are: referred to, read as they were pinned, and never anything else."""

import io
import os
import random
from datetime import timedelta
from pathlib import Path

import pytest

import versioned_io as vio
from versioned_io.errors import (
    IllegalPathError,
    InvalidInputError,
    ReferenceBrokenError,
    StorageError,
    TransactionClosedError,
)
from versioned_io.model.places import parse_pack_key
from versioned_io.storage.objects.port import ObjectStore
from versioned_io.storage.packs.frames import FrameKind
from versioned_io.storage.packs.reader import read_footer

NOW = {"grace": timedelta(0), "expire": timedelta(0)}


def noise(seed, size):
    return random.Random(seed).randbytes(size)


FILES = {
    "a.bin": noise(1, 5_500),  # six parts, the last one shorter
    "even.bin": noise(2, 3_000),
    "one byte": b"1",
    "empty": b"",
    "d/é x%20.csv": b"1,2\n" * 10,
    "d/e/deep.bin": noise(3, 1_001),
}


def fill(place, files=FILES):
    for key, data in files.items():
        place.put(key, data)


def refer(store, url, to="raw", branch="r@main", **options):
    with store.transaction(branch) as tx:
        tx.reference_tree(url, to=to, **options)
    return tx


def below(files, to="raw"):
    return {f"{to}/{key}" if to else key: data for key, data in files.items()}


def packs_bytes(store):
    objects: ObjectStore = store._backend.objects
    return b"".join(objects.get(info.key) for info in objects.list("packs/"))


def references_in(store):
    """Return how many references to parts all packs hold."""
    objects = store._backend.objects
    names = [parse_pack_key(info.key) for info in objects.list("packs/")]
    return sum(frame.kind is FrameKind.SOURCE for name in names for frame in read_footer(objects, name).frames)


def test_a_tree_is_referred_to_and_read_without_a_copy(refers, place, files_of):
    fill(place)
    tx = refer(refers, place.url)
    assert (tx.commit.stats.added, tx.commit.stats.size_bytes) == (len(FILES), sum(map(len, FILES.values())))
    assert files_of(refers, "r@main") == below(FILES)
    assert FILES["a.bin"][:200] not in packs_bytes(refers)
    assert dict(refers.snapshot("r@main").read_many(sorted(below(FILES)))) == below(FILES)


@pytest.mark.parametrize(
    ("offset", "length"), [(0, 1), (999, 2), (1000, 1000), (500, 3_000), (5_499, 10), (5_500, 1), (0, 0), (1, None)]
)
def test_ranges_over_the_ends_of_parts(refers, place, offset, length):
    fill(place)
    refer(refers, place.url)
    whole = FILES["a.bin"]
    wanted = whole[offset:] if length is None else whole[offset : offset + length]
    assert refers.snapshot("r@main").read("raw/a.bin", offset, length) == wanted


def test_a_file_is_seekable_over_the_ends_of_parts(refers, place):
    fill(place)
    refer(refers, place.url)
    dice = random.Random(4)
    model = io.BytesIO(FILES["a.bin"])
    with refers.snapshot("r@main").open("raw/a.bin") as file:
        for _ in range(60):
            offset, size = dice.randrange(5_600), dice.randrange(2_500)
            assert file.seek(offset) == model.seek(offset)
            assert file.read(size) == model.read(size)
    raw = refers._backend.chunks.open_file(refers.snapshot("r@main").row("raw/a.bin").chunks)
    assert io.BufferedReader(raw, 16).read() == FILES["a.bin"]


def test_only_the_parts_that_are_asked_for_are_fetched(refers, place, monkeypatch):
    fill(place)
    refer(refers, place.url)
    asked = []
    elsewhere = refers._backend.elsewhere
    read = elsewhere.read
    monkeypatch.setattr(type(elsewhere), "read", lambda self, parts: asked.extend(parts) or read(parts))
    refers.snapshot("r@main").read("raw/a.bin", 1_500, 1_000)
    assert [part.offset for part in asked] == [1_000, 2_000]


def test_it_is_checked_out_fully_and_incrementally(refers, place, tmp_path):
    fill(place)
    refer(refers, place.url)
    snapshot = refers.snapshot("r@main")
    snapshot.checkout(tmp_path / "full", "raw")
    assert {key: (tmp_path / "full" / key).read_bytes() for key in FILES} == FILES
    assert snapshot.checkout(tmp_path / "part", "raw", mode="incremental") == len(FILES)
    # Nothing is in doubt, although all was written in the same instant.
    assert snapshot.checkout(tmp_path / "part", "raw", mode="incremental") == 0
    place.put("a.bin", b"new")
    place.delete("even.bin")
    with refers.transaction("r@main") as tx:
        tx.delete("raw/")
        tx.reference_tree(place.url, to="raw")
    assert refers.snapshot("r@main").checkout(tmp_path / "part", "raw", mode="incremental") == 1
    assert (tmp_path / "part/a.bin").read_bytes() == b"new"
    assert not (tmp_path / "part/even.bin").exists()


def test_a_local_copy_that_was_modified_is_not_replaced(refers, place, tmp_path):
    fill(place, {"a": b"1"})
    refer(refers, place.url)
    refers.snapshot("r@main").checkout(tmp_path / "out", mode="incremental")
    (tmp_path / "out/raw/a").write_bytes(b"2")
    place.put("a", b"3")
    refer(refers, place.url)
    with pytest.raises(InvalidInputError, match="modified since"):
        refers.snapshot("r@main").checkout(tmp_path / "out", mode="incremental")
    assert (tmp_path / "out/raw/a").read_bytes() == b"2"


def test_it_is_read_through_the_file_system(refers, place):
    from versioned_io.interfaces.filesystem.filesystem import VersionedFileSystem

    fill(place)
    refer(refers, place.url)
    fs = VersionedFileSystem.of(refers)
    assert fs.cat_file("r@main/raw/a.bin", 900, 1_100) == FILES["a.bin"][900:1_100]
    with fs.open("r@main/raw/a.bin") as file:
        file.seek(4_990)
        assert file.read() == FILES["a.bin"][4_990:]


def test_an_unchanged_tree_is_no_change_and_only_what_changed_is_stored(refers, place, files_of):
    fill(place)
    first = refer(refers, place.url).commit
    again = refer(refers, place.url)
    assert (again.changed, again.commit.id) == (False, first.id)
    place.put("even.bin", b"other")
    place.put("new", b"new")
    before = references_in(refers)
    changed = refer(refers, place.url)
    stats = changed.commit.stats
    assert (stats.added, stats.modified, stats.deleted) == (1, 1, 0)
    assert refers.diff("r@main~1", "r@main").column("path").to_pylist() == ["raw/even.bin", "raw/new"]
    assert references_in(refers) == before + 2  # what was there already is found in the index
    assert files_of(refers, "r@main") == below(FILES | {"even.bin": b"other", "new": b"new"})


@pytest.mark.parametrize("harm", ["overwritten", "of the same size", "shorter", "gone"])
def test_a_change_at_the_source_is_noticed_wherever_it_is_read(refers, place, tmp_path, harm):
    fill(place)
    refer(refers, place.url)
    if harm == "gone":
        place.delete("a.bin")
    else:
        place.put("a.bin", {"overwritten": noise(9, 9_000), "of the same size": noise(9, 5_500), "shorter": b""}[harm])
    snapshot = refers.snapshot("r@main")
    url = refers._backend.elsewhere.locate(place.url).below("a.bin").url
    ways = [
        lambda: snapshot.read("raw/a.bin"),
        lambda: snapshot.read("raw/a.bin", 5_000),
        lambda: snapshot.open("raw/a.bin").read(),
        lambda: dict(snapshot.read_many(["raw/a.bin", "raw/even.bin"])),
        lambda: snapshot.checkout(tmp_path / "out"),
    ]
    for way in ways:
        with pytest.raises(ReferenceBrokenError, match="import it again") as caught:
            way()
        assert caught.value.args[0] == url
    assert not (tmp_path / "out").exists()
    assert snapshot.read("raw/even.bin") == FILES["even.bin"]
    assert refers.fsck().is_clean
    report = refers.fsck(sources=True)
    [problem] = report.problems
    assert (problem.kind, problem.where) == ("source", f"{refers.commit('r@main')}:raw/a.bin")
    assert url in problem.found
    assert report.sources == len(FILES) - 1  # the empty one has nothing that could change
    refer(refers, place.url)
    if harm != "gone":
        assert len(refers.snapshot("r@main").read("raw/a.bin")) == {"overwritten": 9_000, "shorter": 0}.get(harm, 5_500)


def test_a_pinned_version_stays_readable_when_the_object_is_overwritten(bucket, tmp_path):
    bucket.keep_versions()
    fill(bucket)
    with vio.create_store(tmp_path / "store", sources={bucket.url: bucket.options}) as store:
        store.create_repo("r")
        refer(store, bucket.url, versions=True)
        refer(store, bucket.url, to="unversioned")
        assert not refer(store, bucket.url, versions=True).changed
        bucket.put("a.bin", noise(9, 5_500))
        bucket.delete("even.bin")
        snapshot = store.snapshot("r@main")
        assert snapshot.read("raw/a.bin") == FILES["a.bin"]
        assert snapshot.read("raw/even.bin") == FILES["even.bin"]
        with pytest.raises(ReferenceBrokenError):
            snapshot.read("unversioned/a.bin")
        assert {problem.where.rpartition(":")[2] for problem in store.fsck(sources=True).problems} == {
            "unversioned/a.bin",
            "unversioned/even.bin",
        }
        with store.transaction("r@main") as tx:
            tx.reference(f"{bucket.url}a.bin", to="raw/a.bin", versions=True)
        assert store.snapshot("r@main").read("raw/a.bin") == noise(9, 5_500)
        assert store.snapshot("r@main~1").read("raw/a.bin") == FILES["a.bin"]
        versions = bucket.client.list_object_versions(Bucket=bucket.bucket, Prefix=bucket.prefix + "a.bin")["Versions"]
        [old] = [one for one in versions if not one["IsLatest"]]
        bucket.client.delete_object(Bucket=bucket.bucket, Key=old["Key"], VersionId=old["VersionId"])
        with pytest.raises(ReferenceBrokenError, match="that version of it is gone"):
            store.snapshot("r@main~1").read("raw/a.bin")


def test_one_object_becomes_one_file(refers, place, files_of):
    fill(place)
    with refers.transaction("r@main") as tx:
        info = tx.reference(f"{place.url}a.bin", to="here.bin")
        assert tx.read("here.bin") == FILES["a.bin"]
        assert tx.exists("here.bin")
    assert files_of(refers, "r@main") == {"here.bin": FILES["a.bin"]}
    assert refers.snapshot("r@main").stat("here.bin").digest == info.digest
    assert refers.snapshot("r@main").stat("here.bin").size == 5_500
    with refers.transaction("r@main") as tx:
        tx.reference_tree(place.url, glob="a.*")
        tx.delete("here.bin")
    assert refers.snapshot("r@main").stat("a.bin").digest == info.digest  # in either way the same
    with refers.transaction("r@main") as tx, pytest.raises(InvalidInputError, match="there is no object"):
        tx.reference(f"{place.url}d", to="d")


def test_a_glob_chooses_by_the_path_below_the_prefix(refers, place, files_of):
    fill(place)
    refer(refers, place.url, glob="d/**")
    assert files_of(refers, "r@main") == below({key: data for key, data in FILES.items() if key.startswith("d/")})


def test_many_objects_stay_in_columns_and_progress_is_told(refers, place):
    files = {f"many/{number:03}": b"%d" % number for number in range(270)} | {"large": noise(5, 4_500)}
    fill(place, files)
    steps = []
    refer(refers, place.url, progress=steps.append)
    assert dict(refers.snapshot("r@main").read_many(sorted(below(files)))) == below(files)
    assert (steps[0].files, steps[0].size_bytes) == (0, 0)
    last = steps[-1]
    assert (last.files, last.total_files, last.size_bytes) == (271, 271, last.total_bytes)
    assert last.total_bytes == sum(map(len, files.values()))


def test_appending_to_it_copies_its_last_part_only(refers, place, files_of):
    fill(place)
    refer(refers, place.url)
    with refers.transaction("r@main") as tx:
        tx.write("raw/a.bin", b"more", append=True)
        assert tx.read("raw/a.bin") == FILES["a.bin"] + b"more"
    with refers.transaction("r@main") as tx:
        tx.reference(f"{place.url}even.bin", to="staged")
        tx.write("staged", b"+", append=True)
    assert files_of(refers, "r@main")["raw/a.bin"] == FILES["a.bin"] + b"more"
    assert files_of(refers, "r@main")["staged"] == FILES["even.bin"] + b"+"
    stored = packs_bytes(refers)
    assert FILES["a.bin"][5_000:] in stored
    assert FILES["a.bin"][4_000:4_500] not in stored
    assert refers.fsck(sources=True).is_clean


def test_copies_moves_merges_and_other_repos_keep_the_reference(refers, place, files_of):
    fill(place)
    refer(refers, place.url)
    refers.create_repo("other")
    refers.create_branch("r@dev", at="r@main")
    with refers.transaction("other@main") as tx:
        tx.copy("r@main:raw", to="copied")
    with refers.transaction("r@dev") as tx:
        tx.move("raw/a.bin", "moved.bin")
    place.put("even.bin", b"newer")
    refer(refers, place.url, glob="even.bin")
    refers.merge("r@dev", "r@main")
    assert files_of(refers, "other@main", "copied/d") == below({k: FILES[k] for k in FILES if k[:2] == "d/"}, "copied")
    merged = files_of(refers, "r@main")
    assert (merged["moved.bin"], merged["raw/even.bin"]) == (FILES["a.bin"], b"newer")
    assert "raw/a.bin" not in merged
    with pytest.raises(ReferenceBrokenError):
        refers.snapshot("other@main").read("copied/even.bin")
    refers.revert("r@main", "r@main")


def test_it_survives_compaction_collection_and_a_lost_catalog(refers, place, files_of, open_again, write):
    fill(place)
    for number in range(10):
        write(refers, "r@main", {f"own/{number}": noise(number, 300)})
        place.put(f"more/{number}", noise(100 + number, 1_500))
        refer(refers, place.url)
    before = files_of(refers, "r@main")
    compacted = refers.compact(small_bytes=1 << 20)
    assert compacted.packs > 10
    assert files_of(refers, "r@main") == before
    assert refers.gc(**NOW).deleted == compacted.packs  # nothing leads to the old packs any more
    assert files_of(refers, "r@main") == before
    assert refers.fsck(sources=True).is_clean
    assert not refer(refers, place.url).changed
    refers.close()
    root = Path(refers.url)
    for file in root.glob("catalog.db*"):
        file.unlink()
    assert vio.rebuild_store(root).damaged == ()
    again = open_again(sources={place.url: place.options})
    assert files_of(again, "r@main") == before
    assert again.fsck(sources=True).is_clean
    stored = len(packs_bytes(again))
    assert not refer(again, place.url).changed  # and the index knows the parts
    assert len(packs_bytes(again)) == stored


def test_collection_lets_go_of_references_that_nothing_leads_to(refers, place):
    fill(place)
    refer(refers, place.url)
    refers.drop("r@main")
    refers.gc(**NOW)
    assert place.url.encode() not in packs_bytes(refers)


def test_stats_tell_apart_what_lies_elsewhere(refers, place, write):
    fill(place)
    refer(refers, place.url)
    write(refers, "r@main", {"own": noise(7, 4_000)})
    found = refers.stats(exact=True)
    assert (found.elsewhere_bytes, found.content_bytes, found.chunks) == (sum(map(len, FILES.values())), 4_000, 1)
    assert 4_000 <= found.stored_bytes < 4_100
    assert found.version_bytes == sum(map(len, FILES.values())) + 4_000
    assert found.deduplication == 1.0
    assert 0.9 < found.compression <= 1.0
    assert found.page_bytes + found.stored_bytes + found.dead_bytes == found.physical_bytes


def test_a_purge_says_that_the_bytes_elsewhere_are_not_its_to_delete(refers, place, files_of):
    fill(place)
    refer(refers, place.url)
    refer(refers, place.url, to="kept", glob="even.bin")
    url = refers._backend.elsewhere.locate(place.url).below("a.bin").url
    planned = refers.purge("r", "raw/a.bin", dry_run=True)
    report = refers.purge("r", "raw/a.bin")
    assert report.gone
    assert planned.elsewhere == report.elsewhere == (url,)
    assert len(report.chunks) == 6
    assert url.rpartition("/")[2].encode() not in packs_bytes(refers)
    assert b"".join(place_bytes(place, "a.bin")) == FILES["a.bin"]
    shared = refers.purge("r", "raw/even.bin")
    assert set(shared.shared.values()) == {f"r@{refers.commit('r@main').id}:kept/even.bin"}
    assert files_of(refers, "r@main") == below({k: v for k, v in FILES.items() if k not in {"a.bin", "even.bin"}}) | {
        "kept/even.bin": FILES["even.bin"]
    }
    assert refers.fsck(sources=True).is_clean
    assert refers.purge("r", "raw/empty").elsewhere == ()


def place_bytes(place, key):
    if hasattr(place, "root"):
        yield (place.root / key).read_bytes()
    else:
        yield place.client.get_object(Bucket=place.bucket, Key=place.prefix + key)["Body"].read()


def test_damage_of_a_reference_is_found_and_repaired_as_that_of_a_block(refers, place):
    fill(place)
    refer(refers, place.url)
    [chunk, *_] = refers.snapshot("r@main").row("raw/a.bin").chunks
    path = next(Path(refers.url, "packs").rglob(f"{chunk.pack.hex()}.pack"))
    good = path.read_bytes()
    path.write_bytes(good[: chunk.offset + 30] + bytes([good[chunk.offset + 30] ^ 1]) + good[chunk.offset + 31 :])
    kinds = {problem.kind for problem in refers.fsck().problems}
    assert {"pack", "index", "file"} <= kinds
    assert refers.fsck(repair=True).repaired
    path.write_bytes(good)
    assert refers.fsck().is_clean
    assert refers.snapshot("r@main").read("raw/a.bin") == FILES["a.bin"]


def test_nothing_is_read_that_whoever_opened_the_store_did_not_allow(refers, place, open_again, tmp_path):
    fill(place)
    refer(refers, place.url)
    (tmp_path / "other").mkdir()
    for sources in (None, {}, {str(tmp_path / "other"): {}}, {place.url.rstrip("/") + "puts/": place.options}):
        other = open_again(sources=sources)
        with pytest.raises(InvalidInputError, match="open the store with sources=") as caught:
            other.snapshot("r@main").read("raw/a.bin")
        assert repr(place.url) in str(caught.value)
        with other.transaction("r@main") as tx, pytest.raises(InvalidInputError, match="may not be read"):
            tx.reference_tree(place.url)
        with other.transaction("r@main") as tx, pytest.raises(InvalidInputError, match="may not be read"):
            tx.reference(f"{place.url}a.bin", to="a")
        assert other.snapshot("r@main").stat("raw/a.bin").size == 5_500
        assert other.fsck().is_clean
        assert {problem.kind for problem in other.fsck(sources=True).problems} == {"source"}


def test_the_longest_place_says_which_options_count(bucket, tmp_path):
    fill(bucket)
    wrong = bucket.options | {"endpoint": "http://127.0.0.1:9", "max_retries": "0"}
    sources = {f"s3://{bucket.bucket}/": wrong, bucket.url: bucket.options}
    with vio.create_store(tmp_path / "store", sources=sources) as store:
        store.create_repo("r")
        refer(store, bucket.url)
        assert store.snapshot("r@main").read("raw/a.bin") == FILES["a.bin"]


def test_credentials_reach_neither_the_store_nor_an_error(bucket, tmp_path, open_again):
    secret = "hunter2-" + "x" * 20
    options = bucket.options | {"secret_access_key": secret}
    fill(bucket)
    with vio.create_store(tmp_path / "store", sources={bucket.url: options}) as store:
        store.create_repo("r")
        refer(store, bucket.url)
        bucket.delete("a.bin")
        with pytest.raises(ReferenceBrokenError) as caught:
            store.snapshot("r@main").read("raw/a.bin")
        assert secret not in str(caught.value)
        assert secret not in repr(store) + repr(store._backend) + repr(store._backend.elsewhere)
    for file in (tmp_path / "store").rglob("*"):
        assert not file.is_file() or secret.encode() not in file.read_bytes()
    for bad in ({"acess_key_id": secret}, {"allow_http": secret}, {"timeout_s": secret}):
        with pytest.raises(InvalidInputError) as wrong:
            open_again(sources={bucket.url: bad})
        assert secret not in str(wrong.value)
    with pytest.raises(InvalidInputError, match="takes no storage options") as local:
        open_again(sources={str(tmp_path): {"access_key_id": secret}})
    assert secret not in str(local.value)
    for url in (f"s3://id:{secret}@{bucket.bucket}/x", f"s3://{bucket.bucket}/x?X-Amz-Signature={secret}"):
        with pytest.raises(InvalidInputError) as signed:
            open_again(sources={url: {}})
        assert secret not in str(signed.value)


def test_an_endpoint_that_nobody_answers_at_is_a_storage_error(bucket, tmp_path):
    options = bucket.options | {"endpoint": "http://127.0.0.1:9", "max_retries": "0", "connect_timeout_s": "1"}
    with vio.create_store(tmp_path / "store", sources={bucket.url: options}) as store:
        store.create_repo("r")
        tx = store.transaction("r@main")
        with pytest.raises(StorageError, match="can't list"):
            tx.reference_tree(bucket.url)
        with pytest.raises(StorageError, match="can't look up"):
            tx.reference(f"{bucket.url}a", to="a")
        tx.abort()


def test_keys_that_are_no_paths_are_named_before_anything_is_staged(refers, place):
    fill(place, {"good": b"1", "e\u0301": b"2", "a\u0308/x": b"3"})
    with refers.transaction("r@main", empty="allow") as tx:
        with pytest.raises(InvalidInputError, match="can't be paths here") as caught:
            tx.reference_tree(place.url)
        assert not tx.exists("good")
        tx.reference_tree(place.url, glob="g*")
        assert tx.exists("good")
    assert str(caught.value).count("normalisation form") == 2
    elsewhere = refers._backend.elsewhere.locate(place.url)
    for key in ("e\u0301", "a\u0308/x"):
        assert repr(elsewhere.below(key).url) in str(caught.value)


def test_local_names_that_are_no_paths_are_named(directory, tmp_path):
    fill(directory, {"good": b"1", "line\nbreak": b"2", "no\udcffutf8": b"3"})
    with vio.create_store(tmp_path / "store", sources={directory.url: {}}) as store:
        store.create_repo("r")
        with store.transaction("r@main") as tx:
            with pytest.raises(InvalidInputError, match="can't be paths here") as caught:
                tx.reference_tree(directory.url)
            assert "line%0Abreak' (it has a control character)" in str(caught.value)
            assert "no%FFutf8' (it is not valid Unicode)" in str(caught.value)
            assert not tx.exists("good")
            assert tx.reference_tree(directory.url, glob="g*") == 1


def test_a_key_that_is_too_long_is_named(refers, place):
    fill(place, {"good": b"1", "/".join(["x" * 100] * 3): b"2"})
    with refers.transaction("r@main") as tx, pytest.raises(InvalidInputError, match="more than 1024"):
        tx.reference_tree(place.url, to="/".join(["y" * 100] * 8))
    with pytest.raises(IllegalPathError):
        refers.transaction("r@main").reference(f"{place.url}good", to="a//b")


def test_keys_that_would_be_a_file_and_a_directory_are_named(bucket, tmp_path):
    fill(bucket, {"a": b"1", "a/b": b"2", "a-b": b"3"})
    with vio.create_store(tmp_path / "store", sources={bucket.url: bucket.options}) as store:
        store.create_repo("r")
        with store.transaction("r@main") as tx:
            with pytest.raises(InvalidInputError, match="a file and a directory of one name") as caught:
                tx.reference_tree(bucket.url)
            assert f"{bucket.url}a'" in str(caught.value)
            assert f"{bucket.url}a/b'" in str(caught.value)
            assert not tx.exists("a-b")


def test_directory_markers_are_left_out(bucket, tmp_path, files_of):
    fill(bucket, {"": b"", "d/": b"", "d/x": b"1", "lonely/": b"", "empty": b"", "both": b"2", "both/": b""})
    with vio.create_store(tmp_path / "store", sources={bucket.url: bucket.options}) as store:
        store.create_repo("r")
        refer(store, bucket.url, to="")
        assert files_of(store, "r@main") == {"both": b"2", "d/x": b"1", "empty": b""}


@pytest.mark.parametrize("key", ["a//b", "a/../b", "./a", "tab\tbed"])
def test_keys_with_parts_that_no_path_has_are_named(bucket, tmp_path, key):
    fill(bucket, {"good": b"1", key: b"2"})
    with vio.create_store(tmp_path / "store", sources={bucket.url: bucket.options}) as store:
        store.create_repo("r")
        with store.transaction("r@main") as tx:
            with pytest.raises(InvalidInputError) as caught:
                tx.reference_tree(bucket.url)
            assert repr(bucket.url + key) in str(caught.value)
            assert not tx.exists("good")


def test_a_whole_bucket_can_be_referred_to(bucket, tmp_path, files_of):
    fill(bucket)
    url = f"s3://{bucket.bucket}"
    with vio.create_store(tmp_path / "store", sources={url: bucket.options}) as store:
        store.create_repo("r")
        refer(store, url, to="")
        assert files_of(store, "r@main") == below(FILES, "in/put")


def test_where_nothing_is_nothing_is_imported(refers, place, tmp_path):
    with refers.transaction("r@main") as tx, pytest.raises(InvalidInputError, match=r"nothing below|not a directory"):
        tx.reference_tree(f"{place.url}missing/")
    with pytest.raises(TransactionClosedError):
        tx.reference_tree(place.url)
    with pytest.raises(TransactionClosedError):
        tx.reference(f"{place.url}x", to="x")


def test_links_are_followed_inside_of_the_directory_and_never_out_of_it(directory, tmp_path, files_of):
    (tmp_path / "secret").write_bytes(b"S")
    (tmp_path / "secrets").mkdir()
    (tmp_path / "secrets/s").write_bytes(b"S")
    fill(directory, {"a": b"1", "d/b": b"2"})
    (directory.root / "inside").symlink_to("d/b")
    with vio.create_store(tmp_path / "store", sources={directory.url: {}}) as store:
        store.create_repo("r")
        refer(store, directory.url, to="")
        assert files_of(store, "r@main") == {"a": b"1", "d/b": b"2", "inside": b"2"}
        for name, target in {"out": tmp_path / "secret", "none": "nowhere", "dir": "d", "self": "self"}.items():
            link = directory.root / name
            link.symlink_to(target)
            with store.transaction("r@main") as tx, pytest.raises(InvalidInputError, match="symbolic link"):
                tx.reference_tree(directory.url)
            with store.transaction("r@main") as tx, pytest.raises(vio.VersionedError):
                tx.reference(f"{directory.url}{name}", to=name)
            link.unlink()
        # What is a link by now leads nowhere else, either.
        (directory.root / "a").unlink()
        (directory.root / "a").symlink_to(tmp_path / "secret")
        with pytest.raises(InvalidInputError, match="leads out of"):
            store.snapshot("r@main").read("a")
        (directory.root / "d/b").unlink()
        (directory.root / "d").rmdir()
        (tmp_path / "secrets/b").write_bytes(b"S")
        (directory.root / "d").symlink_to(tmp_path / "secrets")
        with pytest.raises(InvalidInputError, match="leads out of"):
            store.snapshot("r@main").read("d/b")


def test_a_special_file_is_refused_and_never_waited_for(directory, tmp_path):
    fill(directory, {"a": b"1"})
    with vio.create_store(tmp_path / "store", sources={directory.url: {}}) as store:
        store.create_repo("r")
        refer(store, directory.url)
        (directory.root / "a").unlink()
        os.mkfifo(directory.root / "a")
        with store.transaction("r@main") as tx, pytest.raises(InvalidInputError, match="special file"):
            tx.reference_tree(directory.url)
        with pytest.raises(ReferenceBrokenError, match="it is gone"):
            store.snapshot("r@main").read("raw/a")


def test_a_file_that_is_written_to_in_place_has_changed(directory, tmp_path):
    fill(directory, {"a": b"1" * 1500})
    with vio.create_store(tmp_path / "store", sources={directory.url: {}}) as store:
        store.create_repo("r")
        refer(store, directory.url)
        with (directory.root / "a").open("r+b") as file:
            file.write(b"2")
        os.utime(directory.root / "a", ns=(1, 1))  # the time is another one, whatever the clock's ticks are
        with pytest.raises(ReferenceBrokenError, match="ETag"):
            store.snapshot("r@main").read("raw/a")


def test_a_file_that_is_written_to_while_it_is_read_has_changed(directory, tmp_path, monkeypatch):
    fill(directory, {"a": b"1" * 500})
    with vio.create_store(tmp_path / "store", sources={directory.url: {}}) as store:
        store.create_repo("r")
        refer(store, directory.url)
        pread = os.pread

        def overtaken(descriptor, *arguments):
            found = pread(descriptor, *arguments)
            if os.path.samestat(os.fstat(descriptor), (directory.root / "a").stat()):
                os.utime(directory.root / "a", ns=(1, 1))
            return found

        monkeypatch.setattr(os, "pread", overtaken)
        with pytest.raises(ReferenceBrokenError, match="ETag"):
            store.snapshot("r@main").read("raw/a")


@pytest.mark.parametrize("replaced", ["d/a", "d"])
def test_a_link_that_is_made_while_it_is_looked_at_leads_nowhere(directory, tmp_path, monkeypatch, replaced):
    fill(directory, {"d/a": b"1"})
    (tmp_path / "secrets").mkdir()
    (tmp_path / "secrets/a").hardlink_to(directory.root / "d/a")  # so that its status is the same
    with vio.create_store(tmp_path / "store", sources={directory.url: {}}) as store:
        store.create_repo("r")
        refer(store, directory.url)
        realpath = os.path.realpath

        def overtaken(path, **options):
            resolved = realpath(path, **options)
            place = directory.root / replaced
            if os.fspath(path).endswith("d/a") and not place.is_symlink():
                place.rename(tmp_path / "aside")
                place.symlink_to(tmp_path / "secrets" / replaced.removeprefix("d").removeprefix("/"))
            return resolved

        monkeypatch.setattr(os.path, "realpath", overtaken)
        with pytest.raises((StorageError, ReferenceBrokenError)):
            store.snapshot("r@main").read("raw/d/a")
        monkeypatch.undo()
        with pytest.raises(InvalidInputError, match="leads out of"):
            store.snapshot("r@main").read("raw/d/a")


def test_someone_elses_store_can_not_make_its_reader_open_a_file(directory, tmp_path, open_again):
    """A crafted frame names a file outside, as plainly and as cunningly as a URL can."""
    from versioned_io.storage.elsewhere import Elsewhere, Part, Pin

    (tmp_path / "secret").write_bytes(b"S" * 10)
    elsewhere = Elsewhere({directory.url: {}})
    status = (tmp_path / "secret").stat()
    etag = f"{status.st_ino:x}-{status.st_mtime_ns:x}-{status.st_size:x}"
    base = directory.url.rstrip("/")
    for url in (
        (tmp_path / "secret").as_uri(),
        f"{base}/../secret",
        f"{base}/%2e%2e/secret",
        f"{base}/d/../../secret",
        f"{base}%2F..%2Fsecret",
        f"file://localhost{tmp_path}/secret",
        str(tmp_path / "secret"),
        "s3://bucket/key",
        "http://127.0.0.1/x",
    ):
        with pytest.raises(InvalidInputError):
            elsewhere.read([Part(Pin(url, etag, None, 10), 0, 10)])
