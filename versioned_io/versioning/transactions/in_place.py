"""Staging files in place: objects elsewhere that the branch refers to without a copy."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

from versioned_io.errors import IllegalPathError, InvalidInputError
from versioned_io.model.identifiers import Digest
from versioned_io.model.paths import parent_directories, parse_directory, parse_path
from versioned_io.storage.chunks.chunk_columns import TakenFile
from versioned_io.storage.chunks.intake import take_pins
from versioned_io.storage.elsewhere import Elsewhere, Pin
from versioned_io.storage.elsewhere.location import Location
from versioned_io.versioning.snapshots.file_info import FileInfo, FileKind, TransferProgress
from versioned_io.versioning.transactions.branch_draft import BranchDraft
from versioned_io.versioning.transactions.staged_runs import StagedRun
from versioned_io.versioning.transactions.staging import StagedFile

_NAMED: Final = 5


class InPlace:
    """Stages references to objects elsewhere as files of a branch."""

    def __init__(self, draft: BranchDraft, elsewhere: Elsewhere) -> None:
        self._draft = draft
        self._elsewhere = elsewhere

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

        The files are read from where they are. Each is pinned by its ETag, so a read notices that the object has
        changed. A second import of unchanged objects commits nothing. Other files below *to* stay; delete *to* first to
        remove them. `LocalForeignObjects` documents the ETag of a local file, and its limits.

        >>> from pathlib import Path
        >>> Path("archive").mkdir()
        >>> _ = Path("archive/01.csv").write_text("date,rain")
        >>> with vio.create_store("memory://archive", sources={"archive": {}}) as referring:
        ...     _ = referring.create_repo("weather")
        ...     with referring.transaction("weather@main") as tx:
        ...         tx.reference_tree("archive", to="2011")
        1

        Args:
            url: ``s3://bucket/prefix/``, ``gs://...``, ``az://...``, ``file:///directory/`` or a local directory. It
                must lie below one of the *sources* that the store was opened with.
            glob: Only objects whose paths below *url* match.
            versions: Also pin the version, in a bucket that keeps versions. The file then stays readable when the
                object is overwritten.
            progress: Called at the beginning, at the end, and in between for about every 4,096 parts.

        Raises:
            InvalidInputError: *url* is below none of the *sources*, there is no object, or the server gives no ETags.
                Or keys of objects are not valid paths, or would be a file and a directory; the message names them.
                Nothing is staged.
            StorageError: The server, the disk or the object store failed. Try again.

        Cost: 1 LIST for every 1,000 objects; with *versions* also 1 HEAD for each. Every 4,096 parts of 8 MiB take 1
            index look-up. Each new part stores about 250 bytes. About 100 us of CPU and 600 bytes of memory an object.
        """
        self._draft.check_open("refer to a tree")
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
        columns = take_pins(self._draft.intake.placer, tree.pins.values(), on_taken=on_taken)
        self._draft.staging.write_run(StagedRun.of(list(tree.pins), columns))
        return len(tree.pins)

    def reference(self, url: str | Path, to: str, *, versions: bool = False) -> FileInfo:
        """Stage one object as the file *to*, without copying it; as `reference_tree`.

        >>> from pathlib import Path
        >>> _ = Path("01.csv").write_text("date,rain")
        >>> with vio.create_store("memory://referring", sources={".": {}}) as referring:
        ...     _ = referring.create_repo("weather")
        ...     with referring.transaction("weather@main") as tx:
        ...         tx.reference("01.csv", to="2011/01.csv").size
        9

        Returns:
            The staged file. Its digest is that of the pinned reference, not of the bytes, so it differs from that of
            a copy.

        Raises:
            IllegalPathError: *to* breaks the path rules.
            InvalidInputError: There is no such object; or as for `reference_tree`.
            StorageError: The server or disk failed, or the object store did.

        Cost: 1 HEAD, 1 index look-up.
        """
        self._draft.check_open("refer to a file")
        path = parse_path(to)
        location = self._elsewhere.locate(url)
        pin = self._elsewhere.look_up(location)
        if pin is None:
            msg = f"there is no object {location.url!r}: check the URL, or use reference_tree for everything below it"
            raise InvalidInputError(msg)
        columns = take_pins(
            self._draft.intake.placer, [pin if versions else replace(pin, version=None)], on_taken=lambda *_: None
        )
        digest = bytes(columns.digests)
        self._draft.staging.write(path, StagedFile(TakenFile(pin.size, digest, columns.several.get(0, digest)), None))
        return FileInfo(path, FileKind.FILE, pin.size, Digest(digest.hex()))


@dataclass(frozen=True, slots=True)
class _Tree:
    """The objects below a prefix, by their paths in the tree; sorted by path."""

    pins: dict[str, Pin] = field(default_factory=dict)

    def of(self, found: list[Pin]) -> "_Tree":
        """Return the same paths with the objects *found* in a second look-up.

        Raises:
            InvalidInputError: An object has vanished. Import again.
        """
        by_url = {pin.url: pin for pin in found}
        gone = [pin.url for pin in self.pins.values() if pin.url not in by_url]
        if gone:
            msg = f"{_named(gone)} vanished while it was being imported: nothing of this import is staged; import again"
            raise InvalidInputError(msg)
        return _Tree({path: by_url[pin.url] for path, pin in self.pins.items()})


def _list_tree(elsewhere: Elsewhere, location: Location, target: str, glob: str | None) -> _Tree:
    """Return the matching objects below *location*, with their paths below *target*.

    Raises:
        InvalidInputError: Keys can't be paths, or collide as a file and a directory, or there is no object.
    """
    from versioned_io.versioning.snapshots.glob import parse_glob

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
