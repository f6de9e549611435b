"""A worker that loaded its code before an edit stores no result under the fingerprint of the new code."""

import importlib
import multiprocessing
import sys
from concurrent.futures import ProcessPoolExecutor

import pytest

import versioned_io as vio

SOURCE = """
import versioned_io as vio


@vio.pipeline("p", inputs=vio.glob("r@main", "/*"), output="out@main")
def step(datum, out):
    out.write(datum["r"].path, b"{0}")
"""


@pytest.fixture
def module(tmp_path, monkeypatch):
    (tmp_path / "worked_on.py").write_text(SOURCE.replace("{0}", "old"))
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    yield importlib.import_module("worked_on")
    sys.modules.pop("worked_on")


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_a_worker_with_older_code_stores_nothing(module, tmp_path):
    store = vio.create_store(tmp_path / "store")
    for repo in ("r", "out"):
        store.create_repo(repo)
    with store.transaction("r@main") as tx:
        tx.write("a", b"")
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("fork")) as executor:
        executor.submit(int).result()
        (tmp_path / "worked_on.py").write_text(SOURCE.replace("{0}", "the new"))
        importlib.reload(module)
        run = store.pipeline(module.step).run(executor)
    assert run.state == "failed"
    assert "UncertainCodeError" in run.failed["a"]
    run = store.pipeline(module.step).run(max_workers=2)
    assert (run.state, store.snapshot("out@main").read("a")) == ("succeeded", b"the new")
