"""The DAG of a pipeline: it runs when a commit to an input wakes it, in batches of datums."""

from functools import reduce
from operator import or_
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow.sdk import DAG

from airflow_versioned.assets import VersionedAsset, versioned_asset
from airflow_versioned.datums import datum_task_group
from airflow_versioned.naming import escape_word
from airflow_versioned.uris import DEFAULT_CONNECTION
from versioned_io.errors import RefSyntaxError

if TYPE_CHECKING:
    from versioned_io import PipelineFunction


def build_pipeline_dag(
    pipeline: "PipelineFunction | str | Path",
    dag_id: str | None = None,
    *,
    name: str | None = None,
    branch: str = "master",
    batch_size: int = 100,
    conn_id: str = DEFAULT_CONNECTION,
    store: str | None = None,
    task_options: dict[str, Any] | None = None,
    **dag_options: Any,  # noqa: ANN401 (DAG's own options)
) -> DAG:
    """Return the DAG that keeps a pipeline's output up to date: ``plan``, ``evaluate`` in batches, ``commit``.

    A commit to any branch that the pipeline reads starts a run. A wake-up is repeated until a run has read the commit.
    The output branch is an outlet, so pipelines that read it follow.

    >>> import versioned_io as vio
    >>> from airflow_versioned import build_pipeline_dag
    >>> @vio.pipeline("wet", inputs=vio.glob("rain@main", "/*.csv"), output="wet@main")
    ... def wet(datum, out):
    ...     out.write(datum["rain"].path, datum["rain"].read().upper())
    >>> build_pipeline_dag(wet).task_ids
    ['wet.plan', 'wet.evaluate', 'wet.commit']

    Args:
        pipeline: A function that ``@vio.pipeline`` decorated, a command of ``vio.command``, or the path of a file that
            declares a pipeline, also one of Pachyderm (`Store.load_pipeline`). A relative path is one of the process
            that parses the DAG file: begin it with ``Path(__file__).parent``.
        dag_id: By default the pipeline's name.
        name: Of several pipelines in the file, the one to run.
        branch: The branch that a spec of Pachyderm means where it names none.
        batch_size: How many datums a task evaluates, as for `datum_task_group`.
        conn_id, store: As for `versioned_asset`.
        task_options: Arguments of all three tasks, such as ``retries`` and ``max_workers``.
        dag_options: Passed to ``DAG``. Give ``schedule`` if an input is a tag, which no commit wakes.

    Raises:
        InvalidInputError: The file does not declare a pipeline. The message names the line.
    """
    made = _read(pipeline, name, branch)
    heads = [] if "schedule" in dag_options else _heads(made, conn_id, store)
    options = {
        "schedule": reduce(or_, heads) if heads else None,
        "catchup": False,
        "max_active_runs": 1,
        "description": f"Keeps {made.output} up to date by the pipeline {made.name}",
        "tags": ["versioned-io", "pipeline"],
        **dag_options,
    }
    with DAG(dag_id or escape_word(made.name), **options) as dag:
        datum_task_group(
            made,
            batch_size=batch_size,
            outlets=[versioned_asset(str(made.output), conn_id=conn_id, store=store)],
            wakes_on=heads,
            versioned_conn_id=conn_id,
            store=store,
            **(task_options or {}),
        )
    return dag


def _read(pipeline: "PipelineFunction | str | Path", name: str | None, branch: str) -> "PipelineFunction":
    if not isinstance(pipeline, str | Path):
        return pipeline
    from versioned_io import read_pipeline

    return read_pipeline(pipeline, name, branch=branch)


def _heads(pipeline: "PipelineFunction", conn_id: str, store: str | None) -> list[VersionedAsset]:
    """Return the branches that the pipeline reads; a ref such as ``main~1`` is none."""
    found = []
    for ref in pipeline.input_refs:
        try:
            found.append(versioned_asset(ref, conn_id=conn_id, store=store))
        except RefSyntaxError:
            continue
    return found
