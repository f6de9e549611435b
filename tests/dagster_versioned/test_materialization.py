"""The metadata of a materialisation."""

from datetime import UTC, datetime

from dagster_versioned.materialization import StoredOutput
from versioned_io import Commit, CommitStats, InputFile
from versioned_io.formats import StoredObject

ID = "0" * 32
DIGEST = "a" * 64


def stored(objects: dict, inputs: list[InputFile]) -> StoredOutput:
    commit = Commit(
        id=ID,
        lineage_id=ID,
        repo="rain",
        branch="main",
        number=1,
        parent=None,
        provenance=(),
        message="",
        author="",
        metadata={},
        created_at=datetime.now(UTC),
        run=None,
        stats=CommitStats(),
        root=None,
    )
    return StoredOutput(commit=commit, lineage_id=ID, objects=objects, nothing=frozenset(), inputs=inputs)


def value(path: str, digest: str = DIGEST) -> StoredObject:
    return StoredObject(path, "json", digest, 10)


def read(path: str, output: str = "") -> InputFile:
    return InputFile("weather", ID, path, DIGEST, ID, output)


def test_of_many_inputs_the_first_are_named_and_the_rest_are_counted():
    output = stored({None: value("data.json")}, [read(f"{number:03}.csv") for number in range(150)])
    shown = output.metadata["versioned/inputs"].value
    assert (len(shown["files"]), shown["files"][0], shown["more"]) == (100, f"weather@{ID}:000.csv", 50)


def test_a_partition_names_what_was_read_for_it_and_for_all():
    objects = {"a": value("a/data.json"), "b": value("b/data.json")}
    output = stored(objects, [read("all.csv"), read("a.csv", "a"), read("b.csv", "b")])
    assert output.partition_metadata["a"]["versioned/inputs"].value["files"] == [
        f"weather@{ID}:all.csv",
        f"weather@{ID}:a.csv",
    ]
    assert output.metadata["dagster/size_bytes"] == 20


def test_the_data_version_is_the_digest_and_of_partitions_one_of_all_in_any_order():
    assert stored({"a": value("a/data.json")}, []).data_version == DIGEST
    one, other = value("a/data.json"), value("b/data.json", "b" * 64)
    both = stored({"a": one, "b": other}, []).data_version
    assert both == stored({"b": other, "a": one}, []).data_version
    assert both != stored({"a": other, "b": one}, []).data_version
