"""Inputs are checked when they are built, and the message names the input and the fix."""

import pickle
import re

import pytest

import versioned_io as vio
from versioned_io.errors import InvalidInputError, RefSyntaxError
from versioned_io.processing.inputs.specs import leaves_of, names_of, refs_of

GOOD = vio.glob("images@main", "/(*).png", join_on="$1", group_by="$1")


@pytest.mark.parametrize(
    ("build", "says"),
    [
        (lambda: vio.glob("images@main", ""), "is empty or not text"),
        (lambda: vio.glob("images@main", "/(a"), "not closed"),
        (lambda: vio.glob("images@main", "/{a}/{a}"), "has the field {a} twice"),
        (lambda: vio.glob("images@main", "/*", join_on="$1"), "does not capture; its captures: none"),
        (lambda: vio.glob("images@main", "/{d}/(*)", group_by="$3"), "its captures: $1, $2, {d}"),
        (lambda: vio.glob("images@main", "/{d}/(*)", group_by="{e}"), "refers to '{e}'"),
        (lambda: vio.glob("images@main", "/(*)", join_on="$0"), "refers to '$0'"),
        (lambda: vio.glob("images@main", "/(*)", join_on="x"), "refers to no capture"),
        (lambda: vio.glob("images@main", "/(*)", outer=True), "needs join_on"),
        (lambda: vio.glob("images@main", "/(*)", name="out"), "is the output"),
        (lambda: vio.glob("images@main", "/(*)", name="a b"), "is not a valid name"),
        (lambda: vio.glob("0" * 32, "/(*)"), "needs a name"),
        (lambda: vio.table("stocks", "/a.parquet", by=""), "by must be"),
        (lambda: vio.cron("", name="tick"), "schedule must be"),
        (vio.cross, "at least one input"),
        (lambda: vio.union("images@main"), "must be an input"),
        (lambda: vio.cross(GOOD, GOOD), "twice: 'images'"),
        (lambda: vio.join(GOOD, vio.union(GOOD, GOOD)), "twice: 'images'"),
        (lambda: vio.join(GOOD, vio.glob("b@main", "/(*)")), "'b' of join() needs join_on"),
        (lambda: vio.group(vio.glob("b@main", "/(*)")), "'b' of group() needs group_by"),
    ],
)
def test_a_malformed_input_is_refused_when_it_is_built(build, says):
    with pytest.raises(InvalidInputError, match=re.escape(says)):
        build()


def test_a_ref_names_a_commit_and_no_path():
    with pytest.raises(RefSyntaxError, match="the path"):
        vio.glob("images@main:a", "/*")


def test_inputs_nest_and_union_arms_may_share_a_name():
    spec = vio.cross(vio.union(GOOD, GOOD), vio.join(vio.table("t@v1", "/(*).parquet", by="k", join_on="$1{k}$2")))
    assert names_of(spec) == ("images", "t")
    assert refs_of(spec) == ("images@main", "t@v1")
    assert len(list(leaves_of(spec))) == 3
    assert pickle.loads(pickle.dumps(spec)) == spec
