"""Tables and lines look alike, whether rich prints them or we do."""

import io
import os
import pty
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from versioned_io.interfaces.cli import output

CELLS = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), max_size=12)


@st.composite
def tables(draw):
    width = draw(st.integers(1, 5))
    named = st.lists(CELLS.filter(bool), min_size=width, max_size=width).map(tuple)
    row = st.lists(CELLS, min_size=width, max_size=width).map(tuple)
    return draw(named), draw(st.lists(row, max_size=4))


@settings(max_examples=200)
@given(tables())
def test_a_narrow_table_is_printed_as_rich_prints_it(table):
    headings, rows = table
    assert printed(lambda: output.print_table(headings, rows)) == printed(
        lambda: output._print_folded([headings, *rows])
    )


LONG = ("a" * 200, "\u8868" * 120, "b c " * 40 + "end")


def test_a_table_that_is_no_terminal_s_has_one_line_for_each_row_however_long(monkeypatch):
    monkeypatch.setenv("COLUMNS", "40")
    monkeypatch.setenv("FORCE_COLOR", "1")  # rich takes any stream for a terminal then
    lines = printed(lambda: output.print_table(("one", "two", "three"), [LONG, ("1", "2", "3")])).splitlines()
    assert [line.rstrip().split("  ")[-1].strip() for line in lines] == ["three", LONG[2], "3"]
    assert lines[1].startswith(f"{LONG[0]}  {LONG[1]}  ")


def test_a_table_that_does_not_fit_a_terminal_is_folded(monkeypatch):
    monkeypatch.setenv("COLUMNS", "30")
    text = printed(lambda: output.print_table(("name", "what"), [("a" * 20, "b" * 20)]), is_terminal=True)
    assert len(text.splitlines()) > 2
    assert max(map(len, re.sub(r"\x1b\[[0-9;]*m", "", text).splitlines())) <= 30


def test_a_table_with_wide_letters_is_measured_in_columns():
    text = printed(lambda: output.print_table(("name", "size"), [("\u8868", "1 B"), ("ab", "2 B")]))
    assert text.splitlines()[1:] == ["\u8868    1 B ", "ab    2 B "]


@pytest.mark.parametrize(("term", "start"), [("xterm-256color", b"\x1b[1mweather@main #1\x1b[0m 01a2"), ("dumb", b"w")])
def test_a_heading_is_bold_on_a_terminal_that_knows_it(term, start, monkeypatch):
    monkeypatch.setenv("TERM", term)
    leader, follower = pty.openpty()
    with open(leader, "rb", buffering=0) as seen, open(follower, "w") as terminal:  # noqa: PTH123 (descriptors)
        monkeypatch.setattr("sys.stdout", terminal)
        output.print_line("01a2", heading="weather@main #1")
        terminal.flush()
        assert os.read(seen.fileno(), 100).startswith(start)


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self):
        return True


def printed(call, *, is_terminal=False):
    """Return what *call* prints."""
    with pytest.MonkeyPatch.context() as patch:
        stream = Terminal() if is_terminal else io.StringIO()
        patch.setattr("sys.stdout", stream)
        patch.setattr(output, "console", lambda: Console(file=stream, highlight=False))
        call()
        return stream.getvalue()
