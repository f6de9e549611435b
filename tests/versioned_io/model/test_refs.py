"""How places in history are written."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from versioned_io.errors import IllegalPathError, RefSyntaxError
from versioned_io.model.refs import (
    BranchRef,
    Ref,
    parse_branch_ref,
    parse_commit_ref,
    parse_new_name,
    parse_ref,
    parse_ref_name,
    parse_repo_name,
)

ID = "0" * 31 + "a"
NAME = st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9_-]{0,20}(/[A-Za-z0-9_-]{1,10})?", fullmatch=True)
REPO = st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9._=-]{0,30}", fullmatch=True)
PATH = st.from_regex(r"[a-z@:~ ]{1,8}(/[a-z@:~ ]{1,8}){0,2}", fullmatch=True)


@pytest.mark.parametrize(
    ("text", "ref"),
    [
        ("weather", Ref("weather", "main")),
        ("weather@dev", Ref("weather", "dev")),
        ("weather@feature/x", Ref("weather", "feature/x")),
        ("weather@main~2", Ref("weather", "main", 2)),
        ("weather@main~", Ref("weather", "main", 1)),
        ("weather@main~1^^2", Ref("weather", "main", 4)),
        ("weather@main~0", Ref("weather", "main", 0)),
        (f"weather@{ID}", Ref("weather", ID)),
        ("weather:2012/01.csv", Ref("weather", "main", 0, "2012/01.csv")),
        ("weather@v1~3:/a/b/", Ref("weather", "v1", 3, "a/b")),
        ("weather@v1:a@b:c~d", Ref("weather", "v1", 0, "a@b:c~d")),
        ("year=2012@main:/", Ref("year=2012", "main")),
    ],
)
def test_a_ref_is_read(text, ref):
    assert parse_ref(text) == ref


@pytest.mark.parametrize(
    "text",
    (
        "|@main|weather@|weather@~1|weather@a~b|weather@a~1~b|weather@a b|weather@a..b|weather@a/|weather@/a|"
        "weather@a//b|weather@.a|.weather@main|wea/ther@main|weather@main:|weather@@main|"
        f"weather@main~1234567890|wetter-ü@main|weather@ü|weather\n|w@m\n|{'w' * 129}|weather@{'b' * 129}"
    ).split("|"),
)
def test_what_is_no_ref_is_refused_with_an_example_of_one(text):
    with pytest.raises(RefSyntaxError, match="write repo@branch") as caught:
        parse_ref(text)
    assert repr(text) in str(caught.value)


@pytest.mark.parametrize("text", [None, 7, b"weather@main"])
def test_what_is_no_text_is_no_ref(text):
    with pytest.raises(RefSyntaxError, match="not text"):
        parse_ref(text)


def test_an_illegal_path_in_a_ref_is_told_as_such():
    with pytest.raises(IllegalPathError):
        parse_ref("weather@main:a//b")


@given(REPO, NAME, st.integers(0, 999), st.one_of(st.just(""), PATH))
def test_a_ref_reads_back_as_it_was_written(repo, name, ancestor, path):
    ref = Ref(repo, name, ancestor, path)
    assert parse_ref(str(ref)) == ref


def test_only_a_branch_can_be_written_to():
    assert parse_branch_ref("weather") == BranchRef("weather", "main")
    assert str(parse_branch_ref("weather@dev")) == "weather@dev"
    for text in (f"weather@{ID}", "weather@main~1", "weather@main:a"):
        with pytest.raises(RefSyntaxError, match="only a branch"):
            parse_branch_ref(text)


def test_where_a_commit_is_asked_for_a_path_is_refused_rather_than_left_out():
    assert parse_commit_ref("weather@main~1") == Ref("weather", "main", 1)
    with pytest.raises(RefSyntaxError, match=r"the path 'a/b\.csv' can't stand here"):
        parse_commit_ref("weather@main:a/b.csv")


def test_a_new_name_can_not_hide_a_commit():
    assert parse_new_name("0" * 31) == "0" * 31
    with pytest.raises(RefSyntaxError, match="can't look like a commit ID"):
        parse_new_name(ID)
    assert parse_ref_name(ID) == ID


def test_the_message_quotes_what_was_typed_not_only_the_bad_part():
    with pytest.raises(RefSyntaxError, match=r"'a b@main' is not a valid ref: 'a b' is not a valid repo name"):
        parse_ref("a b@main")
    with pytest.raises(RefSyntaxError, match="'a b' is not a valid ref"):
        parse_repo_name("a b")
