"""A local file or directory, given as a `pathlib.Path`, stored as what it points at."""

import json
from dataclasses import dataclass
from pathlib import Path

from versioned_io.errors import InvalidInputError
from versioned_io.formats.registry import Encoded, StoredFile, Unfit, WantedTypes

TREE = "tree"


@dataclass(frozen=True, slots=True)
class TreeFormat:
    """The files go below the object's path under their own names; a small file beside them says what they are."""

    name: str = TREE
    version: int = 1
    extension: str = ".tree.json"
    family: str = TREE

    def claims(self, obj: object) -> bool:
        """Return whether it is a path of this machine's file system."""
        return isinstance(obj, Path)

    def encode(self, obj: object) -> Encoded | Unfit:
        """Return a note of which of the two it is; the files are stored as they are, without empty directories.

        Raises:
            InvalidInputError: There is nothing at the path; make it first, or store its text.
        """
        if not isinstance(obj, Path):
            return Unfit("it is not a path")
        if obj.is_dir():
            return _encoded({"shape": "directory"}, obj)
        if obj.is_file():
            return _encoded({"shape": "file", "file_name": obj.name}, obj)
        msg = (
            f"there is nothing at the path {str(obj)!r}: a pathlib.Path is stored as its file or directory; "
            f"create it, or return str(path) to store the text"
        )
        raise InvalidInputError(msg)

    def decode(self, file: StoredFile, wanted: WantedTypes) -> object:  # noqa: ARG002 - one representation
        """Return where the file or directory was put."""
        if file.tree is None:
            msg = f"{file.path!r} holds a local file or directory: pass directory= to say where to put it"
            raise InvalidInputError(msg)
        return file.tree / file.attributes["file_name"] if file.attributes["shape"] == "file" else file.tree


def _encoded(description: dict[str, str], tree: Path) -> Encoded:
    return Encoded(json.dumps(description, ensure_ascii=False).encode(), description, tree=tree)
