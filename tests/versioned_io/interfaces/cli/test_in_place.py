"""Files that are referred to where they are, from the command line."""

import json

import pytest
from typer.testing import CliRunner

from versioned_io.interfaces.cli.app import app

SECRET = "wJalrXUtnFEMI-secret"


@pytest.fixture
def outside(tmp_path):
    directory = tmp_path / "outside"
    (directory / "d").mkdir(parents=True)
    (directory / "a.csv").write_bytes(b"1\n")
    (directory / "d/b.csv").write_bytes(b"2\n")
    (directory / "d/c.txt").write_bytes(b"3\n")
    return directory


@pytest.fixture
def run(tmp_path, outside):
    """A function that runs a command on one store, which may read the directory outside of it."""

    def call(*arguments, code=0, sources=None):
        permitted = json.dumps({outside.as_uri(): {}}) if sources is None else sources
        environment = {"VERSIONED_STORE": str(tmp_path / "store"), "VERSIONED_SOURCES": permitted, "COLUMNS": "200"}
        done = CliRunner().invoke(app, list(arguments), env=environment)
        assert done.exit_code == code, f"{done.output}\n{done.exception!r}"
        return done

    call("init")
    call("repo", "create", "r")
    return call


def test_a_directory_is_put_in_place_read_and_noticed_to_change(run, outside):
    done = json.loads(run("put", "r@main:raw", str(outside), "--in-place", "-m", "refer", "--json").stdout)
    assert (done["changed"], done["commit"]["stats"]["added"]) == (True, 3)
    assert "nothing changed" in run("put", "r@main:raw", outside.as_uri() + "/", "--in-place").stdout
    assert run("cat", "r@main:raw/d/b.csv").stdout == "2\n"
    assert "1 objects elsewhere" not in run("fsck").stdout
    assert "3 objects elsewhere were checked" in run("fsck", "--sources").stdout
    (outside / "d/b.csv").write_bytes(b"changed\n")
    failed = run("cat", "r@main:raw/d/b.csv", code=3)
    assert failed.stdout == ""
    assert "import it again" in failed.stderr
    found = json.loads(run("fsck", "--sources", "--json", code=6).stdout)
    assert [problem["kind"] for problem in found["problems"]] == ["source"]
    run("fsck")
    assert json.loads(run("stats", "--exact", "--json").stdout)["elsewhere_bytes"] == 6
    assert "parts of files that lie elsewhere" in run("stats", "--exact").stdout
    purged = json.loads(run("purge", "r:raw/a.csv", "--yes", "--json").stdout)
    assert purged["elsewhere"] == [(outside / "a.csv").as_uri()]
    assert (outside / "d/c.txt").as_uri() in run("purge", "r:raw/d/c.txt", "--yes").stdout
    assert (outside / "d/c.txt").exists()


def test_a_file_keeps_its_name_or_takes_the_path(run, outside):
    run("put", "r@main", str(outside / "a.csv"), "--in-place")
    run("put", "r@main:x/", (outside / "a.csv").as_uri(), "--in-place")
    run("put", "r@main:y/z.csv", str(outside / "a.csv"), "--in-place")
    run("put", "r@main:g", str(outside), "--in-place", "--glob", "**/*.csv")
    entries = json.loads(run("ls", "r@main", "-r", "--json").stdout)["entries"]
    assert [entry["path"] for entry in entries] == ["a.csv", "g/a.csv", "g/d/b.csv", "x/a.csv", "y/z.csv"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["{outside}", "{outside}", "--in-place"], "one file, directory or prefix at a time"),
        (["{outside}/a.csv", "--in-place", "--glob", "*"], "--glob is for directories"),
        (["{outside}", "--glob", "*"], "choose what --in-place refers to"),
        (["{outside}", "--versions"], "choose what --in-place refers to"),
        (["{outside}/missing", "--in-place"], "there is no object"),
        (["/etc/", "--in-place"], "name it in VERSIONED_SOURCES"),
        (["s3://bucket", "--in-place"], "name it in VERSIONED_SOURCES"),
        (["s3://bucket/key", "--in-place"], "name it in VERSIONED_SOURCES"),
    ],
)
def test_what_makes_no_sense_is_one_sentence(run, outside, arguments, message):
    failed = run("put", "r@main:raw", *(argument.format(outside=outside) for argument in arguments), code=2)
    assert message in failed.stderr
    assert "Traceback" not in failed.stderr
    assert "no commit yet" in run("repo", "show", "r").stdout


@pytest.mark.parametrize("value", [SECRET, "[]", f'{{"s3://b/": "{SECRET}"}}', f'{{"s3://b/": {{"x": ["{SECRET}"]}}}}'])
def test_sources_that_are_no_json_object_are_refused_and_not_repeated(run, value):
    failed = run("ls", "r@main", code=2, sources=value)
    assert "VERSIONED_SOURCES is not of the form" in failed.stderr
    assert SECRET not in failed.stderr


def test_a_prefix_of_a_bucket_is_put_in_place(run, s3_server):
    boto3 = pytest.importorskip("boto3")
    options, bucket = s3_server.options, s3_server.create_bucket()
    client = boto3.client(
        "s3",
        endpoint_url=options["endpoint"],
        aws_access_key_id=options["access_key_id"],
        aws_secret_access_key=options["secret_access_key"],
        region_name=options["region"],
    )
    client.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    client.put_object(Bucket=bucket, Key="p/k.csv", Body=b"old")
    sources = json.dumps({f"s3://{bucket}/p/": options})
    run("put", "r@main:raw", f"s3://{bucket}/p/", "--in-place", "--versions", sources=sources)
    run("put", "r@main:one.csv", f"s3://{bucket}/p/k.csv", "--in-place", sources=sources)
    client.put_object(Bucket=bucket, Key="p/k.csv", Body=b"new")
    assert run("cat", "r@main:raw/k.csv", sources=sources).stdout == "old"
    assert "ETag" in run("cat", "r@main:one.csv", sources=sources, code=3).stderr
    assert "may not be read" in run("cat", "r@main:raw/k.csv", code=2).stderr
