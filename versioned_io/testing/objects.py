"""The contract of every object store: derive from the class and give it a fixture ``objects``, an empty store."""

import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest

from versioned_io.errors import ExistsError, IntegrityError, InvalidInputError, ObjectNotFoundError
from versioned_io.storage.objects import ObjectStore


class ObjectStoreContract:
    """The contract of `ObjectStore`, for one adapter."""

    def test_what_was_put_is_got(self, objects: ObjectStore) -> None:
        objects.put("packs/ab/one.pack", [b"hello ", b"", bytearray(b"wor"), memoryview(b"xldx")[1:3]])
        assert objects.get("packs/ab/one.pack") == b"hello world"
        assert objects.size("packs/ab/one.pack") == 11

    def test_nothing_is_an_object_too(self, objects: ObjectStore) -> None:
        objects.put("empty", [])
        assert objects.get("empty") == b""
        assert objects.size("empty") == 0

    def test_more_parts_than_a_system_call_takes_are_one_object(self, objects: ObjectStore) -> None:
        objects.put("many", [bytes([number % 251]) * (number % 7) for number in range(5_000)])
        assert objects.get("many") == b"".join(bytes([number % 251]) * (number % 7) for number in range(5_000))

    def test_a_large_object_is_whole(self, objects: ObjectStore) -> None:
        part = bytes(range(256)) * 4096
        objects.put("large", [part] * 12)
        assert objects.size("large") == 12 * len(part)
        assert bytes(objects.get_range("large", 11 * len(part) + 1, 3)) == b"\x01\x02\x03"

    def test_ranges_come_in_the_order_asked_for(self, objects: ObjectStore) -> None:
        objects.put("key", [b"0123456789"])
        assert bytes(objects.get_range("key", 3, 4)) == b"3456"
        parts = objects.get_ranges("key", [(8, 2), (0, 1), (4, 0), (1, 9)])
        assert [bytes(part) for part in parts] == [b"89", b"0", b"", b"123456789"]

    @pytest.mark.parametrize(("offset", "length"), [(8, 3), (10, 1), (11, 1), (1_000, 5)])
    def test_a_range_past_the_end_is_an_error_and_never_short(
        self, objects: ObjectStore, offset: int, length: int
    ) -> None:
        objects.put("key", [b"0123456789"])
        with pytest.raises(IntegrityError, match="key"):
            objects.get_range("key", offset, length)
        with pytest.raises(IntegrityError, match="key"):
            objects.get_ranges("key", [(0, 1), (offset, length)])

    def test_a_key_that_is_taken_is_refused_and_keeps_its_object(self, objects: ObjectStore) -> None:
        objects.put("key", [b"first"])
        with pytest.raises(ExistsError, match="key"):
            objects.put("key", [b"second"])
        assert objects.get("key") == b"first"
        assert [info.key for info in objects.list("")] == ["key"]

    def test_of_several_writers_of_one_key_exactly_one_wins(self, objects: ObjectStore) -> None:
        start, won = threading.Barrier(8), list[int]()

        def write(number: int) -> None:
            start.wait()
            try:
                objects.put("raced/key", [bytes([number]) * 100_000])
            except ExistsError:
                return
            won.append(number)

        threads = [threading.Thread(target=write, args=(number,)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(won) == 1
        assert objects.get("raced/key") == bytes(won) * 100_000

    def test_a_missing_object_is_not_found(self, objects: ObjectStore) -> None:
        objects.put("directory/key", [b"x"])
        for key in ("missing", "directory", "directory/key/below", "other/missing"):
            reads: tuple[Callable[[str], object], ...] = (
                objects.get,
                objects.size,
                lambda key: objects.get_range(key, 0, 1),
            )
            for read in reads:
                with pytest.raises(ObjectNotFoundError, match=key):
                    read(key)

    def test_a_listing_has_all_below_a_prefix_and_nothing_else(self, objects: ObjectStore) -> None:
        keys = {"a/b/1", "a/b/2", "a/bc/3", "a/4", "5"}
        for key in keys:
            objects.put(key, [key.encode()])
        assert {info.key for info in objects.list("")} == keys
        assert {info.key for info in objects.list("a/")} == keys - {"5"}
        assert {info.key for info in objects.list("a/b/")} == {"a/b/1", "a/b/2"}
        assert list(objects.list("nothing/")) == []

    def test_a_listing_says_size_and_age(self, objects: ObjectStore) -> None:
        objects.put("key", [b"12345"])
        [info] = objects.list("")
        assert info.size_bytes == 5
        assert info.modified_at.tzinfo is not None
        assert abs(datetime.now(UTC) - info.modified_at) < timedelta(minutes=5)

    def test_what_was_deleted_is_gone_and_may_be_put_again(self, objects: ObjectStore) -> None:
        objects.put("a/1", [b"1"])
        objects.put("a/2", [b"2"])
        objects.delete(["a/1", "a/missing", "missing/1"])
        assert [info.key for info in objects.list("")] == ["a/2"]
        with pytest.raises(ObjectNotFoundError):
            objects.get("a/1")
        objects.put("a/1", [b"again"])
        assert objects.get("a/1") == b"again"

    @pytest.mark.parametrize(
        "key", ["", "/", "/etc/passwd", "../up", "a/../../up", "a//b", "a/", "./a", "a/.", ".hidden", "a\\b", "a\0b"]
    )
    def test_a_key_that_could_be_misread_is_refused_everywhere(self, objects: ObjectStore, key: str) -> None:
        calls: tuple[Callable[[], object], ...] = (
            lambda: objects.put(key, [b"x"]),
            lambda: objects.get(key),
            lambda: objects.get_range(key, 0, 1),
            lambda: objects.size(key),
            lambda: objects.delete([key]),
        )
        for call in calls:
            with pytest.raises(InvalidInputError, match="object key"):
                call()

    @pytest.mark.parametrize("prefix", ["a", "/", "../", "a//", "a/../"])
    def test_a_prefix_that_is_no_directory_is_refused(self, objects: ObjectStore, prefix: str) -> None:
        with pytest.raises(InvalidInputError):
            list(objects.list(prefix))
