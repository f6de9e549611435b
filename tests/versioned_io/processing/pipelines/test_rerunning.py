"""A commit of a pipeline is evaluated again with exactly its inputs, and the bytes are compared."""

import sys
import uuid

import pytest

import versioned_io as vio
from versioned_io.errors import InvalidInputError, PathNotFoundError

CODE = """
import versioned_io as vio

SUFFIX = b"!"


@vio.pipeline("shout", inputs=vio.glob("images@main", "/(*)"), output="edges@main")
def shout(datum, out):
    out.write(datum["images"].path, datum["images"].read().upper() + SUFFIX)
"""


@pytest.fixture
def repos(write):
    with vio.create_store(f"memory://{uuid.uuid4().hex}") as store:
        for name in ("images", "edges"):
            store.create_repo(name)
        write(store, "images@main", {"cat": b"cat", "dog": b"dog"})
        yield store


def declare(compute, version="1", **options):
    def function(datum, out):
        compute(datum["images"], out)

    options = {"inputs": vio.glob("images@main", "/(*)"), "output": "edges@main"} | options
    return vio.pipeline("upper", code_version=version, **options)(function)


def upper(image, out):
    out.write(image.path, image.read().upper(), attributes={"by": "upper"})


def test_a_commit_is_evaluated_with_its_own_inputs_and_nothing_is_published(repos, write):
    pipe = repos.pipeline(declare(upper))
    run = pipe.run()
    write(repos, "images@main", {"cat": b"tiger", "eel": b"eel"})
    pipe.run()
    before = [commit.id for commit in repos.log("edges@main")]
    for commit in (run.commit, run.commit.id, "edges@main~1"):
        again = repos.rerun(commit, pipeline=declare(upper))
        assert (again.is_equal, again.datums, again.files, again.code_is_same) == (True, ("cat", "dog"), 2, True)
    assert repos.rerun("edges@main", "eel", pipeline=declare(upper)).datums == ("eel",)
    assert [commit.id for commit in repos.log("edges@main")] == before


def test_it_says_which_paths_differ(repos):
    calls = []

    def random(image, out):
        calls.append(image.path)
        out.write("same", b"same") if image.path == "cat" else None
        out.write(image.path, b"%d" % len(calls))
        out.write(f"only{len(calls)}", b"")
        out.write(f"{image.path}-tag", b"", attributes={"n": str(len(calls))})

    run = repos.pipeline(declare(random)).run()
    again = repos.rerun(run.commit, pipeline=declare(random))
    assert not again.is_equal
    assert again.differing == {
        **dict.fromkeys(["cat", "dog", "cat-tag", "dog-tag"], "differs"),
        **dict.fromkeys(["only1", "only2"], "missing"),
        **dict.fromkeys(["only3", "only4"], "new"),
    }


def test_other_code_is_refused_by_name_unless_it_is_accepted(repos):
    run = repos.pipeline(declare(upper)).run()
    with pytest.raises(InvalidInputError, match="other code: code_version"):
        repos.rerun(run.commit, pipeline=declare(upper, version="2"))
    with pytest.raises(InvalidInputError, match="other parameters"):
        repos.rerun(run.commit, pipeline=declare(upper, params={"n": 1}))
    again = repos.rerun(run.commit, pipeline=declare(upper, version="2"), any_code=True)
    assert (again.is_equal, again.code_is_same) == (True, False)


def test_what_can_not_be_rerun_is_said(repos, write):
    run = repos.pipeline(declare(upper)).run()
    with pytest.raises(InvalidInputError, match="no pipeline made the commit"):
        repos.rerun("images@main", pipeline=declare(upper))
    with pytest.raises(PathNotFoundError):
        repos.rerun(run.commit, "nothing", pipeline=declare(upper))
    with pytest.raises(InvalidInputError, match="is not a pipeline here"):
        repos.rerun(run.commit)
    with pytest.raises(InvalidInputError, match="was made from"):
        repos.rerun(run.commit, pipeline=declare(upper, inputs=vio.glob("other@main", "/(*)")), any_code=True)


def test_a_failure_and_a_datum_of_older_inputs_are_named(repos, write):
    failing = []

    def fail(image, out):
        if failing and image.read() in failing:
            raise ValueError(image.path)
        upper(image, out)

    pipe = repos.pipeline(declare(fail, on_failure="keep"))
    pipe.run()
    failing.append(b"tiger")
    write(repos, "images@main", {"cat": b"tiger"})
    run = pipe.run()
    failing.append(b"dog")
    again = repos.rerun(run.commit, pipeline=declare(fail, on_failure="keep"))
    assert (again.is_equal, again.left_out, again.failed) == (False, ("cat",), {"dog": "ValueError: dog"})


def test_the_function_is_found_by_its_module_and_name(repos, tmp_path, monkeypatch):
    name = f"shouting_{uuid.uuid4().hex}"
    (tmp_path / f"{name}.py").write_text(CODE)
    monkeypatch.syspath_prepend(tmp_path)
    module = __import__(name)
    run = repos.pipeline(module.shout).run()
    assert run.commit.metadata["function"] == f"{name}:shout"
    assert repos.rerun(run.commit).is_equal
    del sys.modules[name]
    (tmp_path / f"{name}.py").unlink()
    with pytest.raises(InvalidInputError, match="can't be imported"):
        repos.rerun(run.commit)
