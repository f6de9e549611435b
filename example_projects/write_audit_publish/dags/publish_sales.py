"""Write, audit, publish: each run works on a branch of its own, and readers see it only after the check.

The files of a directory are committed to the branch of the run. If the check succeeds, the branch is merged into
``sales@main``. If it fails, the run is red, ``sales@main`` is untouched, and the branch is kept to look at.
"""

import csv
from io import StringIO

from airflow.sdk import DAG, Param, task

from airflow_versioned import VersionedCommitOperator, VersionedHook, branch_per_run

with (
    DAG("publish_sales", schedule=None, params={"directory": Param("/data/incoming", type="string")}),
    branch_per_run("sales@main", group_id="publish", when_rejected="keep") as branch,
):
    write = VersionedCommitOperator(task_id="write", ref=branch.ref, source="{{ params.directory }}")

    @task
    def check(ref: str) -> int:
        """Return the number of sales; a sale without a customer, or with a negative amount, is refused."""
        number = 0
        with VersionedHook().run() as store:
            snapshot = store.snapshot(ref)
            for info in snapshot.glob("*.csv"):
                for line, sale in enumerate(csv.DictReader(StringIO(snapshot.read(info.path).decode())), start=2):
                    if not sale["customer"] or float(sale["amount"]) < 0:
                        raise ValueError(f"{info.path}, line {line}: {sale} is not a sale")
                    number += 1
        return number

    write >> check(branch.ref)
