"""The component: a file that declares a pipeline is an asset with its sensor, of which every step is Dagster's own."""

import json

import dagster as dg
import pytest
from dagster.components.testing import create_defs_folder_sandbox

from dagster_versioned import VersionedStoreResource
from dagster_versioned.components import PipelineComponent

SPEC = {
    "pipeline": {"name": "count"},
    "input": {"pfs": {"repo": "texts", "branch": "main", "glob": "/*"}},
    "transform": {"cmd": ["sh"], "stdin": ['wc -c < "$texts" > "$PFS_ROOT/out/$(basename "$texts")"']},
    "output_branch": "main",
}

pytestmark = pytest.mark.filterwarnings("default")  # Dagster's own, of its components


def test_a_spec_of_pachyderm_is_an_asset_with_a_sensor(opened, store_url, instance):
    with create_defs_folder_sandbox() as sandbox:
        place = sandbox.scaffold_component(
            component_cls=PipelineComponent,
            defs_path="count",
            defs_yaml_contents={
                "type": "dagster_versioned.components.PipelineComponent",
                "attributes": {"spec": "count.json", "group_name": "texts"},
            },
        )
        (place / "count.json").write_text(json.dumps(SPEC))
        with sandbox.load_component_and_build_defs(defs_path=place) as (component, definitions):
            assert isinstance(component, PipelineComponent)
            (asset,) = definitions.assets
            assert [sensor.name for sensor in definitions.sensors] == ["count_datums"]
    opened.create_repo("texts")
    with opened.transaction("texts@main") as tx:
        tx.write("a.txt", b"12345")
    resources = {"versioned_store": VersionedStoreResource(store=store_url)}
    assert dg.materialize([asset], resources=resources, instance=instance).success
    assert int(opened.snapshot("count@main").read("a.txt")) == 5


def test_its_schema_can_be_derived_so_that_it_breaks_no_listing_of_components():
    fields = PipelineComponent.get_model_cls().model_json_schema()["properties"]
    assert {"spec", "name", "batch_size", "sensor"} <= fields.keys()
