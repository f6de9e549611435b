"""What the pages show is run as it is printed, their links lead somewhere, and what they list is all that there is."""

import inspect
import re
import subprocess
import sys
from pathlib import Path

import griffe
import pytest

import versioned_io as vio
from scripts.build_docs import DocsError, fill_in, find_pages, leave_out_hidden, read_navigation, resolve_links
from scripts.run_page import PageError, is_like, normalize, read_blocks
from versioned_io.interfaces.cli.app import app
from versioned_io.storage.objects import clients

ROOT = Path(__file__).resolve().parents[2]
RUN = ROOT / "scripts" / "run_page.py"
# They explain formats and algorithms, by pieces of code that stand for themselves.
EXPLAINING = ("docs/design/", "docs/spec/", "docs/benchmarks.md")
PAGES = [page for page in find_pages() if not page.startswith(EXPLAINING)]
RUN_BY_TESTS = {"python", "bash", "console"}
SHOWN = {"text", "json"}


def blocks(page):
    return read_blocks(ROOT / page)


def run_page(page, tmp_path, *arguments):
    command = [sys.executable, str(RUN), str(page), *arguments]
    return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page)])
def test_a_page_shows_what_happens(page, tmp_path):
    result = run_page(ROOT / page, tmp_path)
    assert result.returncode == 0, result.stderr


def test_the_snippets_of_the_readme_survive_a_second_run(tmp_path):
    """Each of them twice, in one directory, as someone does who pastes it again."""
    shown = [block for block in blocks("README.md") if block.language == "python" and not block.is_skipped]
    assert len(shown) >= 4
    page = tmp_path / "page.md"
    page.write_text("\n".join(f"```python\n{block.text}```\n" for block in [*shown, *shown]))
    result = run_page(page, tmp_path)
    assert result.returncode == 0, result.stderr


@pytest.mark.e2e
@pytest.mark.soak
@pytest.mark.parametrize("page", [page for page in PAGES if any(block.needs_servers for block in blocks(page))])
def test_a_page_shows_what_happens_with_servers(page, tmp_path):
    result = run_page(ROOT / page, tmp_path, "--servers")
    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize("page", PAGES)
def test_every_block_is_run_or_says_why_not(page):
    for block in blocks(page):
        assert block.language in RUN_BY_TESTS | SHOWN, f"{block.describe()}: say what it is"
        assert not block.is_skipped or len(block.run) > 2, f"{block.describe()}: skipped without a reason"
    # As many fences as the runner found: one in a list or with another mark would be left out silently.
    fences = re.findall(r"^ *(?:```|~~~)", (ROOT / page).read_text(), re.MULTILINE)
    assert len(fences) == 2 * len(blocks(page))


@pytest.mark.parametrize(
    ("page", "complaint"),
    [
        ("```python\nassert 1 == 2\n```\n", "AssertionError"),
        ("```bash\nfalse\n```\n", "exit code 1"),
        ("```bash\nversioned ls nothing --store ./none\n```\n", "exit code 3"),
        ("```console\n$ echo one\ntwo\n```\n", "shows something else"),
        ("<!-- run: fails -->\n```bash\ntrue\n```\n", "exit code 0"),
        ("<!-- run: fails -->\n```python\na = 1\n```\n", "should fail"),
        ("<!-- run: until 1 -->\n```bash\nfalse\n```\n", "exit code 1"),
    ],
)
def test_a_page_that_shows_something_false_fails(page, complaint, tmp_path):
    (tmp_path / "page.md").write_text(page)
    result = run_page(tmp_path / "page.md", tmp_path)
    assert result.returncode != 0
    assert complaint in result.stderr


def test_blocks_share_names_files_and_variables_until_a_new_directory_begins(tmp_path):
    (tmp_path / "page.md").write_text(
        '```python title="made.py"\nprint("made")\n```\n'
        "```bash\nexport WHO=ana\nmkdir below\ncd below\n```\n"
        "```console\n$ python ../made.py; echo $WHO\nmade\nana\n```\n"
        "```python\nimport os\nfrom pathlib import Path\nhere = Path.cwd()\nassert here.name == 'below'\n"
        "assert os.environ['WHO'] == 'ana'\n```\n"
        "```python\nassert here.exists()\n```\n"
        "<!-- run: new -->\n```console\n$ ls\n```\n"
        "<!-- run: fails -->\n```python\nhere\n```\n"
    )
    result = run_page(tmp_path / "page.md", tmp_path)
    assert result.returncode == 0, result.stderr


def test_a_hidden_block_is_run_and_not_shown(tmp_path):
    page = tmp_path / "page.md"
    page.write_text(
        "One.\n\n<!-- run: hidden new\n```bash\nexport WHO=ana\n```\n-->\n\n```console\n$ echo $WHO\nana\n```\n"
        "<!-- run: hidden\n```bash\nmkdir two\n```\n-->\n\n```console\n$ ls\ntwo\n```\n"
    )
    result = run_page(page, tmp_path)
    assert result.returncode == 0, result.stderr
    shown = "One.\n\n```console\n$ echo $WHO\nana\n```\n```console\n$ ls\ntwo\n```\n"
    assert leave_out_hidden(page.read_text()) == shown


@pytest.mark.parametrize(
    "page",
    [
        "<!-- run: hidden -->\n```bash\ntrue\n```\n",
        "<!-- run: new\n```bash\ntrue\n```\n-->\n",
        "<!-- run: hidden\n```bash\ntrue\n```\n",
        "```bash\ntrue\n```\n-->\n",
    ],
)
def test_a_block_that_is_hidden_by_half_is_an_error(page, tmp_path):
    (tmp_path / "page.md").write_text(page)
    with pytest.raises(PageError, match="says hidden"):
        read_blocks(tmp_path / "page.md")


def test_expected_output_may_differ_in_ids_and_times_and_leave_lines_out(tmp_path):
    expected = normalize(
        "weather@01a229fe3f9678d1898b4b7a66e311f0  [1 added]\n...\nat 2026-11-30 01:07:38 UTC", tmp_path
    )
    actual = "weather@01a229fe3f9678d1898b4b7a66e30000 [1 added]\none\ntwo\nat 2027-01-01 00:00:00 UTC"
    assert is_like(expected, normalize(actual, tmp_path))
    assert not is_like(expected, normalize(actual.replace("added", "modified"), tmp_path))


@pytest.mark.parametrize(
    "link", ["[a](nothing.md)", "[a](../../outside.md)", "[a](../scripts/set_up.py#L3)", '<img src="none.svg">']
)
def test_a_link_that_leads_nowhere_is_an_error(link):
    with pytest.raises(DocsError):
        resolve_links(link, "docs/stores.md", list(find_pages()), {})


def test_a_link_to_a_file_of_the_repository_leads_to_a_page_that_shows_it():
    linked = {}
    text = "[a](../scripts/set_up.py), [b](cli.md#for-scripts), `[c](none.md)`, [d](https://example.com)"
    resolved = resolve_links(text, "docs/stores.md", list(find_pages()), linked)
    assert resolved == text.replace("../scripts/set_up.py", "../source/scripts/set_up.py.md")
    assert list(linked) == ["scripts/set_up.py"]


def test_the_reference_shows_every_call_that_a_class_forwards_to_its_parts():
    extensions = griffe.load_extensions(str(ROOT / "scripts" / "forwarded_calls.py"))
    package = griffe.load("versioned_io", search_paths=[ROOT], extensions=extensions, allow_inspection=False)
    for kind in (vio.Store, vio.Transaction, vio.StagedBranch, vio.Snapshot):
        read = package[kind.__name__]
        for name, method in inspect.getmembers(kind, inspect.isfunction):
            assert read[name].is_function, name
            assert [one.name for one in read[name].parameters] == list(inspect.signature(method).parameters)


def test_every_page_has_a_place_in_the_navigation():
    assert set(find_pages()) <= set(read_navigation())


def test_every_storage_option_is_in_the_guide():
    tables = (clients.COMMON_OPTIONS, clients.S3_OPTIONS, clients.GCS_OPTIONS, clients.AZURE_OPTIONS)
    guide = (ROOT / "docs/stores.md").read_text()
    assert [name for table in tables for name in table if f"`{name}`" not in guide] == []


def sources(*packages):
    return "\n".join(path.read_text() for package in packages for path in sorted((ROOT / package).rglob("*.py")))


def test_every_variable_and_metadata_key_is_in_the_reference():
    variables = set(re.findall(r"\bVERSIONED_[A-Z_]+[A-Z]\b", sources("versioned_io")))
    settings = (ROOT / "docs/reference/settings.md").read_text()
    assert len(variables) >= 5
    assert {name for name in variables if f"`{name}`" not in settings} == set()
    keys = set(re.findall(r"\"((?:versioned|dagster)/[a-z_]+)\"", sources("dagster_versioned")))
    metadata = (ROOT / "docs/reference/metadata.md").read_text()
    assert len(keys) >= 7
    assert {key for key in keys if f"`{key}`" not in metadata} == set()


def test_a_text_that_a_page_keeps_is_what_the_code_says():
    page = "docs/reference/errors.md"
    kept = (ROOT / page).read_text()
    shown = kept.replace("<!-- generated: errors -->\n\n", "").replace("\n<!-- generated: end -->", "")
    assert "| `repo_not_found` |" in shown
    assert fill_in(kept, page) == shown, "run python -m scripts.build_docs --update"


def test_every_command_has_a_session():
    page = (ROOT / "docs/reference/commands.md").read_text()
    groups = {group.name: group.typer_instance.registered_commands for group in app.registered_groups}
    names = {command.name for command in app.registered_commands}
    names |= {f"{group} {command.name}" for group, commands in groups.items() for command in commands}
    for name in names:
        assert f"### versioned {name}\n\n```console\n" in page
        assert f"<!-- generated: help {name} -->" in page


def test_every_command_that_a_page_names_is_there():
    commands = {command.name for command in [*app.registered_commands, *app.registered_groups]}
    text = "\n".join((ROOT / page).read_text() for page in find_pages())
    named = set(re.findall(r"`versioned ([a-z][a-z-]*)", text))
    assert named >= {"gc", "compact", "fsck", "rebuild", "purge"}
    assert named <= commands


NAMED_SECTION = re.compile(r'(docs/(?:design|spec)/[\w-]+\.md),\s+"([^"]+)"')


def named_sections():
    for tree in ("versioned_io", "dagster_versioned", "airflow_versioned", "tests"):
        for path in sorted((ROOT / tree).rglob("*.py")):
            yield from ((page, " ".join(section.split())) for page, section in NAMED_SECTION.findall(path.read_text()))


def test_every_section_of_a_record_that_the_code_names_is_there():
    sections = set(named_sections())
    assert len(sections) > 20
    for page, section in sections:
        # A section has a heading, or a bold lead.
        found = re.findall(r"^#+ (.+)$|^\*\*(.+?)\.\*\*", (ROOT / page).read_text(), re.MULTILINE)
        assert section in {heading or lead for heading, lead in found}, f"{page} has no section {section!r}"
