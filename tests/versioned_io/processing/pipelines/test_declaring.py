"""Bad arguments of a pipeline are refused where it is declared."""

import math

import pytest

import versioned_io as vio
from versioned_io.errors import BoundBranchError, InvalidInputError


@pytest.mark.parametrize("inputs", ["images@main", None, 5, ["images@main"], [vio.glob("images@main", "/*")]])
def test_inputs_must_be_an_input(inputs):
    with pytest.raises(InvalidInputError, match=r"inputs of the pipeline 'p' must be an input"):
        vio.pipeline("p", inputs=inputs, output="edges@main")


@pytest.mark.parametrize("timeout_s", [0, -1, True, math.inf, math.nan, 1e300, "5"])
def test_a_time_limit_is_a_number_that_a_timer_can_have(timeout_s):
    with pytest.raises(InvalidInputError, match="timeout_s"):
        vio.pipeline("p", inputs=vio.glob("images@main", "/*"), output="edges@main", timeout_s=timeout_s)


@pytest.mark.parametrize("key", [None, 5, b"a", "\ud800"])
@pytest.mark.parametrize("call", ["explain", "log"])
def test_a_key_is_text(store, call, key):
    store.create_repo("images")
    store.create_repo("edges")
    spec = vio.glob("images@main", "/*")
    pipe = store.pipeline(
        vio.pipeline("p", inputs=spec, output="edges@main", code_version="1")(lambda datum, out: None)
    )
    with pytest.raises(InvalidInputError, match="key"):
        getattr(pipe, call)(key)


def test_a_pipeline_does_not_replace_the_output_of_another_unless_it_is_said(store):
    store.create_repo("in")
    store.create_repo("out")
    with store.transaction("in@main") as tx:
        tx.write("a", b"a")

    def declared(name, **options):
        @vio.pipeline(name, inputs=vio.glob("in@main", "/*"), output="out@main", code_version="1", **options)
        def made(datum, out):
            out.write(f"{name}/{datum['in'].path}", datum["in"].read())

        return store.pipeline(made)

    declared("first").run()
    head = store.commit("out@main").id
    second = declared("second")
    for call in (second.plan, second.run, lambda: second.explain("a")):
        with pytest.raises(BoundBranchError, match=r"output of the pipeline 'first'.*replaces 'first'"):
            call()
    assert store.commit("out@main").id == head
    assert declared("second", replaces="first").run().state == "succeeded"
    assert declared("second").plan().is_empty
    with pytest.raises(BoundBranchError):
        declared("first").plan()


@pytest.mark.parametrize("ref", ["u", "u@main", "u@main~1", "u@main^^"])
def test_a_pipeline_does_not_read_its_own_output_nor_what_moves_with_it(ref):
    spec = vio.union(vio.glob("in@main", "/*"), vio.glob(ref, "/*"))
    with pytest.raises(InvalidInputError, match="reads its own output"):
        vio.pipeline("p", inputs=spec, output="u@main")


@pytest.mark.parametrize("ref", ["u@dev", "u@main@{2020-01-01}", "other@main"])
def test_a_pipeline_reads_other_branches_and_what_its_output_was(ref):
    vio.pipeline("p", inputs=vio.glob(ref, "/*"), output="u@main")


@pytest.mark.parametrize("executor", ["x", 4, object()])
def test_an_executor_evaluates(store, executor):
    store.create_repo("images")
    store.create_repo("edges")
    made = vio.pipeline("p", inputs=vio.glob("images@main", "/*"), output="edges@main", code_version="1")
    with pytest.raises(InvalidInputError, match="executor"):
        store.pipeline(made(lambda datum, out: None)).run(executor)
