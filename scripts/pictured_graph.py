"""The definitions whose asset graph is a picture in the documentation: a repo, and two assets that are made of it."""

import os

import dagster as dg
import pandas as pd

from dagster_versioned import VersionedIOManager, build_repo_assets

STORE = os.environ["VERSIONED_STORE"]


@dg.asset(automation_condition=dg.AutomationCondition.eager())
def revenue(orders: pd.DataFrame) -> int:
    """The sum of all orders."""
    return int(orders.price.sum())


@dg.asset(automation_condition=dg.AutomationCondition.eager())
def report(revenue: int) -> str:
    """A sentence about it."""
    return f"We sold for {revenue}."


definitions = dg.Definitions.merge(
    build_repo_assets("orders", store=STORE, minimum_interval_seconds=2),
    dg.Definitions(
        [revenue, report],
        sensors=[
            dg.AutomationConditionSensorDefinition(
                "automation", target="*", default_status=dg.DefaultSensorStatus.RUNNING, minimum_interval_seconds=2
            )
        ],
        resources={"io_manager": VersionedIOManager(store=STORE)},
        executor=dg.in_process_executor,
    ),
)
