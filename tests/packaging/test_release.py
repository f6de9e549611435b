"""Distributions are complete, their addresses follow from one setting, and the CI of the public host runs `make`."""

import email
import re
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path

import pytest
import yaml
from packaging.specifiers import SpecifierSet

ROOT = Path(__file__).resolve().parents[2]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
HOME = "https://host.example/versioned-io"
INCLUDED = PYPROJECT["tool"]["hatch"]["build"]["targets"]["sdist"]["include"]


@pytest.fixture(scope="module")
def scripts():
    """Modules that are not in a package."""
    sys.path[:0] = [str(ROOT), str(ROOT / "scripts")]
    try:
        import dagster_suite
        import ranges
        import release

        import hatch_build

        yield {"dagster_suite": dagster_suite, "hatch_build": hatch_build, "release": release, "ranges": ranges}
    finally:
        del sys.path[:2]


@pytest.fixture(scope="module")
def source_names(tmp_path_factory):
    target = tmp_path_factory.mktemp("sdist")
    command = [sys.executable, "-m", "hatchling", "build", "--target", "sdist", "--directory", str(target)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    (built,) = target.glob("*.tar.gz")
    with tarfile.open(built) as archive:
        return {name.partition("/")[2] for name in archive.getnames()}


@pytest.fixture
def tree(tmp_path):
    """The files of a project that is ready for its release."""
    (tmp_path / "versioned_io").mkdir()
    (tmp_path / "versioned_io" / "__init__.py").write_text('__version__ = "1.2.3"\n')
    (tmp_path / "pyproject.toml").write_text(f'[tool.versioned-io]\nhome = "{HOME}"\n')
    (tmp_path / "CHANGELOG.md").write_text("# Changelog\n\n## 1.2.3 - 2027-01-02\n")
    return tmp_path


def test_the_source_distribution_holds_every_file_that_tests_and_documents_need(source_names):
    roots = [ROOT / name.strip("/") for name in INCLUDED if "*" not in name]
    files = [path for root in roots for path in ([root] if root.is_file() else root.rglob("*")) if path.is_file()]
    made = {"__pycache__", ".hypothesis"}
    expected = {str(path.relative_to(ROOT)) for path in files if not made & set(path.parts)}
    expected |= {path.name for path in ROOT.glob("*.md")} | {"LICENSE", "pyproject.toml"}
    ignored = {name for name in expected - source_names if name.endswith((".log", ".pyc"))}
    assert expected - source_names == ignored


def test_every_directory_of_the_tree_is_in_the_source_distribution():
    kept = {path.name for path in ROOT.iterdir() if path.is_dir() and not path.name.startswith(".")}
    assert kept - {"build", "dist", "__pycache__"} == {
        name.strip("/") for name in INCLUDED if (ROOT / name.strip("/")).is_dir() and not name.startswith("/.")
    }


def test_an_index_page_has_only_links_that_lead_somewhere(wheel):
    with zipfile.ZipFile(wheel) as archive:
        (name,) = [name for name in archive.namelist() if name.endswith("METADATA")]
        metadata = email.message_from_bytes(archive.read(name))
    home = PYPROJECT["tool"]["versioned-io"]["home"]
    addresses = dict(text.split(", ") for text in metadata.get_all("Project-URL"))
    assert {"Homepage", "Source", "Issues", "Documentation", "Changelog"} <= set(addresses)
    assert all(address.startswith(home) for address in addresses.values())
    links = re.findall(r"\]\(([^)\s]+)\)", metadata.get_payload())
    assert links
    assert all(re.match(r"https?://|#", link) for link in links)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[a](docs/a.md)", f"[a]({HOME}/blob/v1/docs/a.md)"),
        ("[a](docs/a.md#b)", f"[a]({HOME}/blob/v1/docs/a.md#b)"),
        ("![a](./a.png)", f"![a]({HOME}/raw/v1/a.png)"),
        ("[a](https://b.example/c)", "[a](https://b.example/c)"),
        ("[a](#below)", "[a](#below)"),
        ("[a [b]](c)", f"[a [b]]({HOME}/blob/v1/c)"),
        ("x[1](2)", f"x[1]({HOME}/blob/v1/2)"),
    ],
)
def test_relative_links_are_made_absolute(scripts, text, expected):
    assert scripts["hatch_build"].absolute_links(text, HOME, "v1") == expected


def test_a_project_whose_settings_are_made_can_be_released(scripts, tree):
    assert scripts["release"].unfinished_settings(tree) == []


def test_a_placeholder_for_the_address_is_refused(scripts, tree):
    (tree / "pyproject.toml").write_text('[tool.versioned-io]\nhome = "https://home.invalid/x"\n')
    (reason,) = scripts["release"].unfinished_settings(tree)
    assert "placeholder" in reason


@pytest.mark.parametrize("heading", ["## 1.2.3 (unreleased)", "## 1.2.4 - 2027-01-02", "## Unreleased"])
def test_a_release_without_a_date_in_the_changelog_is_refused(scripts, tree, heading):
    (tree / "CHANGELOG.md").write_text(f"# Changelog\n\n{heading}\n")
    (reason,) = scripts["release"].unfinished_settings(tree)
    assert "1.2.3 - YYYY-MM-DD" in reason


def test_make_release_builds_nothing_while_a_setting_is_unfinished(scripts, monkeypatch, capsys):
    monkeypatch.setattr(scripts["release"], "unfinished_settings", lambda root: ["the address is a placeholder"])
    monkeypatch.setattr(scripts["release"], "build", lambda scratch: pytest.fail("it was built"))
    assert scripts["release"].main([]) == 1
    assert "placeholder" in capsys.readouterr().out


def test_a_link_to_a_file_that_is_not_distributed_is_refused(scripts, tmp_path):
    (tmp_path / "README.md").write_text("[a](docs/a.md)")
    with pytest.raises(scripts["release"].ReleaseError, match=r"leads to docs/a\.md"):
        scripts["release"].check_contents(tmp_path)


# --- the CI of the public host ------------------------------------------------------------------------------------

WORKFLOW = yaml.safe_load((ROOT / ".github" / "workflows" / "ci.yml").read_text())
JOBS = WORKFLOW["jobs"]


def commands(job):
    return [step["run"] for step in job["steps"] if "run" in step]


def test_ci_runs_targets_of_the_makefile_and_nothing_else():
    targets = set(re.findall(r"^([a-z][a-z0-9-]*):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for name, job in JOBS.items():
        assert commands(job), name
        for command in commands(job):
            called = re.fullmatch(r"(?:sudo )?make ([a-z0-9-]+)(?: [A-Z]+=\S+| [A-Z]+=\$\{\{ [\w.]+ \}\})*", command)
            assert called, command
            assert called[1] in targets, command


def test_ci_tries_the_pythons_that_the_classifiers_claim():
    claimed = re.findall(r"Python :: (3\.\d+)", " ".join(PYPROJECT["project"]["classifiers"]))
    tried = JOBS["test"]["strategy"]["matrix"]["python"]
    assert set(claimed) <= set(tried)
    allowed = SpecifierSet(PYPROJECT["project"]["requires-python"])
    assert all(version in allowed for version in tried)
    assert tried[0] == PYPROJECT["project"]["requires-python"].removeprefix(">=")


def test_ci_tries_both_ends_of_the_range_of_dagster(scripts):
    assert JOBS["dagster"]["strategy"]["matrix"]["end"] == ["lowest", "newest"]
    ranges = scripts["ranges"].dagster_requirements()
    lowest = scripts["ranges"].lowest(ranges)
    assert {one.partition("==")[0] for one in lowest} >= {"dagster", "dagster-aws", "dagster-webserver"}
    for exact, allowed in zip(lowest, ranges, strict=True):
        name, _, version = exact.partition("==")
        assert version in SpecifierSet(allowed.removeprefix(name))
    (dagster,) = (one for one in lowest if one.startswith("dagster=="))
    assert dagster.startswith("dagster==1.11.")


def test_each_failure_of_dagsters_own_tests_is_documented_with_a_reason(scripts):
    text = (ROOT / "docs" / "dagster.md").read_text()
    known = scripts["dagster_suite"].documented(text)
    assert "test_materialize_tags" in known["exported"]
    assert known["exported"] < known["stored"]
    rows = [line for line in text.splitlines() if line.startswith("| `test_")]
    assert sum(line.count("`test_") for line in rows) == len(known["stored"])
    assert scripts["dagster_suite"].documented("no such section") == {"stored": set(), "exported": set()}


def test_soak_tries_every_end_of_every_range(scripts):
    makefile = (ROOT / "Makefile").read_text()
    soak = makefile[makefile.index("\nsoak:") :].partition("\n\n")[0]
    assert "$(MAKE) ranges" in soak
    assert set(scripts["ranges"].ENDS) == {("dagster", "lowest"), ("dagster", "newest"), ("core", "lowest")}


def test_at_the_ends_of_a_range_only_what_the_project_names_is_held_by_constraints(scripts):
    ranges = scripts["ranges"]
    held = ranges.pinned((ROOT / "constraints.txt").read_text(), [*ranges.core_requirements(), *ranges.tools()])
    names = {ranges.name_of(line) for line in held}
    assert {"sqlalchemy", "polars", "pytest", "moto"} <= names
    assert not {name for name in names if name.startswith(("dagster", "apache-airflow", "gql", "watchdog"))}
    lowest = {ranges.name_of(one) for one in ranges.core_requirements()}
    assert lowest >= {"obstore", "typer", "pyarrow", "polars", "boto3"}
    assert not lowest & {ranges.name_of(one) for one in ranges.tools()}


def test_soak_runs_every_week_and_nothing_else_does():
    assert WORKFLOW[True]["schedule"]  # YAML 1.1 reads the key `on` as true
    assert [name for name, job in JOBS.items() if "== 'schedule'" in job.get("if", "")] == ["soak"]
    assert all("!= 'schedule'" in job["if"] for name, job in JOBS.items() if name != "soak")
