"""The pipelines as assets: a new photograph makes its edges and the montage stale, and the sensor runs them."""

import sys
from pathlib import Path

import dagster as dg

from dagster_versioned import VersionedStoreResource, build_datum_sensor, build_repo_assets, datum_asset

sys.path.insert(0, str(Path(__file__).parent))
from edges import edges, montage

STORE = VersionedStoreResource()  # $VERSIONED_STORE

assets = [datum_asset(edges, group_name="pictures"), datum_asset(montage, group_name="pictures")]

defs = dg.Definitions.merge(
    build_repo_assets("photographs"),
    dg.Definitions(
        assets=assets,
        sensors=[build_datum_sensor(*assets, name="pictures", default_status=dg.DefaultSensorStatus.RUNNING)],
        resources={"versioned_store": STORE},
    ),
)
