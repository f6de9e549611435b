"""The lineage ID of runs that nothing in a repo caused, and the run context of a step."""

import uuid
from types import SimpleNamespace

import dagster as dg
import pytest

from dagster_versioned.compat import current_step
from dagster_versioned.step_runs import mint_lineage, run_of_step
from versioned_io.model.identifiers import parse_lineage_id


@pytest.fixture
def new_step(instance):
    """Make what `mint_lineage` needs of a step, of a new run with these tags."""

    def make(**run_tags: str):
        run = instance.add_run(dg.DagsterRun(job_name="job", run_id=str(uuid.uuid4()), tags=run_tags))
        return SimpleNamespace(instance=instance, dagster_run=run)

    return make


def test_a_minted_lineage_id_is_a_uuid_of_version_7_and_the_same_in_every_step_of_the_run(new_step):
    step, other = new_step(), new_step()
    minted = mint_lineage(step)
    assert parse_lineage_id(minted) == minted == mint_lineage(step)
    assert (uuid.UUID(minted).version, uuid.UUID(minted).variant) == (7, uuid.RFC_4122)
    assert mint_lineage(other) != minted


def test_a_step_has_one_run_context_and_a_retry_has_its_own(instance, opened):
    seen = []

    @dg.op(retry_policy=dg.RetryPolicy(max_retries=1))
    def fragile():
        step = current_step()
        run = run_of_step(step, opened, webserver_url="http://dagster")
        assert run is run_of_step(step, opened)
        seen.append(run)
        if len(seen) == 1:
            msg = "once"
            raise RuntimeError(msg)

    @dg.job
    def job():
        fragile()

    result = job.execute_in_process(instance=instance)
    first, second = seen
    assert first is not second
    assert first.info == second.info
    assert second.info.url == f"http://dagster/runs/{result.run_id}"


def test_the_config_of_an_op_is_recorded_unless_it_is_huge(instance, opened):
    @dg.op(config_schema={"text": str})
    def configured():
        return run_of_step(current_step(), opened).info.params

    @dg.job(resource_defs={"io_manager": dg.mem_io_manager})
    def job():
        configured()

    def params(text: str) -> object:
        config = {"ops": {"configured": {"config": {"text": text}}}}
        return job.execute_in_process(instance=instance, run_config=config).output_for_node("configured")

    assert params("short") == {"text": "short"}
    assert params("x" * 20_000) == {"config_size_bytes": 20_012}


def test_what_came_from_the_environment_is_recorded_by_its_name(instance, opened, monkeypatch):
    """A commit record is for good, and everybody who reads the store reads it."""
    monkeypatch.setenv("SOME_VARIABLE", "hunter2")

    class Settings(dg.Config):
        given: str
        defaulted: str = dg.EnvVar("SOME_VARIABLE")
        rows: int = 5

    schema = {
        "login": {"user": str, "key": dg.StringSource},
        "hosts": [dg.StringSource],
        "url": dg.Field(dg.StringSource, default_value={"env": "SOME_VARIABLE"}),
        "password": dg.Field(str, is_required=False),
        "limit": dg.Field(int, default_value=3),
    }

    @dg.op(config_schema=schema)
    def plain():
        return run_of_step(current_step(), opened).info.params

    @dg.op
    def pythonic(config: Settings):
        assert config.given == "hunter2"
        return run_of_step(current_step(), opened).info.params

    @dg.config_mapping(config_schema={"of": dg.StringSource})
    def mapping(outer):
        return {"inner": {"config": {"login": {"user": "me", "key": outer["of"]}, "hosts": [outer["of"]]}}}

    @dg.graph(config=mapping)
    def mapped():
        return plain.alias("inner")()

    @dg.job(resource_defs={"io_manager": dg.mem_io_manager})
    def job():
        plain()
        pythonic()
        mapped()

    variable = {"env": "SOME_VARIABLE"}
    config = {"login": {"user": "me", "key": variable}, "hosts": ["a", variable], "password": "hunter2"}
    ops = {
        "plain": {"config": config},
        "pythonic": {"config": {"given": variable}},
        "mapped": {"config": {"of": variable}},
    }
    done = job.execute_in_process(instance=instance, run_config={"ops": ops})
    assert done.output_for_node("plain") == {
        **config,
        "url": variable,
        "limit": 3,
        "password": "(withheld)",
    }
    assert done.output_for_node("pythonic") == {"given": variable, "defaulted": variable, "rows": 5}
    assert "hunter2" not in repr(done.output_for_node("mapped.inner"))


def test_outside_of_a_step_there_is_none():
    assert current_step() is None
