"""Errors: they pickle, and say what to do."""

import inspect
import pickle
import re

import pytest

from versioned_io import errors

EXAMPLES = [
    errors.StoreNotFoundError("/data"),
    errors.RepoNotFoundError("weather", ("climate", "models")),
    errors.RepoNotFoundError("weather"),
    errors.RefNotFoundError("weather", "dev", ("main",)),
    errors.RefNotFoundError("weather", "main~9", reason="its history has only 3 commits"),
    errors.CommitNotFoundError("0" * 32),
    errors.CommitForgottenError("0" * 32),
    errors.LineageNotFoundError("0" * 32),
    errors.PathNotFoundError("a/b", "weather@main", "beside it are 'a/c'"),
    errors.PathNotFoundError("a/b", "weather@main"),
    errors.ObjectNotFoundError("packs/00/x.pack", "/data"),
    errors.ReferenceBrokenError("s3://b/k", "ETag 'x', 3 bytes", "it is gone"),
    errors.ConflictError("weather@main", ("a", "b"), "0" * 32),
    errors.ConflictError("weather@main", tuple("abcdefgh"), "0" * 32),
    errors.MergeConflictError(
        "weather@main",
        (errors.MergeConflict("a", None, "1" * 64, "2" * 64), errors.MergeConflict("b", "1" * 64, None, "2" * 64)),
        "0" * 32,
    ),
    errors.HeadMovedError("weather@main", None, "0" * 32),
    errors.PackCondemnedError("0" * 32),
    errors.ClaimLostError("quality", "2012-01", "run-7"),
    errors.MaintenanceRunningError("2026-01-01T00:00:00+00:00"),
    errors.InvalidInputError("limit is -1: use 0 or more"),
    errors.ExistsError("repo", "weather"),
    errors.IllegalPathError("a//b", "a part is empty"),
    errors.BoundBranchError("edges@main", "edges", "outlines"),
    errors.PathClaimedError("edges@main", "a", "1.png", "2.png"),
    errors.PathCollisionError("a", "a/b"),
    errors.NotAFileError("a", "weather@main"),
    errors.NotStorableError("function", None, "it can't be pickled"),
    errors.NotOwnerError("sqlite:////copy/catalog.db", "/data", "sqlite:////data/catalog.db"),
    errors.NotStorableError("function", "numpy", "it does not take a function"),
    errors.NotOwnerError("sqlite:////copy/catalog.db", "/data", ""),
    errors.PathExistsError("a", "weather@main"),
    errors.ReadOnlyRefError("weather@v1", "it is a tag"),
    errors.RefSyntaxError("a@b@c", "'b@c' is no branch"),
    errors.PartitionKeyError("no such key: use another"),
    errors.SourceChangedError("in/a.csv", "it is gone"),
    errors.UncertainCodeError("edges:STREAM", "a value of type builtins.list_iterator"),
    errors.TransactionClosedError("write"),
    errors.ForkedError("the transaction on 'weather@main'", "begin another one here", 4711),
    errors.EmptyCommitError("weather@main"),
    errors.StorageError("disk full: free some space"),
    errors.OutcomeUnknownError("postgresql://h/db", "it can't be asked now", ("weather@" + "0" * 32,)),
    errors.IntegrityError("pack is damaged: run fsck"),
    errors.PackLostError("0" * 32, "/data"),
    errors.AccessDeniedError("can't list 'beacons/' in /data: Permission denied"),
    errors.CatalogOlderError("sqlite:////data/catalog.db", "/data", ("commit-" + "0" * 32,)),
    errors.FormatError("format 2: upgrade"),
    errors.GateError("12 nulls: fix the data"),
]
CLASSES = [
    value for value in vars(errors).values() if inspect.isclass(value) and issubclass(value, errors.VersionedError)
]


def test_every_error_that_is_raised_has_an_example_here():
    branches = {errors.VersionedError, errors.NotFoundError}
    assert {type(example) for example in EXAMPLES} == set(CLASSES) - branches


@pytest.mark.parametrize("error", EXAMPLES, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize("protocol", [2, pickle.HIGHEST_PROTOCOL])
def test_an_error_is_the_same_in_another_process(error, protocol):
    copy = pickle.loads(pickle.dumps(error, protocol))
    assert type(copy) is type(error)
    assert str(copy) == str(error)
    assert copy.args == error.args
    for name in ("paths", "winner", "filename"):
        assert getattr(copy, name, None) == getattr(error, name, None)


def test_an_error_pickles_by_the_name_that_callers_import_it_by():
    assert {cls.__module__ for cls in CLASSES} == {"versioned_io.errors"}
    assert {cls.__name__ for cls in CLASSES} == set(errors.__all__) - {"MergeConflict"}  # a fact of one, not an error
    # As a process wrote it whose versioned_io.errors was one module.
    written = b"cversioned_io.errors\nObjectNotFoundError\np0\n(Vpacks/00/x.pack\np1\nV/data\np2\ntp3\nRp4\n."
    error = errors.ObjectNotFoundError("packs/00/x.pack", "/data")
    assert pickle.dumps(error, 0) == written
    assert pickle.loads(written).args == error.args


@pytest.mark.parametrize("error", EXAMPLES, ids=lambda error: type(error).__name__)
def test_a_message_is_one_sentence_in_lower_case_without_a_full_stop(error):
    text = str(error)
    assert "\n" not in text
    assert not text.endswith(".")
    assert not re.match(r"[A-Z][a-z]", text)
    assert "None," not in text


def test_every_code_is_its_class_alone():
    codes = [cls.code for cls in CLASSES]
    assert len(set(codes)) == len(codes)
    assert all(re.fullmatch(r"[a-z_]+", code) for code in codes)


def test_an_error_of_the_core_is_what_callers_catch_already():
    assert issubclass(errors.PathNotFoundError, FileNotFoundError)
    assert issubclass(errors.NotAFileError, IsADirectoryError)
    assert issubclass(errors.PathExistsError, FileExistsError)
    assert issubclass(errors.ReadOnlyRefError, PermissionError)
    assert issubclass(errors.InvalidInputError, ValueError)
    assert errors.PathNotFoundError("a/b", "weather@main").filename == "a/b"


@pytest.mark.parametrize(
    ("error", "advice"),
    [
        (EXAMPLES[0], "make one with create_store"),
        (EXAMPLES[1], "the store holds 'climate', 'models'; `versioned repo create"),
        (EXAMPLES[2], "holds no repo yet"),
        (EXAMPLES[3], "its branches are 'main'"),
        (EXAMPLES[5], "list the commits of a branch with log"),
        (errors.ReferenceBrokenError("s3://b/k", "x", "it is gone"), "import it again, or read a commit whose version"),
        (errors.ConflictError("w@main", ("a",), "f" * 32), f"commit {'f' * 32} already changed 'a'; read it and try"),
        (errors.ConflictError("w@main", tuple("abcdefgh"), "f" * 32), "'e' and 3 more"),
        (errors.ConflictError("w@main", ("a",), ""), "its commits were reset or dropped; read it and try again"),
        (errors.ConflictError("w@main", (), "f" * 32), f"it was moved to commit {'f' * 32}; read it and try again"),
        (errors.PathCollisionError("a", "a/b"), "delete one of them in the same transaction, or choose another path"),
        (errors.NotAFileError("a", "weather@main"), "name a file below it, or list it"),
        (errors.TransactionClosedError("write"), "begin another with store.transaction"),
        (errors.UncertainCodeError("edges:STREAM", "a list_iterator"), "or give code_version"),
        (errors.EmptyCommitError("weather@main"), "pass empty='skip' to make no commit, or empty='allow'"),
    ],
)
def test_a_message_says_what_to_do(error, advice):
    assert advice in str(error)
