"""What the package index shows of this project: addresses from one setting, and a README whose links lead somewhere.

The setting is ``[tool.versioned-io] home`` in pyproject.toml. ``make release`` refuses its placeholder.
"""

import re
import tomllib
from pathlib import Path
from typing import Any

from hatchling.metadata.plugin.interface import MetadataHookInterface

_LINK = re.compile(r"(!?)\[((?:[^\[\]]|\[[^\]]*\])*)\]\((?!\w+:|#|//)([^)\s]+)\)")


class ProjectPages(MetadataHookInterface):
    """Adds the addresses and the README to the metadata of a build."""

    def update(self, metadata: dict[str, Any]) -> None:
        """Set ``urls`` and ``readme``."""
        root = Path(self.root)
        home = tomllib.loads((root / "pyproject.toml").read_text())["tool"]["versioned-io"]["home"]
        tag = f"v{version(root)}"
        metadata["urls"] = addresses(home)
        text = absolute_links((root / "README.md").read_text(), home, tag)
        metadata["readme"] = {"content-type": "text/markdown", "text": text}


def version(root: Path) -> str:
    """Return the version of this tree, from the one place that states it."""
    (found,) = re.findall(r'^__version__ = "(.+)"$', (root / "versioned_io" / "__init__.py").read_text(), re.MULTILINE)
    return str(found)


def addresses(home: str) -> dict[str, str]:
    """Return the project's pages on its public host."""
    return {
        "Homepage": home,
        "Documentation": f"{home}/blob/main/docs",
        "Source": home,
        "Issues": f"{home}/issues",
        "Changelog": f"{home}/blob/main/CHANGELOG.md",
    }


def absolute_links(text: str, home: str, tag: str) -> str:
    """Return *text* with each relative link or image leading to the file of that tag on the public host."""
    return _LINK.sub(
        lambda link: f"{link[1]}[{link[2]}]({home}/{'raw' if link[1] else 'blob'}/{tag}/{link[3].removeprefix('./')})",
        text,
    )
