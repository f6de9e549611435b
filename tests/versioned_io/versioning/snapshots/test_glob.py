"""Path patterns, beside a matcher that is slow and plain."""

import functools
import re

import pyarrow as pa
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from versioned_io.errors import InvalidInputError
from versioned_io.versioning.snapshots.glob import parse_glob


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    """A snapshot with every path of two parts over a small alphabet, and some deeper ones."""
    import versioned_io as vio

    letters = ["a", "b", "ab", "a-b", "[", "{", "*", "ü", "A"]
    paths = [f"{one}.d/{two}" for one in letters for two in letters]
    paths += [
        *letters,
        "a.d/x/y/z",
        "b.d/x/y/z",
        "2012/01.csv",
        "2012/02.csv",
        "2013/01.csv",
        "2013/01.txt",
        "a.b",
        "axb",
    ]
    with vio.create_store(tmp_path_factory.mktemp("glob") / "s") as store:
        store.create_repo("r")
        with store.transaction("r@main") as tx:
            for path in paths:
                tx.write(path, b"")
        yield store.snapshot("r@main"), sorted(paths)


def found(snapshot, pattern):
    return [file.path for file in snapshot.glob(pattern)]


@pytest.mark.parametrize(
    ("pattern", "paths"),
    [
        ("2012/01.csv", ["2012/01.csv"]),
        ("/2012/01.csv", ["2012/01.csv"]),
        ("*/*.csv", ["2012/01.csv", "2012/02.csv", "2013/01.csv"]),
        ("/*/01.*", ["2012/01.csv", "2013/01.csv", "2013/01.txt"]),
        ("**/z", ["a.d/x/y/z", "b.d/x/y/z"]),
        ("a.d/**/z", ["a.d/x/y/z"]),
        ("a.d/x/**", ["a.d/x/y/z"]),
        ("a.d/x/**/y/z", ["a.d/x/y/z"]),
        ("**/a.b", ["a.b"]),
        ("a.b", ["a.b"]),
        ("a?b", ["a-b", "a.b", "axb"]),
        ("[ab]", ["a", "b"]),
        ("[!ab]", ["*", "A", "[", "{", "ü"]),
        ("[a-b]", ["a", "b"]),
        ("[[]", ["["]),
        ("[*]", ["*"]),
        ("[{]", ["{"]),
        ("201{2,3}/01.csv", ["2012/01.csv", "2013/01.csv"]),
        ("{2012/02,2013/01}.{csv,txt}", ["2012/02.csv", "2013/01.csv", "2013/01.txt"]),
        ("{a,{b,a-}b}", ["a", "a-b"]),
        ("{a,}b", ["ab", "b"]),
        ("ü", ["ü"]),
        ("?.d/ü", ["*.d/ü", "A.d/ü", "[.d/ü", "a.d/ü", "b.d/ü", "{.d/ü", "ü.d/ü"]),
        ("nothing", []),
        ("2012", []),
        ("2012[!x]01.csv", []),
        ("2012?01.csv", []),
        ("2012/", []),
        ("*/x", []),
        ("a.d/x/*", []),
    ],
)
def test_a_pattern_finds(tree, pattern, paths):
    snapshot, _ = tree
    assert found(snapshot, pattern) == paths


@pytest.mark.parametrize(
    ("pattern", "why"),
    [
        ("", "is empty"),
        ("/", "is empty"),
        ("a[b", r"'\[' that is not closed"),
        ("a[]", r"'\[' that is not closed"),
        ("[!]", r"'\[' that is not closed"),
        ("{a,b", "'{' that is not closed: close it, or write"),
        ("{a,{b}", "'{' that is not closed"),
        ("[z-a]", "is malformed"),
    ],
)
def test_a_malformed_pattern_is_refused(tree, pattern, why):
    snapshot, _ = tree
    with pytest.raises(InvalidInputError, match=why) as caught:
        found(snapshot, pattern)
    assert repr(pattern) in str(caught.value)


def closing(pattern, opened, closed):
    """Return what stands in the bracket that *pattern* begins with, and what after it."""
    depth = 0
    for at, character in enumerate(pattern):
        depth += (character in opened) - (character in closed)
        if not depth:
            return pattern[1:at], pattern[at + 1 :]
    raise AssertionError(pattern)


def alternatives(inside, separator):
    """Return the alternatives at the outermost level of a bracket."""
    found, depth = [""], 0
    for character in inside:
        depth += (character in "({") - (character in ")}")
        if character == separator and not depth:
            found.append("")
        else:
            found[-1] += character
    return found


def splits(path):
    return [(path[:at], path[at:]) for at in range(len(path) + 1)]


@functools.cache
def matches(pattern, path):  # noqa: PLR0911 (one for each kind of piece)
    """Say whether *pattern* matches all of *path*: by trying every way, one character at a time."""
    if not pattern:
        return not path
    if pattern[0] in "!@+?*(" and "(" in pattern[:2]:
        sign = "@" if pattern[0] == "(" else pattern[0]
        inside, after = closing(pattern[pattern.index("(") :], "({", ")}")
        any_of = alternatives(inside, "|")
        again = f"*({inside}){after}"
        if sign == "!":
            return any(
                "/" not in head and matches(after, rest) and not any(matches(one, head) for one in any_of)
                for head, rest in splits(path)
            )
        if sign in "?*" and matches(after, path):
            return True
        return any(
            (head or sign != "*") and matches(after if sign in "@?" else again, rest) and matches(one, head)
            for head, rest in splits(path)
            for one in any_of
        )
    if pattern.startswith("**/"):
        rest = pattern[3:]
        return matches(rest, path) or any(matches(rest, path[at + 1 :]) for at, c in enumerate(path) if c == "/")
    if pattern.startswith("**"):
        return any(matches(pattern[2:], path[at:]) for at in range(len(path) + 1))
    first, rest = pattern[0], pattern[1:]
    if first == "*":
        part = len(path.split("/")[0])
        return any(matches(rest, path[at:]) for at in range(part + 1))
    if first == "{":
        inside, after = closing(pattern, "({", ")}")
        return any(
            matches(choice, head) and matches(after, rest)
            for choice in alternatives(inside, ",")
            for head, rest in splits(path)
        )
    if first == "[":
        inside, _, after = rest.partition("]")
        negated = inside.startswith("!")
        listed = inside.removeprefix("!")
        return path[:1] not in {"", "/"} and (path[0] in listed) != negated and matches(after, path[1:])
    if first == "?":
        return path[:1] not in {"", "/"} and matches(rest, path[1:])
    return path[:1] == first and matches(rest, path[1:])


PIECES = st.sampled_from(
    [
        "a",
        "b",
        "ab",
        ".d",
        "/",
        "x",
        "y",
        "*",
        "?",
        "[ab]",
        "[!a]",
        "{a,b}",
        "{a.d,x/y}",
        "z",
        "2012",
        ".",
        "ü",
        "-",
        "A",
    ]
)
SMALL = st.sampled_from(["a", "b", "ab", "*", "?", "[ab]", "{a,b}", "x", "-"])
ALTERNATIVES = (
    st.lists(st.lists(SMALL, max_size=2).map("".join), min_size=1, max_size=2)
    .map("|".join)
    .filter(lambda t: "**" not in t)
)
GROUPS = st.tuples(st.sampled_from("!!!@+?*"), ALTERNATIVES).map("{0[0]}({0[1]})".format)
NESTED = st.tuples(st.sampled_from("!@+?*"), GROUPS, SMALL).map("{0[0]}({0[1]}|{0[2]})".format)


@given(st.lists(PIECES | GROUPS | NESTED, min_size=1, max_size=4))
@example(["**/", "z"])
@example(["a.d/", "**"])
def test_a_pattern_finds_what_the_plain_matcher_finds(tree, pieces):
    snapshot, paths = tree
    pattern = "".join(pieces)
    # "**" is generated by two neighbouring stars; where it shares a part with other text it crosses parts, too.
    # A "*" or "?" before a group would become a part of it.
    ambiguous = re.search(r"\*\*\*|[*?!@+][*?!@+]\(", pattern)
    if not pattern.removeprefix("/") or pattern.endswith("/") or ambiguous:
        return
    plain = pattern.removeprefix("/")
    if "**/" in plain and not all(
        at == 0 or plain[at - 1] == "/" for at in range(len(plain)) if plain[at:].startswith("**/")
    ):
        return
    assert found(snapshot, pattern) == [path for path in paths if matches(plain, path)]
    glob = parse_glob(pattern)
    assert [path for path in paths if glob.matches(path)] == found(snapshot, pattern)


def test_the_prefix_is_what_every_match_begins_with():
    assert parse_glob("/2012/0*.csv").prefixes == ("2012/0",)
    assert parse_glob("2012").prefixes == ("2012",)
    assert parse_glob("**/x").prefixes == ("",)
    assert parse_glob("{b,a}/(x|y)z*").prefixes == ("a/xz", "a/yz", "b/xz", "b/yz")
    assert parse_glob("{ab,a,b*}/x").prefixes == ("a", "b")
    assert parse_glob("a?(b)/x").prefixes == ("a",)
    assert parse_glob("!(a)/x").prefixes == ("",)


@pytest.mark.parametrize(
    ("pattern", "path", "captures"),
    [
        ("/STORE(*).txt", "STORE12.txt", ("12",)),
        ("/T(?)-T(?).txt", "T1-T2.txt", ("1", "2")),
        ("@(a|b)/+(x|y)/?(z)q", "a/xyx/q", ("a", "xyx", "")),
        ("{(a)|,b}*", "bx", ("",)),
        ("(*)-(*)", "a-b-c", ("a-b", "c")),
        ("((*).(*))", "a.b.c", ("a.b.c", "a.b", "c")),
        ("!(a*).csv", "bc.csv", ("bc",)),
        ("*.!(tmp)", "a.b.tmp", ("b.tmp",)),
        ("x!(a)(*)", "xab", ("ab", "")),
        ("!(!(a|b))", "a", ("a", "")),
        ("+(a|(b))c!(x)*", "abc", ("ab", "b", "")),
        ("plain", "/plain", ()),
    ],
)
def test_parentheses_capture_in_the_order_of_their_opening(pattern, path, captures):
    assert parse_glob(pattern).captures(path) == captures


def test_captures_of_a_path_that_does_not_match_are_refused():
    with pytest.raises(InvalidInputError, match="'b' does not match the pattern 'a'"):
        parse_glob("a").captures("b")


@pytest.mark.parametrize(
    ("pattern", "paths"),
    [
        ("2012/!(01|x).csv", ["2012/02.csv"]),
        ("201[23]/01.!(csv)", ["2013/01.txt"]),
        ("**/!(z|*.*|?|??|a-b)", ["axb"]),
        ("{a,b}.d/x/**/!(y)", ["a.d/x/y/z", "b.d/x/y/z"]),
        ("*!(1).csv", []),
        ("!(a|b|ab|*[!a-z]*|a?)", ["axb"]),
    ],
)
def test_a_negated_group_finds_all_but_these(tree, pattern, paths):
    assert found(tree[0], pattern) == paths


@pytest.mark.parametrize("pattern", ["a(b", "!(a", "+(a|b", "@({a)"])
def test_a_group_that_is_not_closed_is_refused(pattern):
    with pytest.raises(InvalidInputError, match="not closed"):
        parse_glob(pattern)


@pytest.mark.parametrize("pattern", ["!(a/b)", "!(**)", "x!(a|+(b/))"])
def test_a_negated_group_stays_within_a_part(pattern):
    with pytest.raises(InvalidInputError, match="text within one part"):
        parse_glob(pattern)


def test_a_bracket_never_matches_a_slash(tree):
    assert found(tree[0], "2012[+-9]01.csv") == []
    with pytest.raises(InvalidInputError, match="has a slash in brackets"):
        parse_glob("a[/]b")


def test_directories_match_too_when_asked_for(tree):
    def listed(pattern):
        return [(info.path, info.is_directory) for info in tree[0].glob(pattern, directories=True)]

    assert listed("201?") == [("2012", True), ("2013", True)]
    assert listed("/2012/") == [("2012", True)]
    assert listed("a.d/*") == sorted(
        [(path, False) for path in tree[1] if path.startswith("a.d/") and path.count("/") == 1] + [("a.d/x", True)]
    )
    assert listed("a.d/x/**") == [("a.d/x/y", True), ("a.d/x/y/z", False)]
    assert listed("/") == [("", True)]
    assert listed("2012/01.csv/") == []
    assert [path for path, _ in listed("**")] == sorted({path for path, _ in listed("**")})


def test_deleting_by_pattern_says_how_many_and_sees_what_is_staged(tmp_path):
    import versioned_io as vio

    with vio.create_store(tmp_path / "s") as store:
        store.create_repo("r")
        with store.transaction("r@main") as tx:
            for path in ["logs/a.tmp", "logs/b.tmp", "logs/c.log", "a.tmp"]:
                tx.write(path, b"x")
        with store.transaction("r@main") as tx:
            tx.write("logs/d.tmp", b"new")
            tx.delete("logs/b.tmp")
            assert tx.delete_glob("logs/*.tmp") == 2
            assert tx.delete_glob("logs/*.tmp") == 0
        assert [file.path for file in store.snapshot("r@main").walk()] == ["a.tmp", "logs/c.log"]


@pytest.mark.parametrize(
    "pattern",
    [
        *("(*)/(*)", "(**)/(*).(*)", "{(a),(b)}.d/(*)", "(a|(b))?(.d)/(*)", "@(a|ab)(*)/(*)", "(?)[!a](*)/x", "(**)"),
        *("+(a|b)(*)/(*)", "!(a*)/(*)", "*((a)|(b)).d/*", "(*)", "x"),
    ],
)
@pytest.mark.parametrize("has_fields", [False, True])
def test_captures_as_columns_are_those_of_each_path(tree, pattern, has_fields):
    _, paths = tree
    glob = parse_glob(pattern + ("{rest}" if has_fields else ""), has_fields=has_fields)
    matching = [path for path in paths if glob.matches(path)]
    columns = [column.to_pylist() for column in glob.capture_columns(pa.array(matching, pa.string()))]
    assert columns == [[glob.captures(path)[number] for path in matching] for number in range(glob.groups)]


def test_a_field_is_one_or_more_characters_of_a_part_where_fields_are_read():
    glob = parse_glob("{dir}/{name}.csv", has_fields=True)
    assert glob.fields == {"dir": 0, "name": 1}
    assert glob.captures("a/b.c.csv") == ("a", "b.c")
    assert [path for path in ("a/b.csv", "a/.csv", "/b.csv", "a/b/c.csv") if glob.matches(path)] == ["a/b.csv"]
    assert parse_glob("{dir}").matches("dir")
    assert parse_glob("{a,b}", has_fields=True).matches("a")
