"""Whatever the function of a datum does, the other datums are evaluated, and the results of all are stored."""

import contextlib
import signal
import sys
import time

import pytest

import versioned_io as vio


class UnprintableError(Exception):
    """An error without a text."""

    def __str__(self):
        raise RuntimeError


def print_surrogates(out):
    print("\udcff")


def raise_surrogates(out):
    raise ValueError("\udcff")


def raise_unprintable(out):
    raise UnprintableError


def leave(out):
    sys.exit(0)


def write_bad_attributes(out):
    out.write("bad", b"", attributes={"size": 1})


def write_surrogate_attributes(out):
    out.write("bad", b"", attributes={"name": "\udcff"})


HOSTILE = {
    print_surrogates: None,
    raise_surrogates: r"ValueError: \udcff",
    raise_unprintable: "UnprintableError, whose text can't be shown",
    leave: "SystemExit: 0",
    write_bad_attributes: "InvalidInputError: the attribute 'size': 1 is not text",
    write_surrogate_attributes: "InvalidInputError: the attribute 'name'",
}


@pytest.fixture
def inputs(store):
    for repo in ("r", "out"):
        store.create_repo(repo)
    with store.transaction("r@main") as tx:
        tx.write("hostile", b"")
        tx.write("other", b"")
    return store


def declared(function, **options):
    """Return the pipeline of a function of ``(datum, out)``, by its own name."""
    spec = vio.glob("r@main", "/*")
    return vio.pipeline("p", inputs=spec, output="out@main", code_version="1", on_failure="drop", **options)(function)


@pytest.mark.parametrize("act", HOSTILE, ids=lambda act: act.__name__)
def test_a_hostile_datum_fails_alone(inputs, act):
    def function(datum, out):
        if datum["r"].path == "hostile":
            act(out)
        out.write(datum["r"].path, b"done")

    run = inputs.pipeline(declared(function)).run()
    assert inputs.snapshot("out@main").read("other") == b"done"
    if HOSTILE[act] is None:
        assert run.state == "succeeded"
        assert inputs.pipeline(declared(function)).log("hostile") == "\\udcff\n"
    else:
        assert run.failed.keys() == {"hostile"}
        assert HOSTILE[act] in run.failed["hostile"]


def test_each_try_of_each_datum_has_parameters_of_its_own(inputs):
    def function(datum, out):
        datum.parameters["seen"].append(datum["r"].path)
        out.write(datum["r"].path, repr(datum.parameters).encode())

    inputs.pipeline(declared(function, params={"z": 1, "seen": []})).run()
    assert inputs.snapshot("out@main").read("other") == b"{'seen': ['other'], 'z': 1}"


def test_a_function_that_catches_every_exception_keeps_its_time_limit(inputs):
    def function(datum, out):
        began = time.monotonic()
        while time.monotonic() - began < 20:
            with contextlib.suppress(Exception):
                time.sleep(0.05)

    run = inputs.pipeline(declared(function, timeout_s=0.2)).run()
    assert set(run.failed.values()) == {"DatumTimeoutError: it took longer than 0.2 s"}


def test_an_alarm_of_the_caller_still_comes(inputs):
    def function(datum, out):
        out.write(datum["r"].path, b"")

    came = []
    before = signal.signal(signal.SIGALRM, lambda *_: came.append(True))
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.5)
        assert inputs.pipeline(declared(function, timeout_s=30)).run().state == "succeeded"
        until = time.monotonic() + 5
        while not came and time.monotonic() < until:
            time.sleep(0.01)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert came
