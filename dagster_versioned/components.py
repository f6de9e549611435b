"""The component of ``dg``: a pipeline that a file declares, as an asset with its sensor."""

from pathlib import Path

import dagster as dg

import versioned_io as vio
from dagster_versioned.datum_assets import datum_asset
from dagster_versioned.datum_sensor import build_datum_sensor

__all__ = ["PipelineComponent"]


class PipelineComponent(dg.Component, dg.Resolvable, dg.Model):
    """The asset of a pipeline that a YAML or JSON file declares, also one of Pachyderm, and the sensor that runs it.

    ``defs.yaml`` names the component and the file beside it::

        type: dagster_versioned.components.PipelineComponent
        attributes:
          spec: edges.json

    The store is the resource under *resource_key*.

    Attributes:
        spec: The file, relative to the directory of the component.
        name: Of several pipelines in the file, the one to use.
        branch: The branch that a spec of Pachyderm means where it names none.
        batch_size, max_workers: As for `datum_asset`.
        sensor: Whether a sensor runs the asset when datums have changed. It starts running.
    """

    spec: str
    name: str | None = None
    branch: str = "master"
    batch_size: int | None = None
    max_workers: int = 1
    group_name: str | None = None
    resource_key: str = "versioned_store"
    sensor: bool = True

    def build_defs(self, context: dg.ComponentLoadContext) -> dg.Definitions:
        """Return the asset and its sensor.

        Raises:
            InvalidInputError: The file does not declare a pipeline. The message names the line.
        """
        pipeline = vio.read_pipeline(Path(context.path) / self.spec, self.name, branch=self.branch)
        asset = datum_asset(
            pipeline,
            batch_size=self.batch_size,
            max_workers=self.max_workers,
            group_name=self.group_name,
            resource_key=self.resource_key,
        )
        running = dg.DefaultSensorStatus.RUNNING
        sensors = [build_datum_sensor(asset, resource_key=self.resource_key, default_status=running)]
        return dg.Definitions(assets=[asset], sensors=sensors if self.sensor else [])
