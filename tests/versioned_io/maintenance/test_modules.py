"""Maintenance loads nothing that it has no use for."""

import subprocess
import sys

import pytest

UNWANTED = ("pandas", "pyarrow.acero", "pyarrow.dataset", "polars")
SCRIPT = """
import sys
from datetime import timedelta
import versioned_io as vio
with vio.open_store(sys.argv[1]) as store:
    {call}
print(",".join(name for name in {unwanted!r} if name in sys.modules))
"""


@pytest.fixture(scope="module")
def location(tmp_path_factory):
    import versioned_io as vio

    url = tmp_path_factory.mktemp("modules") / "store"
    with vio.create_store(url) as store:
        store.create_repo("r")
        for number in range(12):
            with store.transaction("r@main") as tx:
                tx.write(f"d/{number}", b"%d" % number)
    return url


@pytest.mark.parametrize(
    "call",
    [
        "store.stats()",
        "store.stats(exact=True)",
        "store.gc()",
        "store.compact()",
        "list(store.log('r@main', path='d'))",
    ],
)
def test_neither_pandas_nor_acero_is_imported(location, call):
    command = [sys.executable, "-c", SCRIPT.format(call=call, unwanted=UNWANTED), str(location)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    assert done.stdout.strip() == ""
