"""Pipelines in YAML and JSON files: specs of this library, and Pachyderm's as they are."""

import json
import pickle
import uuid
from pathlib import Path

import pytest

import versioned_io as vio
from versioned_io.errors import InvalidInputError
from versioned_io.processing.pipelines.spec_values import read_documents
from versioned_io.processing.running.mounting import can_mount

ROOT = Path(__file__).resolve().parents[4]
YAML = """
name: edges
inputs:
  glob: {ref: images@main, pattern: "/(*).png"}
output: edges@main
command: [sh, edges.sh]
env:
  MODE: "1"
tries: 2
timeout_s: 30
workers: 2
"""


@pytest.fixture
def project(tmp_path, monkeypatch):
    place = tmp_path / "project"
    place.mkdir()
    monkeypatch.chdir(tmp_path)
    (place / "edges.sh").write_text('echo "$MODE" > "$PFS_ROOT/out/${images##*/}"')
    return place


@pytest.fixture
def filled():
    with vio.create_store(f"memory://{uuid.uuid4().hex}") as store:
        for repo in ("images", "edges", "montage", "labels"):
            store.create_repo(repo)
        put(store, "images@main", {"a.png": b"a", "b.png": b"b"})
        yield store


def put(store, branch, files):
    with store.transaction(branch) as tx:
        for path, data in files.items():
            tx.write(path, data)


def contents(store, ref):
    found = store.snapshot(ref)
    return {file.path: found.read(file.path) for file in found.walk()}


def saved(place, spec, name="edges.json"):
    path = place / name
    path.write_text(spec if isinstance(spec, str) else json.dumps(spec, indent=1))
    return path


def test_a_spec_in_yaml_or_json_is_a_pipeline_and_both_share_results(filled, project):
    pipe = filled.load_pipeline(saved(project, YAML, "edges.yaml"))
    assert pipe.run().counts["run"] == 2
    assert contents(filled, "edges@main") == {"a.png": b"1\n", "b.png": b"1\n"}
    yaml = pytest.importorskip("yaml")
    same = filled.load_pipeline(saved(project, yaml.safe_load(YAML)))
    assert same.plan().is_empty
    (project / "edges.sh").write_text('echo "new" > "$PFS_ROOT/out/${images##*/}"')
    assert "edges.sh (changed)" in filled.load_pipeline(project / "edges.yaml").explain("a.png")


def test_a_spec_names_every_kind_of_input(project):
    spec = {
        "name": "p",
        "command": ["true"],
        "output": "out@main",
        "inputs": {
            "cross": [
                {"glob": {"ref": "a@main", "pattern": "/*", "name": "x", "empty_files": True}},
                {"table": {"ref": "t@main", "path": "/t.parquet", "by": "k"}},
                {"cron": {"schedule": "0 6 * * *", "ref": "ticks@main", "start": "2026-01-01T00:00:00Z"}},
                {"union": [{"glob": {"ref": "u@main", "pattern": "/"}}]},
                {"join": [{"glob": {"ref": "j@main", "pattern": "/(*)", "join_on": "$1", "outer": True}}]},
                {"group": [{"glob": {"ref": "g@main", "pattern": "/{k}", "group_by": "{k}"}}]},
            ]
        },
    }
    found = vio.read_pipeline(saved(project, spec)).inputs
    made = vio.cross(
        vio.glob("a@main", "/*", name="x", empty_files=True),
        vio.table("t@main", "/t.parquet", by="k"),
        found.arms[2],
        vio.union(vio.glob("u@main", "/")),
        vio.join(vio.glob("j@main", "/(*)", join_on="$1", outer=True)),
        vio.group(vio.glob("g@main", "/{k}", group_by="{k}")),
    )
    assert found == made
    assert (found.arms[2].schedule, found.arms[2].start.isoformat()) == ("0 6 * * *", "2026-01-01T00:00:00+00:00")


def test_a_spec_can_make_a_pipeline_of_a_function(filled, project):
    (project / "loud.py").write_text(
        "def loud(datum, out):\n"
        "    out.write(datum['images'].path, datum['images'].read().upper() * datum.parameters['times'])\n"
    )
    spec = {
        "name": "loud",
        "function": "loud.py:loud",
        "params": {"times": 3},
        "inputs": {"glob": {"ref": "images@main", "pattern": "/*"}},
        "output": "edges@main",
    }
    path = saved(project, spec)
    assert filled.load_pipeline(path).run().state == "succeeded"
    assert contents(filled, "edges@main") == {"a.png": b"AAA", "b.png": b"BBB"}
    found = vio.read_pipeline(path)
    assert pickle.loads(pickle.dumps(found)) == found


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"outputs": "x"}, "the field 'outputs' is unknown; did you mean 'output'?"),
        ({"tries": "2"}, "tries"),
        ({"tries": 0}, "tries=0"),
        ({"env": {"A": 1}}, "env.A must be text: write it in quotes"),
        ({"command": "ls"}, "command must be a list"),
        ({"command": None}, "needs the field 'command'"),
        ({"inputs": {"glob": {"ref": "a@main"}}}, "a glob input needs the field 'pattern'"),
        ({"inputs": {"glob": {"ref": "a@@b", "pattern": "/"}}}, ""),
        ({"inputs": {"glob": {}, "cross": []}}, "but here are 2 fields"),
        ({"inputs": {"pfs": {}}}, "'pfs' is not an input"),
        ({"inputs": {"cross": []}}, "at least one input"),
        ({"output": "images"}, ""),
        ({"code_paths": ["nope"]}, "can't be read"),
        ({"share": "yes"}, "share must be true or false"),
        ({"function": "nope.py:f"}, "the field 'command' is unknown"),
    ],
)
def test_a_field_that_is_wrong_is_refused_with_its_line(project, changed, words):
    spec = {
        "name": "edges",
        "inputs": {"glob": {"ref": "images@main", "pattern": "/*"}},
        "output": "edges@main",
        "command": ["true"],
    }
    spec = {name: value for name, value in {**spec, **changed}.items() if value is not None}
    with pytest.raises(InvalidInputError, match=r"^edges\.json, line \d+: ") as error:
        vio.read_pipeline(saved(project, spec))
    assert words in str(error.value)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("name: a\nname: b\n", 2),
        ("name: a\n\n\tb: c\n", 3),
        ("name: [a\n", 2),
        ('{"name": "a",\n "name": "b"}', 2),
        ('{"name": "a"\n "b": 1}', 2),
        ('{"name":\n}', 2),
        ("[1]", 1),
        ("a: &x [*x]", 1),
        ("name: !!python/object:os.system {}", 1),
        ('{"name": ' + "[" * 200 + "]" * 200 + "}", 1),
        ("name: a\nenv: " + "[" * 600 + "]" * 600, 2),
        ("name: a\n? [b, c]\n: d\n", 2),
        ("name: a\n? {b: c}\n: d\n", 2),
        ("name: a\ntries: !!int b\n", 2),
        ("name: a\nshare: !!bool b\n", 2),
        ("name: a\ntries: 0x_\n", 2),
        ("name: a\ntries: " + "1" * 5000, 2),
        ("name: a\nenv: {}\n# \x01", 3),
        ('name: a\noutput: "\\Uffffffff"', 2),
        ('{"name": "a",\n"tries": ' + "1" * 5000 + "}", 2),
        ("pipeline: {name: a}\ninput: {}\ndatumTries: 1\ndatum_tries: 2", 4),
        (
            "pipeline: {name: a}\ninput: {pfs: {repo: r, glob: /}}\ntransform: {cmd: [a]}\ndatumTries: '"
            + "1" * 5000
            + "'",
            4,
        ),
    ],
)
def test_a_file_that_can_not_be_parsed_is_refused_with_the_line(project, text, line):
    with pytest.raises(InvalidInputError, match=rf"^p\.spec, line {line}: "):
        vio.read_pipeline(saved(project, text, "p.spec"))


@pytest.mark.parametrize("text", ["", "# nothing\n", b"\xff\xfe\x00"])
def test_a_file_without_a_pipeline_is_refused(project, text):
    path = project / "p.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(InvalidInputError, match=r"p\.yaml"):
        vio.read_pipeline(path)
    with pytest.raises(InvalidInputError, match="can't be read"):
        vio.read_pipeline(project / "missing.yaml")


def test_aliases_that_unfold_to_very_many_values_are_refused(project):
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 8)]
    with pytest.raises(InvalidInputError, match="too many"):
        vio.read_pipeline(saved(project, "\n".join(lines), "p.yaml"))


def test_json_is_read_as_the_standard_library_reads_it(project):
    whole = {"a": [1, 2.5, True, None, 'x\n"ü', {}, []], "b": {"c": {"d": [[1], [2]]}}}
    for text in (json.dumps(whole), json.dumps(whole, indent=3), json.dumps(whole).replace(" ", "\t")):
        (found,) = read_documents(saved(project, text))
        assert found.plain() == whole
    assert [one.plain() for one in read_documents(saved(project, "{}\n{}"))] == [{}, {}]
    (found,) = read_documents(saved(project, '{\n"a": 1,\n"b":\n [1,\n2]}'))
    assert [one.line for one in found.value["b"].value] == [4, 5]


def test_each_line_of_a_long_json_file_is_counted_once(project, monkeypatch):
    counted = []

    class Text(str):
        __slots__ = ()

        def count(self, *args):
            counted.append(args[2] - args[1])
            return super().count(*args)

    monkeypatch.setattr(Path, "read_text", lambda *_: Text("{" + ",\n".join(f'"a{n}": 1' for n in range(999)) + "}"))
    (found,) = read_documents(project / "p.json")
    assert found.value["a998"].line == 999
    assert sum(counted) < 20_000


# Specs as Pachyderm's users have them.
EDGES = {
    "pipeline": {"name": "edges"},
    "description": "A pipeline that detects edges.",
    "input": {"pfs": {"glob": "/*", "repo": "images"}},
    "transform": {
        "cmd": ["python3", "/edges.py"],
        "image": "pachyderm/opencv:1.0",
    },
}
MONTAGE = """
pipeline:
  name: montage
input:
  cross:
    - pfs:
        repo: images
        glob: "/"
    - pfs:
        repo: edges
        glob: "/"
        branch: done
transform:
  cmd: [sh]
  stdin:
    - cat $(find -L /pfs/images /pfs/edges -type f | sort) > /pfs/out/montage.png
  image: v4tech/imagemagick
parallelismSpec:
  constant: "4"
datum_timeout: 1m30s
"""
needs_pfs = pytest.mark.skipif(not can_mount(), reason="this machine allows no namespaces")


@needs_pfs
def test_pachyderms_first_example_runs_as_it_is(filled, project):
    (project / "edges.py").write_text(
        "import os\n"
        "for directory, _, names in os.walk('/pfs/images'):\n"
        "    for name in names:\n"
        "        data = open(os.path.join(directory, name)).read()\n"
        "        open('/pfs/out/' + name, 'w').write(data + '!')\n"
    )
    pipe = filled.load_pipeline(saved(project, EDGES))
    assert pipe.run().counts["run"] == 2
    assert contents(filled, "edges@main") == {"a.png": b"a!", "b.png": b"b!"}
    image, file = pipe.plan().warnings
    assert image == (
        "edges.json, line 15: the image 'pachyderm/opencv:1.0' is not started: the command runs on this machine, and "
        "its tag is not part of the code"
    ) or file.startswith("edges.json")
    filled.create_branch("edges@done", at="edges@main")
    montage = filled.load_pipeline(saved(project, MONTAGE, "montage.yml"))
    assert montage.run().counts["run"] == 1
    assert contents(filled, "montage@main") == {"montage.png": b"a!b!ab"}
    found = vio.read_pipeline(project / "montage.yml")
    assert (found.workers, found.timeout_s, found.tries) == (4, 90.0, 3)
    assert found.input_refs == ("images@master", "edges@done")
    assert str(found.output) == "montage@master"


def test_master_in_a_pachyderm_spec_is_main_where_no_master_exists(filled, project):
    named = {**EDGES, "output_branch": "master", "input": {"pfs": {**EDGES["input"]["pfs"], "branch": "master"}}}
    path = saved(project, named)
    assert filled.load_pipeline(path).input_refs == ("images@main",)
    assert filled.load_pipeline(path).output == "edges@main"
    filled.create_branch("images@master", at="images@main")
    assert filled.load_pipeline(path).input_refs == ("images@master",)


def test_a_branch_that_a_pachyderm_spec_leaves_open_is_master_where_it_exists(filled, project):
    spec = {**EDGES, "transform": {"cmd": ["true"]}}
    path = saved(project, spec)
    assert filled.load_pipeline(path).plan().counts["runs"] == 2
    filled.create_branch("images@master", at="images@main")
    put(filled, "images@master", {"c.png": b"c"})
    assert len(filled.load_pipeline(path).plan().runs) == 3
    assert len(filled.load_pipeline(path, branch="main").plan().runs) == 2


def test_pachyderms_inputs_are_read_as_they_are(project):
    def inputs(value):
        spec = {"pipeline": {"name": "p"}, "input": value, "transform": {"cmd": ["true"]}}
        return vio.read_pipeline(saved(project, spec), branch="main").inputs

    left = {"pfs": {"repo": "a", "glob": "/(*)-(*).txt", "join_on": "$2$1", "outer_join": True}}
    right = {"pfs": {"repo": "b", "branch": "dev", "name": "c", "glob": "/(*)/", "joinOn": "$1", "s3": False}}
    made = (
        vio.glob("a@main", "/(*)-(*).txt", join_on="$2$1", outer=True),
        vio.glob("b@dev", "/(*)/", name="c", join_on="$1"),
    )
    assert inputs({"join": [left, right]}) == vio.join(*made)
    grouped = {"pfs": {"repo": "a", "glob": "/(*)", "group_by": "$1", "emptyFiles": True, "project": "default"}}
    assert inputs({"group": [grouped]}) == vio.group(vio.glob("a@main", "/(*)", group_by="$1", empty_files=True))
    assert inputs({"union": [{"cross": [left]}, {"pfs": {"repo": "a", "glob": "/**"}}]}) == vio.union(
        vio.cross(made[0]), vio.glob("a@main", "/**")
    )
    ticks = inputs({"cron": {"name": "tick", "spec": "@every 60s", "overwrite": True}})
    assert (ticks.ref, ticks.schedule, ticks.overwrite) == ("p_tick@main", "@every 60s", True)


def test_how_pachyderm_evaluates_is_kept(filled, project):
    spec = {
        "pipeline": {"name": "edges"},
        "input": {"pfs": {"repo": "images", "glob": "/*"}},
        "transform": {
            "cmd": ["sh"],
            "stdin": [
                'echo $COLOR > "$PFS_ROOT/out/${images##*/}"',
                '[ "${images##*/}" != b.png ] || exit 4',
                "exit 7",
            ],
            "env": {"COLOR": "blue"},
            "err_cmd": ["sh"],
            "err_stdin": ['echo handling "${images##*/}"'],
            "accept_return_code": [7],
        },
        "datum_tries": 2,
        "reprocess_spec": "until_success",
        "output_branch": "out",
    }
    filled.create_branch("edges@out", at="edges@main")
    pipe = filled.load_pipeline(saved(project, spec))
    run = pipe.run()
    assert (run.counts["run"], run.counts["recovered"]) == (1, 1)
    assert contents(filled, "edges@out") == {"a.png": b"blue\n"}
    log = pipe.log("b.png")
    assert (log.count("ended with exit code 4"), log.count("handling b.png")) == (2, 1)
    salted = filled.load_pipeline(saved(project, {**spec, "salt": "new"}))
    assert salted.plan().runs == ["a.png", "b.png"]


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("spout", {}, "spout is not offered"),
        ("service", {"internal_port": 80}, "service is not offered"),
        ("egress", {"URL": "s3://x"}, "egress is not offered"),
        ("s3_out", True, "s3_out is not offered"),
        ("parallelism", 2, "the field 'parallelism' is unknown"),
        ("datum_timeout", "soon", "datum_timeout is a duration"),
        ("reprocess_spec", "always", "reprocess_spec is"),
        ("pipeline", {"name": "edges", "project": {"name": "mine"}}, "projects are not offered"),
        ("pipeline", {}, "the field 'name' is missing"),
        ("transform", {"image": "a"}, "the field 'cmd' is missing"),
        ("transform", {"cmd": ["a"], "secrets": [{"name": "x"}]}, "secrets is not offered"),
        ("transform", {"cmd": ["a"], "datum_batching": True}, "datum_batching is not offered"),
        ("transform", {"cmd": ["sh"], "stdin": ["echo $PACH_JOB_ID"]}, "PACH_JOB_ID is not offered"),
        ("transform", {"cmd": ["sh", "-c", "echo $images_COMMIT"]}, "images_COMMIT is not offered"),
        ("input", {"pfs": {"repo": "a", "glob": "/", "s3": True}}, "s3 inputs are not offered"),
        ("input", {"pfs": {"repo": "a", "glob": "/", "repo_type": "meta"}}, "only user repos"),
        ("input", {"pfs": {"repo": "a"}}, "the field 'glob' is missing"),
        ("input", {"git": {}}, "the input 'git' is not offered"),
        ("input", {}, "but here are 0 fields"),
        ("input", {"pfs": {"repo": "edges", "glob": "/"}}, "reads its own output"),
    ],
)
def test_a_field_that_can_not_be_honoured_is_named_with_its_line(project, field, value, words):
    path = saved(project, {**EDGES, field: value})
    with pytest.raises(InvalidInputError, match=r"^edges\.json, line \d+: ") as error:
        vio.read_pipeline(path)
    assert words in str(error.value)
    line = int(str(error.value).split("line ")[1].split(":")[0])
    first = next(number for number, text in enumerate(path.read_text().splitlines(), 1) if f'"{field}"' in text)
    assert line >= first or "own output" in words


def test_fields_that_decide_only_how_it_runs_are_warnings_with_their_lines(project):
    spec = {
        **EDGES,
        "transform": {"cmd": ["true"], "user": "me", "image_pull_secrets": ["x"]},
        "resource_requests": {"memory": "1G"},
        "podPatch": "[]",
        "autoscaling": True,
        "job_timeout": "1h",
        "reprocess_spec": "every_job",
        "datum_set_spec": {"number": 5},
        "standby": False,
        "egress": None,
    }
    path = saved(project, spec)
    found = vio.read_pipeline(path).warnings
    named = {text.split(": ", 1)[1].split()[0]: int(text.split("line ")[1].split(":")[0]) for text in found}
    assert named.keys() == {
        *("user", "image_pull_secrets", "resource_requests", "pod_patch", "autoscaling", "job_timeout"),
        *("reprocess_spec:", "datum_set_spec"),
    }
    lines = path.read_text().splitlines()
    assert '"autoscaling"' in lines[named["autoscaling"] - 1]
    assert '"podPatch"' in lines[named["pod_patch"] - 1]


def test_a_file_may_declare_several_pipelines(filled, project):
    both = [{**EDGES, "transform": {"cmd": ["true"]}}, {**EDGES, "pipeline": {"name": "other"}}]
    for text in (json.dumps(both), "\n".join(map(json.dumps, both)), "\n---\n".join(map(json.dumps, both))):
        path = saved(project, text, "both.json" if "---" not in text else "both.yaml")
        if "---" in text:
            pytest.importorskip("yaml")
            path.write_text(f"---\n{text}")
        assert vio.read_pipeline(path, "other").name == "other"
        with pytest.raises(InvalidInputError, match="declares the pipelines 'edges', 'other'"):
            vio.read_pipeline(path)
    assert filled.load_pipeline(path, "other").output == "other@main"


def test_a_pinned_image_is_part_of_the_code_and_a_tag_is_not(filled, project):
    def plan(image):
        spec = {**EDGES, "transform": {"cmd": ["true"], "image": image}}
        return filled.load_pipeline(saved(project, spec))

    plan("a:1").run()
    assert plan("a:2").plan().is_empty
    assert len(plan("a@sha256:" + "0" * 64).plan().runs) == 2


def test_commands_with_one_code_version_share_results_only_if_they_are_declared_to(filled, project):
    @vio.pipeline("copy", inputs=vio.glob("images@main", "/*"), output="edges@main", code_version="1")
    def copy(datum, out):
        out.write(datum["images"].path, datum["images"].read())

    def declared(name, **options):
        argv = ["sh", "-c", 'cp "$images" "$PFS_ROOT/out"']
        return filled.pipeline(
            name=name, command=argv, inputs=copy.inputs, output="montage@main", code_version="1", **options
        )

    assert filled.pipeline(copy).run().counts["run"] == 2
    assert len(declared("copy").plan().runs) == 2
    place = f"{__name__.rpartition('.')[2]}:{copy.function.__qualname__}"
    shared = declared("shared", same_code_as=place)
    assert shared.run().counts["reused"] == 2
    assert contents(filled, "montage@main") == contents(filled, "edges@main")


def test_the_published_schema_is_that_of_the_reader(project):
    published = json.loads((ROOT / "docs" / "reference" / "pipeline.schema.json").read_text())
    assert published == vio.spec_schema()
    validators = pytest.importorskip("jsonschema")
    check = validators.Draft202012Validator(published)
    yaml = pytest.importorskip("yaml")
    check.validate(yaml.safe_load(YAML))
    for wrong in ({"outputs": "x"}, {"tries": 0}, {"command": []}, {"inputs": {"glob": {"ref": "a@b"}}}, {"share": 1}):
        assert not check.is_valid({**yaml.safe_load(YAML), **wrong})
