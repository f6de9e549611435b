"""The store that the examples in docstrings use: `pytest --doctest-modules versioned_io/store ...` runs them."""

import os
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from versioned_io import Store

_stores: list["Store"] = []
"""The store of the examples so far. Creating one takes longer than most examples, so they share it."""


def pytest_configure(config: pytest.Config) -> None:
    """Give the examples of the Airflow provider a home of their own, before anything imports Airflow."""
    if config.getoption("doctestmodules"):
        home = tempfile.TemporaryDirectory(prefix="airflow-home-", ignore_cleanup_errors=True)
        config.add_cleanup(home.cleanup)
        os.environ["AIRFLOW_HOME"] = home.name
        os.environ["AIRFLOW__CORE__LOAD_EXAMPLES"] = "False"


@pytest.fixture(autouse=True)
def example_store(
    request: pytest.FixtureRequest,
    doctest_namespace: dict[str, object],
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[None]:
    """Give each example ``vio`` and a ``store`` whose only repo is ``weather``, with two commits."""
    if not isinstance(request.node, pytest.DoctestItem):
        yield
        return
    import versioned_io as vio

    has_pipeline = "(upper)" in (request.node.dtest.docstring or "")
    if has_pipeline:
        _stores.clear()  # a result of an earlier example would be reused
    store = _with_weather()
    if has_pipeline:
        store.create_repo("upper")
        doctest_namespace.update(upper=_declare_upper())
    empty: Path = request.getfixturevalue("tmp_path")
    monkeypatch.chdir(empty)
    doctest_namespace.update(vio=vio, store=store)
    yield


def _declare_upper() -> object:
    """Return the pipeline of the examples."""
    import versioned_io as vio

    @vio.pipeline("upper", inputs=vio.glob("weather@main", "/2012/(*).csv"), output="upper@main")
    def upper(datum: vio.Datum, out: vio.DatumOutput) -> None:
        out.write(datum["weather"].path, datum["weather"].read().upper())

    return upper


def _with_weather() -> "Store":
    import versioned_io as vio

    try:
        store = _stores[0]
        for repo in store.repos():
            store.delete_repo(repo.name, force=True)
        store.create_repo("weather")
    except (IndexError, vio.VersionedError):  # the first example, or one that used up the name
        _stores[:] = [vio.create_store(f"memory://{uuid.uuid4().hex}")]
        store = _stores[0]
        store.create_repo("weather")
    with store.transaction("weather@main", message="first load") as tx:
        tx.write("2012/01.csv", b"date,rain\n2012-01-01,0.0\n")
        tx.write("2012/02.csv", b"date,rain\n2012-02-01,13.5\n")
    with store.transaction("weather@main", message="correct February") as tx:
        tx.write("2012/02.csv", b"date,rain\n2012-02-01,12.5\n")
    return store
