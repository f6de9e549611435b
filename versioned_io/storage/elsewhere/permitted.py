"""The places elsewhere that may be read, and reads of the objects there."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final, TypeVar

from versioned_io.errors import InvalidInputError, NotFoundError
from versioned_io.errors.root import quoted
from versioned_io.model.arguments import check_mapping
from versioned_io.platform.process import new_lock
from versioned_io.storage.elsewhere.local import LocalForeignObjects
from versioned_io.storage.elsewhere.location import LOCAL, Location, parse_location, refuse_query
from versioned_io.storage.elsewhere.parts import Part, Pin
from versioned_io.storage.elsewhere.port import ForeignObjects

_PARALLEL_REQUESTS: Final = 8
_T = TypeVar("_T")
_R = TypeVar("_R")


class Elsewhere:
    """The objects outside of the store that its caller permits it to read.

    The references in a store are data, perhaps made by somebody else. They must not make a process open files or
    buckets, with its own rights, that its caller did not name. Thread-safe.

    Args:
        sources: Storage options by place: ``s3://bucket/prefix/``, ``gs://...``, ``az://...``, ``file:///directory/``
            or a local path. Everything below a place may be read, by whole parts of the path. If several places match,
            the options of the longest are used. None permits no place.

    Raises:
        InvalidInputError: A place or an option is not valid. The message repeats no value of an option.
    """

    def __init__(self, sources: Mapping[str, Mapping[str, str]] | None = None) -> None:
        self._options: dict[Location, Mapping[str, str]] = {}
        self._opened: dict[Location, ForeignObjects] = {}
        self._lock = new_lock()
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
        """Parse the URL of an object, and check that it may be read.

        Raises:
            InvalidInputError: The URL is not valid, or no permitted place is above it. The message says what to pass.
        """
        refuse_query(url)
        location = parse_location(url)
        self._place_of(location)
        return location

    def walk(self, location: Location) -> Iterator[Pin]:
        """Yield every object below *location* as it is now, without versions, in no order; see `ForeignObjects.list`.

        Raises:
            InvalidInputError: No permitted place is above it; or as for `ForeignObjects.list`.
            StorageError: The server or disk failed. Try again.

        Cost: 1 LIST for every 1,000 objects.
        """
        return self._objects_at(location).list(location)

    def look_up(self, location: Location) -> Pin | None:
        """Return the present object at *location*, with its version if the bucket keeps versions, or None.

        Raises:
            InvalidInputError, StorageError: As for `walk`.

        Cost: 1 HEAD.
        """
        return self._objects_at(location).look_up(location)

    def look_up_all(self, pins: Sequence[Pin]) -> list[Pin]:
        """Return the present objects of *pins*, with their versions, in order. Missing objects are left out.

        Cost: 1 HEAD each, several at once.
        """
        found = self._together(lambda pin: self.look_up(parse_location(pin.url)), pins)
        return [pin for pin in found if pin is not None]

    def read(self, parts: Sequence[Part]) -> list[memoryview]:
        """Return the bytes of *parts*, in order, if their objects are still as they were pinned.

        Raises:
            InvalidInputError: A part is in no permitted place. The message says what to pass to `open_store`.
            ReferenceBrokenError: An object is missing or has changed. Import it again.
            StorageError: A server or disk failed. Try again.

        Cost: 1 GET for each part; up to 8 at once if one is remote.
        """
        return self._together(self._read, parts)

    def check(self, pins: Sequence[Pin], on_failure: Callable[[Pin, Exception], None]) -> None:
        """Check for each object of *pins* whether it is still as it was pinned.

        Args:
            on_failure: Called with the error, in the caller's thread, for each pin that is broken or may not be read.

        Raises:
            StorageError: A server or disk failed, so the check has no result. Try again.

        Cost: 1 HEAD for each pin, several at once.
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
            from versioned_io.storage.objects.clients import (
                parse_options,  # takes 0.1 s, which a store without buckets need not spend
            )

            parse_options(place.scheme, options)
        self._options[place] = dict(options)

    def _place_of(self, location: Location) -> Location:
        fitting = [place for place in self._options if place.contains(location)]
        if not fitting:
            example = location.parent.url if location.key else location.url
            place = example if example.endswith("/") else f"{example}/"
            msg = (
                f"{quoted(location.url)} may not be read without permission: "
                f"open the store with sources={{{place!r}: {{}}}} and its storage options, "
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
        from versioned_io.storage.elsewhere.remote import open_foreign

        return open_foreign(place, self._options[place])
