"""Arrow arrays from buffers, without pandas."""

import re
import subprocess
import sys
import threading
from array import array
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

import versioned_io
from versioned_io.model.columns import (
    bool_column,
    column_of,
    fixed_column,
    fixed_column_of,
    groups_of,
    number_column,
    optional_text_column,
    text_column,
)

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=5)


def check(found: pa.Array, expected: pa.Array) -> None:
    found.validate(full=True)
    assert found.equals(expected)
    assert found.type == expected.type


@given(st.lists(TEXT))
def test_text_is_what_arrow_makes_of_it(values):
    check(text_column(values), pa.array(values, pa.string()))


@given(st.lists(st.none() | TEXT))
def test_text_that_may_be_missing_is_null_there(values):
    check(optional_text_column(values), pa.array(values, pa.string()))


@given(st.lists(st.binary(min_size=3, max_size=3)))
def test_binary_values_of_one_width_lie_one_after_the_other(values):
    check(fixed_column(values, 3), pa.array(values, pa.binary(3)))
    check(fixed_column_of(b"".join(values), 3), pa.array(values, pa.binary(3)))


@pytest.mark.parametrize("kind", [pa.uint32(), pa.int64(), pa.uint64()])
@given(values=st.lists(st.integers(0, 2**32 - 1)))
def test_numbers_keep_their_type(values, kind):
    check(number_column(values, kind), pa.array(values, kind))
    check(number_column(array("L", values), kind), pa.array(values, kind))


@given(st.lists(st.booleans()))
def test_claims_are_bits(values):
    check(bool_column(values), pa.array(values, pa.bool_()))


SCRIPT = """
import pathlib, sys, tempfile
import versioned_io as vio

place = pathlib.Path(tempfile.mkdtemp())
(place / "in").mkdir()
for number in range(300):
    (place / "in" / f"{number}").write_bytes(b"%d" % number)
store = vio.create_store(place / "store")
store.create_repo("r")
with store.transaction("r@main") as tx:
    tx.write("a", b"1")
with store.transaction("r@main") as tx:
    tx.write("b", b"1", attributes={"kind": "text"})
    tx.write_tree(place / "in", to="t")
with store.transaction("r@main") as tx:
    tx.delete("t/5")
    tx.copy(":a", to="c")
    tx.write("a", b"2", append=True)
with store.transaction("r@main") as tx:
    tx.write("b", b"only replaced")
store.create_branch("r@dev", at="r@main~1")
with store.transaction("r@dev") as tx:
    tx.write("dev", b"1")
    tx.move("t/7", "t/seven")
store.merge("r@dev", "r@main")
store.revert("r@main~1", on="r@main")
list(store.log("r@main", path="t/5"))
store.diff("r@main~3", "r@main"), store.diff("r@dev~1", "r@dev")
list(store.snapshot("r@main").glob("**/!(5|6)")), list(store.snapshot("r@main").glob("t*", directories=True))
snapshot = store.snapshot("r@main")
snapshot.read("a"), snapshot.stat(""), list(snapshot.list("")), list(snapshot.walk()), list(snapshot.glob("**/*5"))
list(snapshot.read_many(["a", "b"]))
snapshot.checkout(place / "out")
snapshot.checkout(place / "out2", mode="incremental")
store.diff("r@main~1", "r@main")
store.fsck()
vio.PartitionTemplate.parse("t/{number}").keys_of(store.diff("r@dev~1", "r@dev").column("path"))
print(sorted({"pandas"} & set(sys.modules)))
"""


@pytest.mark.skipif(int(pa.__version__.partition(".")[0]) < 26, reason="an older Arrow loads pandas in more places")
def test_writing_and_reading_files_does_not_load_pandas():
    """Arrow loads it, where it is installed, as soon as it makes an array or a scalar of Python values: 0.35 s."""
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_nothing_else_makes_arrow_load_pandas():
    """`Array.to_numpy` does, too: by one call of it, each process that committed or read took 0.3 s of CPU more."""
    root = Path(versioned_io.__file__).parent
    pattern = re.compile(r"\.to_numpy\(|\bpa\.(array|scalar)\(|\.from_py(list|dict)\(")
    found = {path.relative_to(root).as_posix() for path in root.rglob("*.py") if pattern.search(path.read_text())}
    assert found == {"formats/pandas_tables.py", "formats/arrow_tables.py", "formats/selected_rows.py"}


def test_a_column_of_another_type_is_refused():
    with pytest.raises(TypeError, match="no column of double"):
        column_of([1.5], pa.float64())


def test_groups_are_the_different_rows_each_with_what_was_collected():
    table = pa.table({"key": ["a", "b", "a"], "commit": [b"1", b"1", b"2"], "path": ["x", "y", "z"]})
    assert groups_of(table, ["key"]).to_pylist() == [{"key": "a"}, {"key": "b"}]
    assert groups_of(table, ["key"], ["path"]).to_pylist() == [
        {"key": "a", "path_list": ["x", "z"]},
        {"key": "b", "path_list": ["y"]},
    ]
    assert groups_of(table, ["key", "commit"]).num_rows == 3
    assert groups_of(table.slice(0, 0), ["key"]).num_rows == 0


LET_GO_IN = set()


class Watched(bytes):
    """Bytes that note which thread lets go of them."""

    def __del__(self):
        LET_GO_IN.add(threading.get_ident())


def test_grouping_lets_go_of_every_buffer_in_this_thread():
    """One in a hundred was let go of in a thread of Arrow's, after the result was there; at exit that aborts."""
    LET_GO_IN.clear()
    for _ in range(2000):
        numbers = pa.py_buffer(Watched(array("q", range(100)).tobytes()))
        groups_of(pa.table({"number": pa.Array.from_buffers(pa.int64(), 100, [None, numbers])}), ["number"])
        del numbers
    assert {threading.get_ident()} == LET_GO_IN


def test_nothing_else_hands_tables_to_threads_of_arrow_that_let_go_of_them_late():
    root = Path(versioned_io.__file__).parent
    pattern = re.compile(r"\.group_by\((?!\w+\.c\.)|Scanner|acero|\.dataset\b")  # not by a column of SQL's
    found = {path.relative_to(root).as_posix() for path in root.rglob("*.py") if pattern.search(path.read_text())}
    assert found == {"model/columns.py"}
