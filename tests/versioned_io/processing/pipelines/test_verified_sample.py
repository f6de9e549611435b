"""A sample of kept results is evaluated again, and a pipeline that gives other bytes is called nondeterministic."""

import pytest

import versioned_io as vio
from versioned_io.errors import InvalidInputError

SENTENCE = "the pipeline is not deterministic: 1 evaluations gave other bytes"


def declare(compute):
    def function(datum, out):
        out.write(datum["images"].path, compute(datum["images"]))

    return vio.pipeline("p", inputs=vio.glob("images@main", "/(*)"), output="edges@main", code_version="1")(function)


@pytest.fixture
def filled(tmp_path, write):
    with vio.create_store(tmp_path / "s") as store:
        for name in ("images", "edges"):
            store.create_repo(name)
        write(store, "images@main", {"cat": b"cat", "dog": b"dog"})
        yield store


def test_equal_results_leave_nothing(filled):
    calls = []

    def compute(image):
        calls.append(image.path)
        return image.read()

    pipe = filled.pipeline(declare(compute))
    assert pipe.verify(1).checked == ()  # nothing has a result yet
    pipe.run()
    calls.clear()
    before = filled.stats().commits
    done = pipe.verify(share=1)
    assert (done.checked, done.is_deterministic, calls) == (("cat", "dog"), True, ["cat", "dog"])
    assert len(pipe.verify(share=0.01).checked) == 1
    assert (pipe.verify(share=0).checked, filled.stats().commits) == ((), before)
    with pytest.raises(InvalidInputError):
        pipe.verify(share=2)


def test_a_different_result_is_a_disagreement_that_survives_a_rebuild(filled, tmp_path):
    numbers = iter(range(100))
    pipe = filled.pipeline(declare(lambda image: b"%d" % next(numbers) if image.path == "cat" else image.read()))
    pipe.run()
    done = pipe.verify(share=1)
    assert (done.differing, done.is_deterministic) == (("cat",), False)
    assert filled.snapshot("edges@main").read("cat") == b"0"  # the first result counts
    told = (pipe.disagreements, pipe.plan().warnings, pipe.explain("cat"))
    assert told[:2] == (1, [SENTENCE])
    assert told[2].endswith(SENTENCE)
    assert pipe.plan().is_empty
    filled.close()
    (tmp_path / "s" / "catalog.db").unlink()
    vio.rebuild_store(tmp_path / "s")
    with vio.open_store(tmp_path / "s") as again:
        pipe = again.pipeline(declare(lambda image: image.read()))
        assert (pipe.disagreements, pipe.plan().warnings, pipe.explain("cat")) == told


def test_a_datum_that_fails_now_is_named(filled):
    fails = []

    def compute(image):
        if fails:
            raise ValueError(image.path)
        return b""

    pipe = filled.pipeline(declare(compute))
    pipe.run()
    fails.append(1)
    assert pipe.verify(1).failed == {"cat": "ValueError: cat", "dog": "ValueError: dog"}


def test_a_result_after_an_invalidation_is_no_disagreement_after_a_recovery(filled, tmp_path):
    told = [b"old"]
    pipe = filled.pipeline(declare(lambda _: told[0]))
    pipe.run()
    pipe.invalidate(["cat"])
    told[0] = b"new"
    pipe.run()
    filled.close()
    vio.recover_store(tmp_path / "s")
    with vio.open_store(tmp_path / "s") as again:
        assert again.pipeline(declare(lambda _: b"")).disagreements == 0
