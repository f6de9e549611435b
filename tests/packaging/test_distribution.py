import re
import tomllib
import zipfile
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
PACKAGES = ("versioned_io", "dagster_versioned", "airflow_versioned")


def test_the_wheel_holds_every_file_of_the_three_packages_and_nothing_else(wheel):
    names = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    expected = {
        str(path.relative_to(ROOT))
        for package in PACKAGES
        for path in (ROOT / package).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert names == expected


def test_the_wheel_is_typed_licensed_and_carries_the_migrations(wheel):
    names = set(zipfile.ZipFile(wheel).namelist())
    assert {f"{package}/py.typed" for package in PACKAGES} <= names
    assert "versioned_io/catalog/migrations/env.py" in names
    assert any(re.fullmatch(r"versioned_io/catalog/migrations/versions/\w*baseline\w*\.py", name) for name in names)
    assert any(name.endswith(".dist-info/licenses/LICENSE") for name in names)


def test_the_wheel_names_its_command_and_its_airflow_provider(wheel):
    with zipfile.ZipFile(wheel) as archive:
        (name,) = [name for name in archive.namelist() if name.endswith("entry_points.txt")]
        text = archive.read(name).decode()
    assert "versioned = versioned_io.interfaces.cli:main" in text
    assert "[apache_airflow_provider]" in text


def test_every_direct_dependency_is_pinned_to_a_version_that_we_allow():
    pins = {canonicalize_name(pin.name): pin for pin in constraints()}
    groups = [PROJECT["dependencies"], *PROJECT["optional-dependencies"].values()]
    for requirement in (Requirement(text) for group in groups for text in group):
        if requirement.name == PROJECT["name"]:
            continue
        pin = pins[canonicalize_name(requirement.name)]
        (version,) = [specifier.version for specifier in pin.specifier]
        assert requirement.specifier.contains(version), (str(requirement), str(pin))


def test_constraints_pin_exact_versions_and_record_no_addresses():
    for pin in constraints():
        assert re.fullmatch(r"==[0-9][^,*]*", str(pin.specifier)), str(pin)
        assert pin.url is None
    text = (ROOT / "constraints.txt").read_text()
    assert not re.search(r"://|--index|--find-links|--hash|@", text)


def constraints():
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    return [Requirement(line) for line in lines if line and not line.startswith("#")]
