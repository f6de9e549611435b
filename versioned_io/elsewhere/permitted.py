"""Which places elsewhere may be read, and reading what lies there."""

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final, TypeVar

from versioned_io.arguments import check_mapping
from versioned_io.elsewhere.local import LocalForeignObjects
from versioned_io.elsewhere.location import LOCAL, Location, parse_location, refuse_query
from versioned_io.elsewhere.parts import Part, Pin
from versioned_io.elsewhere.port import ForeignObjects
from versioned_io.errors import InvalidInputError, NotFoundError
from versioned_io.errors.root import quoted

_PARALLEL_REQUESTS: Final = 8
_T = TypeVar("_T")
_R = TypeVar("_R")


class Elsewhere:
    """The objects outside of the store that whoever opened it lets it read.

    What a store refers to is data, and may be somebody else's: it must not make its reader open files or buckets with
    the reader's rights that the reader did not name. Thread-safe.

    Args:
        sources: Storage options by place: ``s3://bucket/prefix/``, ``gs://...``, ``az://...``, ``file:///directory/``
            or a local path. All below a place may be read, by whole parts of the path; where several fit, the longest
            decides which options are used. None for nowhere.

    Raises:
        InvalidInputError: A place or an option makes no sense; no value of an option is repeated.
    """

    def __init__(self, sources: Mapping[str, Mapping[str, str]] | None = None) -> None:
        self._options: dict[Location, Mapping[str, str]] = {}
        self._opened: dict[Location, ForeignObjects] = {}
        self._lock = threading.Lock()
        if sources is not None and not isinstance(sources, Mapping):
            msg = f"sources must be a dict of storage options by place, not of type {type(sources).__name__}"
            raise InvalidInputError(msg)
        for url, options in (sources or {}).items():
            self._permit(url, options)

    @property
    def is_remote(self) -> bool:
        """Whether reading one of the places costs a round trip."""
        return any(not place.is_local for place in self._options)

    def locate(self, url: str | Path) -> Location:
        """Return what *url*, which somebody gave, names.

        Raises:
            InvalidInputError: It is no such URL, or below no place that may be read; the message says what to pass.
        """
        refuse_query(url)
        location = parse_location(url)
        self._place_of(location)
        return location

    def walk(self, location: Location) -> Iterator[Pin]:
        """Yield every object below *location* as it is now, without versions, in no order; see `ForeignObjects.list`.

        Raises:
            InvalidInputError: It is below no place that may be read; or as `ForeignObjects.list` says.
            StorageError: The server or disk failed.

        Cost: 1 LIST for every 1,000 objects.
        """
        return self._objects_at(location).list(location)

    def look_up(self, location: Location) -> Pin | None:
        """Return the object at *location* as it is now, with its version if its bucket keeps them; None if none is.

        Raises:
            InvalidInputError, StorageError: As for `walk`.

        Cost: 1 HEAD.
        """
        return self._objects_at(location).look_up(location)

    def look_up_all(self, pins: Sequence[Pin]) -> list[Pin]:
        """Return the objects of *pins* as they are now, with their versions, in order; those that are gone, left out.

        Cost: 1 HEAD each, several at once.
        """
        found = self._together(lambda pin: self.look_up(parse_location(pin.url)), pins)
        return [pin for pin in found if pin is not None]

    def read(self, parts: Sequence[Part]) -> list[memoryview]:
        """Return the bytes of *parts*, in order, of objects as they were pinned.

        Raises:
            InvalidInputError: One is below no place that may be read; the message says what to pass to `open_store`.
            ReferenceBrokenError: An object is gone, or another one by now; import it again.
            StorageError: A server or disk failed; try again.

        Cost: 1 GET a part; up to 8 at once where one is remote.
        """
        return self._together(self._read, parts)

    def check(self, pins: Sequence[Pin], on_failure: Callable[[Pin, Exception], None]) -> None:
        """Look at each object of *pins*, whether it is still as it was pinned.

        Args:
            on_failure: Called, in the caller's thread, for those that are not, or that may not be read, with the error.

        Raises:
            StorageError: A server or disk failed, which says nothing about the objects. Try again.

        Cost: 1 HEAD each, several at once.
        """

        def look_at(pin: Pin) -> Exception | None:
            try:
                location = parse_location(pin.url)
                self._objects_at(location).check(location, pin)
            except (NotFoundError, InvalidInputError) as error:
                return error
            return None

        for pin, error in zip(pins, self._together(look_at, pins), strict=True):
            if error is not None:
                on_failure(pin, error)

    def _together(self, call: Callable[[_T], _R], values: Sequence[_T]) -> list[_R]:
        if self.is_remote and len(values) > 1:
            with ThreadPoolExecutor(min(len(values), _PARALLEL_REQUESTS)) as pool:
                return list(pool.map(call, values))
        return [call(value) for value in values]

    def _read(self, part: Part) -> memoryview:
        location = parse_location(part.pin.url)
        return self._objects_at(location).read(location, part)

    def _permit(self, url: str | Path, options: Mapping[str, str]) -> None:
        check_mapping(options, "the storage options of a source")
        refuse_query(url)
        place = parse_location(url)
        if place.is_local and options:
            msg = f"the local source {place.url!r} takes no storage options"
            raise InvalidInputError(msg)
        if not place.is_local:
            from versioned_io.objects.clients import parse_options  # 0.1 s, which a store without buckets does not pay

            parse_options(place.scheme, options)
        self._options[place] = dict(options)

    def _place_of(self, location: Location) -> Location:
        fitting = [place for place in self._options if place.contains(location)]
        if not fitting:
            example = location.parent.url if location.key else location.url
            place = example if example.endswith("/") else f"{example}/"
            msg = (
                f"{quoted(location.url)} lies elsewhere, and may not be read: if it may, "
                f"open the store with sources={{{place!r}: {{}}}}, with its storage options, "
                f"or name it in VERSIONED_SOURCES on the command line"
            )
            raise InvalidInputError(msg)
        return max(fitting, key=lambda place: len(place.key))

    def _objects_at(self, location: Location) -> ForeignObjects:
        place = self._place_of(location)
        with self._lock:
            if place not in self._opened:
                self._opened[place] = self._open(place)
            return self._opened[place]

    def _open(self, place: Location) -> ForeignObjects:
        if place.scheme == LOCAL:
            return LocalForeignObjects(place)
        from versioned_io.elsewhere.remote import open_foreign

        return open_foreign(place, self._options[place])
