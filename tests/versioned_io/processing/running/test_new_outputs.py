"""A run makes the repo and the branch that it writes to; a plan makes nothing."""

import pytest

import versioned_io as vio
from versioned_io.errors import ExistsError, RepoNotFoundError


@vio.pipeline("upper", inputs=vio.glob("texts@main", "/*"), output="upper@main")
def upper(datum, out):
    out.write(datum["texts"].path, datum["texts"].read().upper())


@vio.pipeline("upper", inputs=vio.glob("texts@main", "/*"), output="upper@dev")
def on_dev(datum, out):
    out.write(datum["texts"].path, datum["texts"].read().upper())


@pytest.fixture
def texts(store, write):
    store.create_repo("texts")
    write(store, "texts@main", {"a": b"a"})
    return store


def names(store):
    return {f"{repo.name}@{branch.name}" for repo in store.repos() for branch in repo.branches}


def test_a_run_makes_its_output_and_a_plan_does_not(texts):
    assert texts.pipeline(upper).plan().runs == ["a"]
    assert names(texts) == {"texts@main"}
    assert texts.pipeline(upper).run().state == "succeeded"
    assert texts.snapshot("upper@main").read("a") == b"A"


def test_a_run_makes_a_branch_that_its_repo_lacks(texts):
    texts.create_repo("upper")
    texts.pipeline(on_dev).run()
    assert texts.snapshot("upper@dev").read("a") == b"A"
    assert next(texts.log("upper@main"), None) is None


def test_batches_make_it_too(texts):
    pipe = texts.pipeline(upper)
    assert pipe.commit([pipe.evaluate(batch) for batch in pipe.plan().batches()]).state == "succeeded"


def test_a_run_whose_inputs_are_missing_makes_nothing(store):
    with pytest.raises(RepoNotFoundError, match="texts"):
        store.pipeline(upper).run()
    assert names(store) == set()


@pytest.mark.parametrize(("change", "says"), [("delete", "it was deleted"), ("rename", "it was renamed")])
def test_a_repo_that_was_there_is_not_made_again(texts, change, says):
    texts.pipeline(upper).run()
    texts.delete_repo("upper") if change == "delete" else texts.rename_repo("upper", "loud")
    for act in ("plan", "run"):
        with pytest.raises(RepoNotFoundError, match=says):
            getattr(texts.pipeline(upper), act)()


def test_a_tag_of_the_branchs_name_is_told(texts, write):
    texts.create_repo("upper")
    write(texts, "upper@main", {"x": b"x"})
    texts.create_tag("upper@dev", at="upper@main")
    with pytest.raises(ExistsError, match="dev"):
        texts.pipeline(on_dev).run()
