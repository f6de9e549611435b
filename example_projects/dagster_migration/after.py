"""The project after: one line is another, and its import."""

import os

import dagster as dg

from dagster_versioned import VersionedIOManager
from example_projects.dagster_migration.assets import ASSETS

OLD = os.environ.get("OLD_VALUES", "./old")

io_manager = VersionedIOManager(store=os.environ.get("VERSIONED_STORE", "./store"), fallback=OLD)

definitions = dg.Definitions(ASSETS, resources={"io_manager": io_manager})
