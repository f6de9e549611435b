"""Staging files that stay where they are: objects elsewhere that the branch refers to."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

from versioned_io.chunks.references import take_pins
from versioned_io.chunks.refs import StoredFile
from versioned_io.chunks.writer import DataWriter
from versioned_io.elsewhere import Elsewhere, Pin
from versioned_io.elsewhere.location import Location
from versioned_io.errors import IllegalPathError, InvalidInputError, TransactionClosedError
from versioned_io.identifiers import Digest
from versioned_io.paths import parent_directories, parse_directory, parse_path
from versioned_io.snapshots.glob import parse_glob
from versioned_io.snapshots.values import FileInfo, FileKind, TransferProgress
from versioned_io.transactions.staged_runs import StagedRun
from versioned_io.transactions.staging import StagedFile, Staging

_NAMED: Final = 5


class InPlace:
    """What a staging of one branch does with objects elsewhere."""

    def __init__(self, writer: DataWriter, elsewhere: Elsewhere) -> None:
        self._writer = writer
        self._elsewhere = elsewhere
        self._open = True
        self.staging = Staging()

    def reference_tree(
        self,
        url: str | Path,
        to: str = "",
        *,
        glob: str | None = None,
        versions: bool = False,
        progress: Callable[[TransferProgress], None] | None = None,
    ) -> int:
        """Stage every object below *url*, under the directory *to*, without copying it, and return how many.

        The files are read from where they are, and only as they are now: each is pinned by its ETag, and a change is
        noticed when it is read. What was staged so before and is unchanged stays as it is: nothing is committed again.
        What *to* held and *url* does not is left as it is; delete it first where it is to go. What the ETag of a local
        file is, and what it can't tell: see `LocalForeignObjects`.

        Args:
            url: ``s3://bucket/prefix/``, ``gs://...``, ``az://...``, ``file:///directory/`` or a local directory; below
                one of the *sources* that the store was opened with.
            glob: Only objects whose paths below *url* match.
            versions: Pin the version too, in a bucket that keeps versions: then the file stays readable when the object
                is overwritten.
            progress: Called at the beginning, at the end, and in between for about every 4,096 parts.

        Raises:
            InvalidInputError: It is below none of those; or keys of objects are no paths here, or one would be a file
                and a directory, and the message names them; or nothing lies there; or the server gives no ETags.
                Nothing is staged then.
            StorageError: The server or disk failed, or the object store did.

        Cost: 1 LIST for every 1,000 objects, with *versions* 1 HEAD for each; 1 index look-up for every 4,096 parts of
            8 MiB, and some 250 bytes stored for each new one. About 100 us of CPU and 600 bytes of memory an object.
        """
        self._check_open("refer to a tree")
        target = parse_directory(to)
        location = self._elsewhere.locate(url)
        tree = _list_tree(self._elsewhere, location, target, glob)
        if versions:
            tree = tree.of(self._elsewhere.look_up_all(list(tree.pins.values())))
        total = sum(pin.size for pin in tree.pins.values())
        done_files = done_bytes = 0

        def on_taken(files: int, size_bytes: int) -> None:
            nonlocal done_files, done_bytes
            done_files, done_bytes = done_files + files, done_bytes + size_bytes
            if progress is not None:
                progress(TransferProgress(done_files, len(tree.pins), done_bytes, total))

        on_taken(0, 0)
        columns = take_pins(self._writer, tree.pins.values(), on_taken=on_taken)
        self.staging.write_run(StagedRun.of(list(tree.pins), columns))
        return len(tree.pins)

    def reference(self, url: str | Path, to: str, *, versions: bool = False) -> FileInfo:
        """Stage one object as the file *to*, without copying it; as `reference_tree`.

        Returns:
            What the file will be. Its digest is of what was pinned, not of the bytes: it differs from that of a copy.

        Raises:
            IllegalPathError: *to* breaks the path rules.
            InvalidInputError: There is no such object; or as for `reference_tree`.
            StorageError: The server or disk failed, or the object store did.

        Cost: 1 HEAD, 1 index look-up.
        """
        self._check_open("refer to a file")
        path = parse_path(to)
        location = self._elsewhere.locate(url)
        pin = self._elsewhere.look_up(location)
        if pin is None:
            msg = f"there is no object {location.url!r}: check the URL, and for all below it use reference_tree"
            raise InvalidInputError(msg)
        columns = take_pins(self._writer, [pin if versions else replace(pin, version=None)], on_taken=lambda *_: None)
        digest = bytes(columns.digests)
        self.staging.write(path, StagedFile(StoredFile(pin.size, digest, columns.several.get(0, digest)), None))
        return FileInfo(path, FileKind.FILE, pin.size, Digest(digest.hex()))

    def _check_open(self, action: str) -> None:
        if not self._open:
            raise TransactionClosedError(action)


@dataclass(frozen=True, slots=True)
class _Tree:
    """The objects below a prefix, by the path that each gets; sorted by path."""

    pins: dict[str, Pin] = field(default_factory=dict)

    def of(self, found: list[Pin]) -> "_Tree":
        """Return the same paths with the objects as they were found now.

        Raises:
            InvalidInputError: One is gone.
        """
        by_url = {pin.url: pin for pin in found}
        gone = [pin.url for pin in self.pins.values() if pin.url not in by_url]
        if gone:
            msg = f"{_named(gone)} vanished while it was being imported: nothing of this import is staged; import again"
            raise InvalidInputError(msg)
        return _Tree({path: by_url[pin.url] for path, pin in self.pins.items()})


def _list_tree(elsewhere: Elsewhere, location: Location, target: str, glob: str | None) -> _Tree:
    """Return the objects below *location* that match, with the paths that they get below *target*.

    Raises:
        InvalidInputError: Some keys are no paths, or are a file and a directory; or there is no object at all.
    """
    matcher = None if glob is None else parse_glob(glob)
    pins: dict[str, Pin] = {}
    wrong: list[str] = []
    is_any = False
    for pin in elsewhere.walk(location):
        is_any = True
        relative = location.relative(pin.url)
        if matcher is not None and not matcher.matches(relative):
            continue
        try:
            pins[_path_of(relative, target)] = pin
        except IllegalPathError as error:
            wrong.append(f"{pin.url!r} ({error.args[1]})")
    if not is_any:
        msg = f"there is nothing below {location.url!r}: check the URL"
        raise InvalidInputError(msg)
    if wrong:
        msg = f"these can't be paths here: {_named(wrong)}; rename them, or leave them out with a glob"
        raise InvalidInputError(msg)
    _refuse_collisions(pins)
    return _Tree(dict(sorted(pins.items())))


def _path_of(relative: str, target: str) -> str:
    if relative.startswith("/"):
        raise IllegalPathError(relative, "a part between slashes can't be empty, '.' or '..'")
    return parse_path(f"{target}/{relative}" if target else relative)


def _refuse_collisions(pins: dict[str, Pin]) -> None:
    known: set[str] = set()
    both: list[str] = []
    for path, pin in pins.items():
        for directory in reversed(parent_directories(path)):
            if directory in known:
                break
            known.add(directory)
            if directory in pins:
                both.append(f"{pins[directory].url!r} and {pin.url!r}")
    if both:
        msg = (
            f"these would be a file and a directory of one name: {_named(both)}; "
            f"rename them, or leave one out with a glob"
        )
        raise InvalidInputError(msg)


def _named(names: list[str]) -> str:
    shown = ", ".join(sorted(names)[:_NAMED])
    return shown + (f" and {len(names) - _NAMED} more" if len(names) > _NAMED else "")
