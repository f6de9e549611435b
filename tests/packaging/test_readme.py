"""What the README and the guides named here show is run: every Python block belongs to a script, named above it.

``<!-- tested: NAME -->`` before a block adds it to the script NAME; the blocks of one name run in order, in a fresh
process and an empty directory.
"""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from versioned_io.cli.app import app
from versioned_io.objects import clients

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = [ROOT / "README.md", ROOT / "docs" / "filesystem.md"]
BLOCK = re.compile(r"(?:^<!-- tested: (?P<name>\S+) -->\n+)?^```python\n(?P<code>.*?)^```$", re.MULTILINE | re.DOTALL)


def scripts():
    found = {}
    for document in DOCUMENTS:
        for block in BLOCK.finditer(document.read_text() if document.exists() else ""):
            found.setdefault(block["name"], []).append(block["code"])
    return found


def test_every_python_block_is_tested():
    assert all(document.exists() for document in DOCUMENTS)
    assert None not in scripts(), f"no '<!-- tested: NAME -->' above:\n{scripts()[None][0]}"
    assert scripts()


@pytest.mark.parametrize("name", sorted(name for name in scripts() if name))
def test_the_blocks_of_a_script_run(name, tmp_path):
    script = tmp_path / f"{name}.py"
    script.write_text("\n".join(scripts()[name]))
    work = tmp_path / "work"
    work.mkdir()
    env = {**os.environ, "AIRFLOW_HOME": str(tmp_path / "airflow"), "DAGSTER_HOME": "", "PYTHONWARNINGS": "default"}
    result = subprocess.run(
        [sys.executable, str(script)], cwd=work, env=env, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr


def test_every_storage_option_is_in_the_guide():
    tables = (clients.COMMON_OPTIONS, clients.S3_OPTIONS, clients.GCS_OPTIONS, clients.AZURE_OPTIONS)
    guide = (ROOT / "docs/stores.md").read_text()
    assert [name for table in tables for name in table if f"`{name}`" not in guide] == []


def test_every_command_that_the_guide_to_stores_names_is_there():
    named = set(re.findall(r"`versioned ([a-z-]+)", (ROOT / "docs/stores.md").read_text()))
    assert named >= {"gc", "compact", "fsck", "rebuild", "purge"}
    assert named <= {command.name for command in app.registered_commands}
