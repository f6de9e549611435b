"""What Airflow is told about the provider, and that it can be told before Airflow is there."""

import json
import subprocess
import sys
from importlib.metadata import distribution
from importlib.resources import files

import jsonschema
import pytest

from airflow_versioned.provider_info import PACKAGE_NAME, get_provider_info


def test_it_satisfies_airflows_schema():
    schema = json.loads(files("airflow").joinpath("provider_info.schema.json").read_text())
    jsonschema.validate(get_provider_info(), schema)


def test_the_connection_form_satisfies_airflows_schema():
    schema = json.loads(files("airflow").joinpath("customized_form_field_behaviours.schema.json").read_text())
    (connection,) = get_provider_info()["connection-types"]
    behaviour = {name.replace("-", "_"): value for name, value in connection["ui-field-behaviour"].items()}
    jsonschema.validate(behaviour, schema)


def test_the_package_is_named_as_the_distribution():
    assert distribution(PACKAGE_NAME).metadata["Name"] == PACKAGE_NAME


def test_the_entry_point_leads_here():
    (entry_point,) = distribution(PACKAGE_NAME).entry_points.select(group="apache_airflow_provider")
    assert entry_point.load() is get_provider_info


def test_everything_that_it_names_can_be_imported():
    from importlib import import_module

    info = get_provider_info()
    for group in ("hooks", "operators", "triggers"):
        for item in info[group]:
            for name in item["python-modules"]:
                import_module(name)
    for path in (info["asset-uris"][0]["handler"], info["connection-types"][0]["hook-class-name"]):
        module, _, attribute = path.rpartition(".")
        assert callable(getattr(import_module(module), attribute))


@pytest.mark.parametrize("module", ["airflow_versioned", "airflow_versioned.provider_info", "airflow_versioned.uris"])
def test_what_airflow_loads_while_it_starts_imports_no_airflow(module):
    code = f"import {module}, sys; sys.exit(any(name.split('.')[0] == 'airflow' for name in sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_airflow_knows_the_connection_type():
    from airflow.providers_manager import ProvidersManager
    from airflow.sdk.providers_manager_runtime import ProvidersManagerTaskRuntime

    assert ProvidersManagerTaskRuntime().hooks["versioned"].hook_name == "Versioned store"
    behaviour = ProvidersManager().field_behaviours["versioned"]
    assert behaviour["relabeling"] == {"host": "Store URL", "password": "Catalog URL"}
