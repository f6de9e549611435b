import psutil
import pytest

from devservers.dagster_server import DagsterServer
from devservers.process import ServerError, wait_until

pytestmark = pytest.mark.e2e

DEFINITIONS = """
import dagster as dg

partitions = dg.StaticPartitionsDefinition(["a", "b"])


@dg.asset(partitions_def=partitions)
def numbers(context):
    return dg.MaterializeResult(metadata={"count": 1, "text": "t", "json": {"a": 1}})


@dg.asset
def other():
    return 1


@dg.sensor(target=[numbers], minimum_interval_seconds=1)
def once(context):
    if context.cursor:
        return dg.SkipReason("seen")
    context.update_cursor("seen")
    return [dg.RunRequest(partition_key="a", run_key="a")]


defs = dg.Definitions(assets=[numbers, other], sensors=[once], executor=dg.in_process_executor)
"""


def test_all_components_work_together_and_nothing_is_left_of_them(tmp_path):
    definitions = tmp_path / "definitions.py"
    definitions.write_text(DEFINITIONS)
    with DagsterServer(tmp_path / "home", definitions) as dagster:
        run = dagster.api.wait_for_run(dagster.api.launch("__ASSET_JOB", assets=("other",)))
        assert (run.status, run.assets) == ("SUCCESS", {"other"})
        assert dagster.api.materializations("numbers") == []
        dagster.api.start_sensor("once")
        runs = dagster.api.wait_for_runs(2, settle_s=2)
        assert [(run.status, run.partition) for run in runs] == [("SUCCESS", None), ("SUCCESS", "a")]
        (made,) = dagster.api.materializations("numbers")
        assert (made.partition, made.run_id) == ("a", runs[1].run_id)
        assert made.metadata == {"count": 1, "text": "t", "json": {"a": 1}}
        assert dagster.api.sensor_ticks("once")[-1].run_ids == (runs[1].run_id,)
        # The next evaluation comes within the daemon's interval, which on a busy machine is after the run's end.
        wait_until(
            lambda: "seen" in [tick.skip_reason for tick in dagster.api.sensor_ticks("once")],
            what="the sensor's next evaluation",
            timeout_s=60,
        )
        started = [child for process in dagster.processes.values() for child in family(process.pid)]
        assert len(started) >= 2 * len(dagster.processes)
    assert not [process for process in started if process.is_running()]


def family(pid):
    return [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]


def test_definitions_that_do_not_load_are_reported_with_their_traceback(tmp_path):
    definitions = tmp_path / "definitions.py"
    definitions.write_text("raise RuntimeError('no such store')")
    with pytest.raises(ServerError, match="no such store"):
        DagsterServer(tmp_path / "home", definitions).start()
