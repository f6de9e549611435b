"""The project before: Dagster's own IO manager."""

import os

import dagster as dg

from example_projects.dagster_migration.assets import ASSETS

OLD = os.environ.get("OLD_VALUES", "./old")

io_manager = dg.FilesystemIOManager(base_dir=OLD)

definitions = dg.Definitions(ASSETS, resources={"io_manager": io_manager})
