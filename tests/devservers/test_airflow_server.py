import psutil
import pytest

from devservers.airflow_server import AirflowServer
from devservers.process import ServerError

pytestmark = pytest.mark.e2e

DAGS = """
from airflow.sdk import Asset, dag, task

NUMBERS = Asset(name="numbers", uri="x://numbers/all")


@dag(schedule=None)
def produce():
    @task(outlets=[NUMBERS])
    def number():
        return {"n": 42}

    number()


@dag(schedule=[NUMBERS])
def consume():
    @task
    def done():
        return "done"

    done()


produce()
consume()
"""


def test_all_components_work_together_and_nothing_is_left_of_them(tmp_path, postgres_server):
    dags = tmp_path / "dags"
    dags.mkdir()
    (dags / "numbers.py").write_text(DAGS)
    with AirflowServer(tmp_path / "home", dags, postgres=postgres_server) as airflow:
        airflow.api.wait_for_dag("produce")
        airflow.api.wait_for_dag("consume")
        run_id = airflow.api.trigger("produce", conf={"a": 1})
        run = airflow.api.wait_for_run("produce", run_id)
        assert (run.state, run.conf) == ("success", {"a": 1})
        assert airflow.api.task_states("produce", run_id) == {"number": "success"}
        assert airflow.api.xcom("produce", run_id, "number") == {"n": 42}
        assert airflow.api.task_log("produce", run_id, "number")
        (consumed,) = airflow.api.wait_for_runs("consume", 1)
        assert (consumed.state, consumed.run_type) == ("success", "asset_triggered")
        (event,) = airflow.api.asset_events("x://numbers/all")
        assert (event.source_dag_id, event.source_run_id) == ("produce", run_id)

        airflow.stop_components("scheduler", crash=True)
        airflow.start_components("scheduler")
        assert airflow.api.wait_for_run("produce", airflow.api.trigger("produce")).state == "success"
        started = [child for process in airflow.processes.values() for child in family(process.pid)]
        assert len(started) > 2 * len(airflow.processes)
    assert not [process for process in started if process.is_running()]


def family(pid):
    return [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]


def test_a_broken_dag_is_reported_with_its_traceback(tmp_path, postgres_server):
    """Shown on the API object alone: starting Airflow once more for it would take half a minute."""
    from devservers.airflow_api import AirflowApi

    class Broken(AirflowApi):
        def request(self, method, path, body=None):
            return {"import_errors": [{"filename": "d.py", "stack_trace": "NameError: x"}]}

    with pytest.raises(ServerError, match=r"(?s)d\.py.*NameError: x"):
        Broken("http://127.0.0.1:1").has_dag("d")
