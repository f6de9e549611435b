"""Exports: JSON, OpenLineage, Mermaid and DOT say what the answers say, whatever the names are."""

import json
import re
import shutil
import subprocess
import uuid
from datetime import datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import versioned_io as vio
from versioned_io.errors import InvalidInputError

HOSTILE = ['"];evil["', "</text><script>alert(1)</script>", "a\\N\\G", "`x`", "#quot;", "ü\u202e", "%%{init}%%", "x\ty"]


@pytest.fixture
def made(store, write):
    """A model from a file of `data`, one of `labels`, and a file outside of the store."""
    for name in ("data", "labels", "models"):
        store.create_repo(name)
    write(store, "data@main", {"d": b"1", "unread": b"1"})
    write(store, "labels@main", {"l": b"1"})
    outside = [{"uri": "s3://bucket/a b", "digest": "sha256:1", "path": ""}]
    run = store.run(
        "train",
        orchestrator="airflow",
        run_id="manual__1",
        code_version="7",
        params={"task": "fit", "depth": 3},
        partition_key="2026",
    )
    with run, store.transaction("models@main", metadata={"external_inputs": outside}) as tx:
        store.snapshot("data@main").read("d")
        store.snapshot("labels@main").read("l")
        tx.write("model", b"m")
    return tx.commit


def events_of(store, of, **options):
    return [json.loads(line) for line in store.export_lineage(of, to="openlineage", **options).splitlines()]


def edges_of_events(events):
    """(commit, source commit) pairs of the datasets of the store."""
    found = set()
    for event in events:
        if event["eventType"] == "COMPLETE":
            commit = event["run"]["facets"]["versioned_commit"]["commit"]
            assert [one["facets"]["version"]["datasetVersion"] for one in event["outputs"]] == [commit]
            own = [one for one in event["inputs"] if one["namespace"].startswith("versioned+")]
            found |= {(commit, one["facets"]["version"]["datasetVersion"]) for one in own}
    return found


def test_the_document_has_the_edges_with_their_files(store, made):
    document = json.loads(store.export_lineage("models@main"))
    assert document["format"] == 1
    assert document["roots"] == [made.id]
    assert [(commit["repo"], commit["state"]) for commit in document["commits"]] == [
        ("data", "live"),
        ("labels", "live"),
        ("models", "live"),
    ]
    assert {(edge["source"], *(file["path"] for file in edge["files"])) for edge in document["edges"]} == {
        (store.commit("data@main").id, "d"),
        (store.commit("labels@main").id, "l"),
    }
    assert [(one["commit"], one["uri"]) for one in document["external"]] == [(made.id, "s3://bucket/a b")]
    assert store.export_lineage("models@main") == store.export_lineage("models@main", to="json")


def test_an_event_names_the_job_the_run_and_the_versions_of_its_datasets(store, made):
    start, complete = events_of(store, "models@main")[-2:]
    assert (start["eventType"], complete["eventType"]) == ("START", "COMPLETE")
    assert complete["job"]["namespace"] == "airflow"
    assert complete["job"]["name"] == "train.fit"
    assert uuid.UUID(complete["run"]["runId"]).hex == made.id
    own = complete["run"]["facets"]["versioned_commit"]
    assert (own["lineageId"], own["orchestratorRunId"], own["partitionKey"], own["codeVersion"]) == (
        made.lineage_id,
        "manual__1",
        "2026",
        "7",
    )
    assert complete["run"]["facets"]["executionParameters"]["parameters"] == [
        {"key": "depth", "value": "3"},
        {"key": "task", "value": "fit"},
    ]
    (mine,) = {one["namespace"] for one in complete["outputs"]}
    assert mine.startswith(("versioned+file:///", "versioned+memory://"))
    names = [(one["namespace"], one["name"]) for one in complete["inputs"]]
    assert sorted(names) == [("s3://bucket", "a b"), (mine, "data@main"), (mine, "labels@main")]
    data = next(one for one in complete["inputs"] if one["name"] == "data@main")
    assert [file["path"] for file in data["facets"]["versioned_files"]["files"]] == ["d"]
    assert complete["outputs"][0]["facets"]["versioned_tree"]["digest"] == made.tree_digest
    assert {one["job"]["name"] for one in events_of(store, "models@main")} == {
        "commit to data@main",
        "commit to labels@main",
        "train.fit",
    }
    assert {one["namespace"] for one in events_of(store, "models@main", namespace="prod")[-1]["outputs"]} == {"prod"}


# What the published schema 2-0-2 demands of an event, told again: type, and whether it must be there.
REQUIRED = {"eventTime": str, "producer": str, "schemaURL": str, "run": dict, "job": dict}
URI = re.compile(r"[a-z][a-z0-9+.-]*:\S+")


def check_event(event):
    for name, kind in REQUIRED.items():
        assert isinstance(event[name], kind)
    assert datetime.fromisoformat(event["eventTime"]).tzinfo is not None
    assert event["eventType"] in {"START", "RUNNING", "COMPLETE", "ABORT", "FAIL", "OTHER"}
    assert str(uuid.UUID(event["run"]["runId"])) == event["run"]["runId"]
    facets = [*event["run"]["facets"].values(), *event["job"].get("facets", {}).values()]
    for dataset in [event["job"], *event["inputs"], *event["outputs"]]:
        assert isinstance(dataset["namespace"], str)
        assert isinstance(dataset["name"], str)
        facets += [*dataset.get("facets", {}).values(), *dataset.get("outputFacets", {}).values()]
    for address in [event["producer"], event["schemaURL"], *(one["_producer"] for one in facets)]:
        assert URI.fullmatch(address)
    assert all(URI.fullmatch(one["_schemaURL"]) for one in facets)


def test_every_event_has_what_the_schema_demands(store, made):
    for event in events_of(store, "models@main"):
        check_event(event)


def test_the_client_of_openlineage_takes_every_event(store, made):
    pytest.importorskip("openlineage.client")
    from openlineage.client.event_v2 import InputDataset, Job, OutputDataset, RunEvent, RunState
    from openlineage.client.event_v2 import Run as ClientRun
    from openlineage.client.generated import dataset_version_dataset, execution_parameters_run, job_type_job
    from openlineage.client.serde import Serde

    classes = {
        "version": dataset_version_dataset.DatasetVersionDatasetFacet,
        "executionParameters": execution_parameters_run.ExecutionParametersRunFacet,
        "jobType": job_type_job.JobTypeJobFacet,
    }

    def facets(found):
        taken = {}
        for name, fields in found.items():
            own = {key: value for key, value in fields.items() if not key.startswith("_")}
            if name in classes:
                taken[name] = classes[name](**own)
                assert taken[name]._schemaURL == fields["_schemaURL"]
        return taken

    for event in events_of(store, "models@main"):
        inputs = [InputDataset(one["namespace"], one["name"], facets=facets(one["facets"])) for one in event["inputs"]]
        outputs = [
            OutputDataset(one["namespace"], one["name"], facets=facets(one["facets"])) for one in event["outputs"]
        ]
        job = Job(event["job"]["namespace"], event["job"]["name"], facets(event["job"].get("facets", {})))
        taken = RunEvent(
            eventTime=event["eventTime"],
            eventType=RunState(event["eventType"]),
            run=ClientRun(event["run"]["runId"], facets(event["run"]["facets"])),
            job=job,
            inputs=inputs,
            outputs=outputs,
            producer=event["producer"],
        )
        again = json.loads(Serde.to_json(taken))
        assert again["schemaURL"] == event["schemaURL"]
        assert again["run"]["runId"] == event["run"]["runId"]


def test_a_lineage_id_and_a_commit_of_no_run_are_exported_too(store, made, write):
    labels = store.commit("labels@main")
    assert edges_of_events(events_of(store, made.lineage_id)) == set(store.lineage_graph(made.lineage_id).edges)
    assert {event["job"]["name"] for event in events_of(store, labels.lineage_id)} >= {"commit to labels@main"}
    down = json.loads(store.export_lineage("labels@main:l", way="down"))
    assert [commit["repo"] for commit in down["commits"]] == ["labels", "models"]


def test_what_is_not_a_format_or_a_way_is_refused(store, made):
    with pytest.raises(InvalidInputError, match="'json', 'openlineage', 'mermaid', 'dot'"):
        store.export_lineage("models@main", to="svg")
    with pytest.raises(InvalidInputError, match="'up', 'down'"):
        store.export_lineage("models@main", way="sideways")
    with pytest.raises(InvalidInputError, match="is a lineage ID"):
        store.export_lineage(made.lineage_id, way="down")


# Hostile names


@pytest.fixture
def hostile(store, write):
    """Jobs, paths and addresses that would be markup."""
    for name in ("data", "models"):
        store.create_repo(name)
    for number, name in enumerate(HOSTILE):
        path = f"p{number}" if "\t" in name else name.replace("/", "|")
        write(store, "data@main", {path: b"%d" % number})
        outside = [{"uri": f"file:///{name}", "digest": "", "path": ""}]
        with store.run(name), store.transaction("models@main", metadata={"external_inputs": outside}) as tx:
            store.snapshot("data@main").read(path)
            tx.write("m", b"%d" % number)
    return store


MERMAID = re.compile(r'flowchart LR|  n\d+\["[^"`<>]*"\]|  x\d+\(\["[^"`<>]*"\]\)|  [nx]\d+ -->(\|"[^"`<>|]*"\|)? n\d+')


@pytest.mark.parametrize("number", range(len(HOSTILE)))
def test_hostile_names_stay_text_in_mermaid(hostile, number):
    lines = hostile.export_lineage(f"models@main~{number}", to="mermaid").splitlines()
    for line in lines:
        text = line.replace("<br/>", "")
        assert MERMAID.fullmatch(text), line
        for entity in re.findall(r"#[^;]*;|#", text.replace(" #35;", "")):
            assert re.fullmatch(r"#\d+;", entity), line
    assert len(lines) == 6


@pytest.mark.parametrize("number", range(len(HOSTILE)))
def test_hostile_names_stay_text_in_dot(hostile, number):
    text = hostile.export_lineage(f"models@main~{number}", to="dot")
    line = re.compile(
        r"digraph lineage \{|  rankdir=LR;|  node \[shape=box\];|\}"
        r'|  [nx]\d+( -> n\d+)?( \[label="(?:[^"\\\x00-\x1f]|\\[\\"n])*"(, shape=ellipse)?\])?;'
    )
    for one in text.splitlines():
        assert line.fullmatch(one), one
    if (dot := shutil.which("dot")) is not None:
        subprocess.run([dot, "-Tsvg"], input=text.encode(), check=True, capture_output=True)


@pytest.mark.parametrize("to", ["json", "openlineage", "mermaid", "dot"])
def test_no_export_has_a_secret_of_an_address_or_of_metadata(store, to):
    store.create_repo("models")
    outside = [{"uri": "https://user:s3cret@host/x?X-Amz-Signature=s3cret", "digest": "", "path": ""}]
    metadata = {"external_inputs": outside, "token": "s3cret"}
    with store.run("train"), store.transaction("models@main", metadata=metadata) as tx:
        tx.write("m", b"1")
    text = store.export_lineage("models@main", to=to)
    assert "s3cret" not in text
    assert "host" in text


def test_an_entity_of_graphviz_stays_text(store, write):
    for name in ("data", "models"):
        store.create_repo(name)
    write(store, "data@main", {"a": b"1"})
    with store.run("a&#8238;b&lt;"), store.transaction("models@main") as tx:
        store.snapshot("data@main").read("a")
        tx.write("m", b"1")
    assert "python a&amp;#8238;b&amp;lt;" in store.export_lineage("models@main", to="dot")


def test_no_export_has_a_character_that_steers_a_terminal(hostile):
    for to in ("json", "openlineage", "mermaid", "dot"):
        text = hostile.export_lineage("models@main", to=to)
        assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202e]", text)


# The exported edges are the answers

drawn = st.lists(st.tuples(st.integers(0, 2), st.lists(st.integers(1, 6), max_size=3)), min_size=1, max_size=7)


@settings(max_examples=15)
@given(drawn)
def test_exported_edges_are_the_answers_and_both_ways_agree(steps):
    names = ("data", "labels", "models")
    with vio.create_store(f"memory://{uuid.uuid4().hex}") as store:
        for name in names:
            store.create_repo(name)
        made = []
        for number, (repo, backs) in enumerate(steps):
            with store.run("step"):
                for back in backs:
                    if back <= len(made):
                        store.snapshot(made[-back].id).read("out")
                with store.transaction(f"{names[repo]}@main", empty="allow") as tx:
                    tx.write("out", b"%d" % (number % 3))
            made.append(tx.commit)
        up, down = {}, {}
        for commit in made:
            answer = store.upstream(commit.id)
            document = json.loads(store.export_lineage(commit.id))
            assert {(edge["commit"], edge["source"]) for edge in document["edges"]} == set(answer.edges)
            assert edges_of_events(events_of(store, commit.id)) == set(answer.edges)
            for to, arrow in (("mermaid", " -->"), ("dot", " ->")):
                arrows = [line for line in store.export_lineage(commit.id, to=to).splitlines() if arrow in line]
                assert len(arrows) == len(answer.edges)
            up[commit.id] = {one["id"] for one in document["commits"]}
            below = json.loads(store.export_lineage(commit.id, way="down"))
            down[commit.id] = {one["id"] for one in below["commits"]}
        for one in up:
            assert down[one] == {other for other, found in up.items() if one in found}
