"""Build the documentation site into ``build/site``; a warning, a broken link or a page without a place fails.

Pages stay at their place in the repository. Those in the navigation of ``mkdocs.yml`` are copied into ``build/docs``
under the same paths, so that links between them work. If a page links to a file or directory of the repository, a page
that shows it is generated. A comment ``<!-- generated: WHAT -->`` in a page is replaced by text from
the code. Where a page keeps such a text in the repository, it ends with ``<!-- generated: end -->``.

Usage: ``python -m scripts.build_docs [--update]``; ``make docs`` calls it. ``--update`` writes the texts that pages
keep, and builds nothing.
"""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from scripts import generated_docs

ROOT = Path(__file__).resolve().parent.parent
PAGES = ROOT / "build" / "docs"
SITE = ROOT / "build" / "site"
CONFIG = ROOT / "mkdocs.yml"
PICTURES = {".svg", ".png"}
LANGUAGES = {".py": "python", ".md": "markdown", ".yml": "yaml", ".toml": "toml", ".sh": "bash"}

_CODE = re.compile(r"^```.*?^```$|`[^`\n]+`", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"(?P<before>\]\(|\bsrc=\"|\bhref=\")(?P<target>[^)\s\"]+)")
_HIDDEN = re.compile(r"^<!-- run: hidden\b.*?\n-->\n+", re.MULTILINE | re.DOTALL)
_GENERATED = re.compile(r"^<!-- generated: (?P<what>[a-z]+) ?(?P<argument>[^\n]*?) -->$", re.MULTILINE)
_KEPT = re.compile(
    r"^(?P<comment><!-- generated: [^\n]* -->)\n.*?^(?P<end><!-- generated: end -->)$",
    re.MULTILINE | re.DOTALL,
)


class DocsError(Exception):
    """A page, a link or the navigation has a fault."""


def main() -> int:
    """Lay the pages out and build them."""
    if sys.argv[1:] == ["--update"]:
        for page in find_pages():
            update_kept(page)
        return 0
    try:
        lay_out()
    except DocsError as error:
        print(f"docs: {error}", file=sys.stderr)
        return 1
    shutil.rmtree(SITE, ignore_errors=True)
    command = [sys.executable, "-m", "zensical", "build", "--strict", "--clean", "--config-file", str(CONFIG)]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    output = result.stdout + result.stderr
    # The builder does not count the warnings of the docstring reader.
    if result.returncode or "griffe:" in output or "warning" in output.lower():
        print(output, file=sys.stderr)
        return 1
    print(f"docs: {sum(1 for _ in SITE.rglob('*.html'))} pages in {SITE.relative_to(ROOT)}")
    return 0


def lay_out() -> None:
    """Write ``build/docs`` from scratch.

    Raises:
        DocsError: A page has no place in the navigation, or a link leads nowhere.
    """
    shutil.rmtree(PAGES, ignore_errors=True)
    pages = list(read_navigation())
    without_place = sorted(set(find_pages()) - set(pages))
    if without_place:
        msg = f"not in the navigation of {CONFIG.name}: {', '.join(without_place)}"
        raise DocsError(msg)
    linked: dict[str, None] = {}
    for page in pages:
        if not (ROOT / page).is_file():
            msg = f"the navigation names {page}, which does not exist"
            raise DocsError(msg)
        text = fill_in(leave_out_hidden((ROOT / page).read_text(encoding="utf-8")), page)
        write(page, resolve_links(text, page, pages, linked))
    for source in linked:
        lay_out_source(source, pages)


def read_navigation() -> Iterator[str]:
    """Yield the pages that the navigation names, in its order."""
    with CONFIG.open(encoding="utf-8") as file:
        entries: list[Any] = yaml.safe_load(file)["nav"]
    while entries:
        entry = entries.pop(0)
        if isinstance(entry, str):
            yield entry
        else:
            entries[:0] = [page for value in entry.values() for page in (value if isinstance(value, list) else [value])]


def find_pages() -> Iterator[str]:
    """Yield every page of the repository that belongs on the site."""
    yield "README.md"
    for path in sorted((ROOT / "docs").rglob("*.md")):
        yield path.relative_to(ROOT).as_posix()


def leave_out_hidden(text: str) -> str:
    """Return the page without the blocks that only `scripts/run_page.py` runs."""
    return _HIDDEN.sub("", text)


def fill_in(text: str, page: str) -> str:
    """Return the page with text from the code in place of its ``generated`` comments.

    Raises:
        DocsError: Nothing of that name can be generated.
    """

    def generate(match: re.Match[str]) -> str:
        maker = generated_docs.MAKERS.get(match["what"])
        if maker is None:
            msg = f"{page} asks for {match['what']!r}; valid are {', '.join(generated_docs.MAKERS)}"
            raise DocsError(msg)
        return maker(match["argument"])

    return _GENERATED.sub(generate, _KEPT.sub(r"\g<comment>", text))


def update_kept(page: str) -> bool:
    """Write the generated texts that a page keeps in the repository; return whether any was out of date."""
    before = (ROOT / page).read_text(encoding="utf-8")
    after = _KEPT.sub(lambda kept: f"{kept['comment']}\n\n{fill_in(kept['comment'], page)}\n{kept['end']}", before)
    if after != before:
        (ROOT / page).write_text(after, encoding="utf-8")
    return after != before


def resolve_links(text: str, page: str, pages: list[str], linked: dict[str, None]) -> str:
    """Return the page with each link to a repository file changed to the page that shows it; collect these files.

    Raises:
        DocsError: The target of a link does not exist.
    """
    here = Path(page).parent

    def resolve(match: re.Match[str]) -> str:
        target, _, anchor = match["target"].partition("#")
        if not target or re.match(r"[a-z]+:", target):
            return match[0]
        path = Path(os.path.normpath(here / target)).as_posix()
        if path in pages:
            return match[0]
        if path.startswith("..") or not is_tracked(path):
            msg = f"{page} links to {match['target']}, which is not in the repository"
            raise DocsError(msg)
        if anchor:
            msg = f"{page} links to a place inside of {path}, which is not a page"
            raise DocsError(msg)
        linked[path] = None
        shown = path if Path(path).suffix in PICTURES else source_page(path)
        return f"{match['before']}{os.path.relpath(shown, here)}"

    parts, at = [], 0
    for code in _CODE.finditer(text):
        parts += [_LINK.sub(resolve, text[at : code.start()]), code[0]]
        at = code.end()
    return "".join([*parts, _LINK.sub(resolve, text[at:])])


def is_tracked(path: str) -> bool:
    """Return whether the repository has the file or directory; in an exported tree, whether it exists."""
    if not (ROOT / path).exists():
        return False
    if not (ROOT / ".git").exists():
        return True
    command = ["git", "-C", str(ROOT), "ls-files", "--cached", "--others", "--exclude-standard", "--", path]
    return bool(subprocess.run(command, capture_output=True, check=True).stdout)


def source_page(path: str) -> str:
    """Return the path of the page that shows a file or a directory."""
    return f"source/{path}.md"


def lay_out_source(path: str, pages: list[str]) -> None:
    """Write the page that shows a file, or the pages of a directory and of the files in it."""
    source = ROOT / path
    if source.suffix in PICTURES:
        (PAGES / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, PAGES / path)
    elif source.is_dir():
        entries = [entry for entry in sorted(source.iterdir()) if entry.name != "__pycache__"]
        for entry in entries:
            lay_out_source(f"{path}/{entry.name}", pages)
        listing = [f"- [{entry.name}]({source.name}/{entry.name}.md)" for entry in entries]
        write(source_page(path), "\n".join([f"# {path}", "", *listing, ""]))
    else:
        fence = f"````{LANGUAGES.get(source.suffix, 'text')}"
        write(source_page(path), f"# {path}\n\n{fence}\n{source.read_text(encoding='utf-8')}\n````\n")


def write(path: str, text: str) -> None:
    """Write a page into ``build/docs``."""
    target = PAGES / path
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
