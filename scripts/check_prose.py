"""Check the prose of documents, docstrings, comments and messages against the rules in `prose_rules.py`.

A finding fails the check unless `prose_exceptions.toml` excuses it with a reason, or `prose_budget.toml` still allows
that many findings of the rule in the file. The budget only falls: ``--lower`` rewrites it with the present counts. It
refuses when a rule has more findings in total than the budget allows. So a file can be moved, and no finding is added.

Usage: ``python scripts/check_prose.py [--all | --lower] [PATH ...]``
"""

import argparse
import ast
import re
import sys
import textwrap
import tomllib
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from prose_rules import RULES, Rule, Sentence

ROOT = Path(__file__).resolve().parent.parent
TREES = (
    "versioned_io",
    "dagster_versioned",
    "airflow_versioned",
    "devservers",
    "benchmarks",
    "example_projects",
    "scripts",
    "docs",
)
BUDGET = Path("scripts/prose_budget.toml")
EXCEPTIONS = Path("scripts/prose_exceptions.toml")
MESSAGE_WORDS = 3
"""A string of fewer words is a name, a key or a format, not a message."""


@dataclass(frozen=True, slots=True)
class Finding:
    """Words that break a rule, and where they stand."""

    path: str
    line: int
    rule: Rule
    words: str

    def __str__(self) -> str:
        """Return the finding as one line that an editor can jump to."""
        return f"{self.path}:{self.line}: {self.rule.id}: {self.words}"


@dataclass(frozen=True, slots=True)
class Exemption:
    """A reasoned exception: in files that match *path*, words that match *words* don't break *rule*."""

    path: str
    rule: str
    words: re.Pattern[str]

    def covers(self, finding: Finding) -> bool:
        """Return whether this exemption excuses *finding*."""
        return (
            self.rule in {finding.rule.id, "*"}
            and Path(finding.path).match(self.path)
            and self.words.search(finding.words) is not None
        )


_WITHOUT_STRINGS = (ast.Name, ast.expr_context, ast.operator, ast.cmpop, ast.boolop, ast.unaryop, ast.alias)

# --- from files to sentences --------------------------------------------------------------------------------------

_FENCE = re.compile(r"^\s*(?:```|~~~)")
_ITEM = re.compile(r"^\s*(?:[-*+]|\d+\.)\s+|^\s*>\s?")
_SENTENCE_END = re.compile(r"(?<=[.!?])[)\"'*_]*\s+(?=[(\"'*_`]*[A-Z`])")
_ABBREVIATION = re.compile(r"\b(?:e\.g|i\.e|etc|vs|cf)\.$")
_SECTION = re.compile(r"^\s*(?:Args|Returns|Yields|Raises|Attributes|Example|Examples|Note|Cost|Source):\s*")
_ENTRY = re.compile(r"^\s+\*{0,2}[\w.|]+:\s")


def plain(text: str) -> str:
    """Return Markdown or reStructuredText without its marks; a piece of code is one word."""
    text = re.sub(r"!?\[([^\]]*)\]\([^)]*\)", r"\1", text)
    text = re.sub(r"``[^`]+``|`[^`]+`", "`code`", text)
    return re.sub(r"<[^>\s][^>]*>", "", text).replace("**", "")


def sentences(block: str, line: int, kind: str) -> Iterator[Sentence]:
    """Yield the sentences of *block*, which begins at *line*."""
    start = 0
    text = plain(block)
    for end in [*(match.end() for match in _SENTENCE_END.finditer(text)), len(text)]:
        piece = text[start:end]
        if _ABBREVIATION.search(piece.rstrip()):
            continue
        if words := " ".join(piece.split()):
            yield Sentence(words, line + text.count("\n", 0, start + len(piece) - len(piece.lstrip())), kind)
        start = end


def blocks(lines: Iterable[tuple[int, str]]) -> Iterator[tuple[int, str]]:
    """Yield runs of lines that are not separated by an empty line, each with the number of its first line."""
    start, block = 0, list[str]()
    for number, line in [*lines, (0, "")]:
        if line.strip():
            start = start if block else number
            block.append(line)
        elif block:
            yield start, "\n".join(block)
            block = []


def markdown_sentences(text: str) -> Iterator[Sentence]:
    """Yield the sentences of a Markdown file: paragraphs, list items and table cells, without code and headings."""
    for start, block in blocks(markdown_lines(text)):
        yield from sentences(block, start, "markdown")


def markdown_lines(text: str) -> Iterator[tuple[int, str]]:
    """Yield numbered lines of prose; an empty line stands between any two blocks."""
    text = re.sub(r"<!--.*?-->", lambda comment: "\n" * comment[0].count("\n"), text, flags=re.DOTALL)
    fenced = False
    lines = text.splitlines()
    for number, line in enumerate(lines, 1):
        if _FENCE.match(line):
            fenced = not fenced
            yield number, ""
        elif fenced or line.startswith("#") or re.match(r"^\s*(?:-{3,}|===|!!!|:::)", line):
            yield number, ""
        elif line.lstrip().startswith("|"):
            yield from cells(line, number, lines[number : number + 1])
        elif item := _ITEM.match(line):
            yield number, ""
            yield number, line[item.end() :]
        else:
            yield number, line


def cells(line: str, number: int, following: list[str]) -> Iterator[tuple[int, str]]:
    """Yield each cell of a table's row as a block; the row above the rule holds headings, which are not sentences."""
    yield number, ""
    if not any(re.match(r"^\s*\|\s*:?-{3}", row) for row in (line, *following)):
        for cell in re.split(r"(?<!\\)\|", line):
            yield number, cell
            yield number, ""


def python_sentences(text: str) -> Iterator[Sentence]:
    """Yield the sentences of a Python file: docstrings, comments and strings that read as messages."""
    strings = list(string_nodes(ast.parse(text)))
    for node, kind in strings:
        yield from string_sentences(node, kind)
    for start, block in blocks(comment_lines(text, [node for node, _ in strings])):
        yield from sentences(block, start, "comment")


def string_nodes(tree: ast.Module) -> Iterator[tuple[ast.expr, str]]:
    """Yield each string of a module and its kind: a docstring, one that begins with a summary, or a message."""
    pending: list[tuple[ast.AST, str]] = [(tree, "docstring")]
    while pending:
        node, kind = pending.pop()
        if isinstance(node, ast.JoinedStr | ast.Constant):
            if isinstance(node, ast.JoinedStr) or isinstance(node.value, str):
                yield node, kind
            continue
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            pending.append((node.value, kind))
            continue
        below = "summary" if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) else "docstring"
        for field in node._fields:
            value = getattr(node, field, None)
            for child in value if isinstance(value, list) else (value,):
                if isinstance(child, ast.stmt):
                    pending.append((child, below))
                elif isinstance(child, ast.AST) and not isinstance(child, _WITHOUT_STRINGS):
                    pending.append((child, "message"))


def string_sentences(node: ast.expr, kind: str) -> Iterator[Sentence]:
    """Yield the sentences of a docstring, or of a message in which each value is one word."""
    if kind != "message":
        yield from docstring_sentences(str(ast.literal_eval(node)), node.lineno, kind)
        return
    parts = node.values if isinstance(node, ast.JoinedStr) else [node]
    text = "".join(str(part.value) if isinstance(part, ast.Constant) else "`x`" for part in parts)
    if len(re.findall(r"(?<!\S)[\w'`-]+[,.:;]?(?!\S)", text)) >= MESSAGE_WORDS:
        yield from sentences(text, node.lineno, "message")


def docstring_sentences(text: str, line: int, kind: str) -> Iterator[Sentence]:
    """Yield the sentences of a docstring, section by section and entry by entry, without examples."""
    for index, (start, block) in enumerate(blocks(docstring_lines(text, line))):
        for position, sentence in enumerate(sentences(block, start, "docstring")):
            first = index == 0 and position == 0
            yield Sentence(sentence.text, sentence.line, kind) if first else sentence


def docstring_lines(text: str, line: int) -> Iterator[tuple[int, str]]:
    """Yield numbered lines of a docstring's prose; an empty line stands between any two blocks."""
    example = False
    lines = text.splitlines()
    for number, content in enumerate(lines, line):
        if content.lstrip().startswith("|"):
            yield from cells(content, number, lines[number - line + 1 : number - line + 2])
            continue
        example = bool(content.strip()) and (example or content.lstrip().startswith(">>>"))
        heading = _SECTION.match(content) or _ENTRY.match(content) or _ITEM.match(content)
        if heading:
            yield number, ""
        yield number, "" if example else content[heading.end() :] if heading else content


def comment_lines(text: str, strings: list[ast.expr]) -> Iterator[tuple[int, str]]:
    """Yield numbered lines of comments; an empty line stands between any two that don't follow each other."""
    inside = [(node.lineno, node.col_offset, node.end_lineno or 0, node.end_col_offset or 0) for node in strings]
    previous = 0
    for number, line in enumerate(text.splitlines(), 1):
        for match in re.finditer("#", line):
            place = (number, len(line[: match.start()].encode()))
            if any(span[:2] <= place < span[2:] for span in inside):
                continue
            own_line = not line[: match.start()].strip()
            if previous != number - 1 or not own_line:
                yield number, ""
            comment = line[match.end() :].strip()
            yield number, "" if re.match(r"noqa|type:|pragma|---|!", comment) else comment.rstrip("- ")
            previous = number if own_line else 0
            break


# --- from sentences to a verdict ----------------------------------------------------------------------------------


def prose_files(root: Path) -> list[Path]:
    """Return every Markdown and Python file that the rules hold for, sorted."""
    found = list(root.glob("*.md"))
    for tree in TREES:
        found += [path for path in (root / tree).rglob("*") if path.suffix in {".md", ".py"}]
    return sorted(path for path in found if "__pycache__" not in path.parts)


def find(root: Path, paths: Iterable[Path], exemptions: list[Exemption]) -> Iterator[Finding]:
    """Yield every finding in *paths* that no exemption covers."""
    for path in paths:
        text = path.read_text(encoding="utf-8")
        read = markdown_sentences if path.suffix == ".md" else python_sentences
        name = path.relative_to(root).as_posix()
        found = [
            Finding(name, sentence.line, rule, words)
            for sentence in read(text)
            for rule in RULES
            for words in rule.matches(sentence)
        ]
        found.sort(key=lambda finding: finding.line)
        yield from (finding for finding in found if not any(one.covers(finding) for one in exemptions))


def read_exemptions(path: Path) -> list[Exemption]:
    """Return the exemptions of a file.

    Raises:
        ValueError: One of them has no reason. Write it down.
    """
    if not path.exists():
        return []
    exemptions = []
    for entry in tomllib.loads(path.read_text())["exception"]:
        if not entry.get("reason"):
            msg = f"{path.name}: the exception for {entry.get('rule')!r} in {entry.get('path')!r} has no reason"
            raise ValueError(msg)
        exemptions.append(Exemption(entry["path"], entry["rule"], re.compile(entry.get("words", ""), re.IGNORECASE)))
    return exemptions


def read_budget(path: Path) -> Counter[tuple[str, str]]:
    """Return how many findings of a rule each file may still have, by path and rule."""
    tables = tomllib.loads(path.read_text()) if path.exists() else {}
    return Counter({(name, rule): count for name, rules in tables.items() for rule, count in rules.items()})


def write_budget(path: Path, counts: Counter[tuple[str, str]]) -> None:
    """Write *counts* as a budget: a line for each file, so that changes to two files don't conflict."""
    lines = ["# Findings that are still to be worked off. Only `scripts/check_prose.py --lower` writes this file."]
    for name in sorted({name for name, _ in counts}):
        rules = ", ".join(
            f"{rule} = {count}" for (file, rule), count in sorted(counts.items()) if file == name and count
        )
        lines.append(f'"{name}" = {{ {rules} }}')
    path.write_text("\n".join(lines) + "\n")


def check(findings: list[Finding], budget: Counter[tuple[str, str]]) -> list[Finding]:
    """Return the findings of each file and rule that exceed the budget.

    Which of them are the new ones can't be known, so all of that file and rule are returned.
    """
    counts = Counter((finding.path, finding.rule.id) for finding in findings)
    return [one for one in findings if counts[one.path, one.rule.id] > budget[one.path, one.rule.id]]


def lower(findings: list[Finding], budget: Counter[tuple[str, str]], path: Path) -> list[str]:
    """Write the present counts as the budget, or return the rules that have more findings than before."""
    counts = Counter((finding.path, finding.rule.id) for finding in findings)
    before, after = (Counter(rule for _, rule in table.elements()) for table in (budget, counts))
    risen = [f"{rule}: {after[rule]} findings, {before[rule]} allowed" for rule in after if after[rule] > before[rule]]
    if not risen:
        write_budget(path, counts)
    return risen


def main(arguments: list[str], root: Path = ROOT) -> int:
    """Return 0 when nothing exceeds the budget, having printed every finding that does."""
    parser = argparse.ArgumentParser(description="Check the prose of this project.")
    parser.add_argument("paths", nargs="*", type=Path, help="files to check; all by default")
    parser.add_argument("--all", action="store_true", help="print also the findings that the budget allows")
    parser.add_argument("--lower", action="store_true", help="write the present counts as the new budget")
    options = parser.parse_args(arguments)
    paths = [path.resolve() for path in options.paths] or prose_files(root)
    findings = list(find(root, paths, read_exemptions(root / EXCEPTIONS)))
    budget = read_budget(root / BUDGET)
    if options.lower:
        return report_lowering(lower(findings, budget, root / BUDGET))
    shown = findings if options.all else check(findings, budget)
    for finding in shown:
        print(finding)
    for rule in RULES:
        if any(finding.rule is rule for finding in shown):
            print(
                textwrap.fill(
                    f"{rule.id}: {rule.advice}. Not {rule.wrong!r}, but {rule.right!r}", 120, subsequent_indent="  "
                )
            )
    return 1 if shown else 0


def report_lowering(risen: list[str]) -> int:
    """Print the rules that kept the budget from being lowered; return 1 if there is one."""
    for line in risen:
        print(f"the budget only falls: {line}")
    return 1 if risen else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
