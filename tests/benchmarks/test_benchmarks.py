import json

import pytest
from rich.console import Console

from benchmarks.__main__ import parse_arguments, run
from benchmarks.data import make_edited_file, make_large_file, make_small_files
from benchmarks.measures import CaseResult, Report, read_report
from benchmarks.processes import CommandError, files_in, run_command, size_of
from benchmarks.report import build_page

MACHINE = {
    "cpu": "a CPU",
    "cores": 2,
    "memory_gib": 8.0,
    "disk": "ext4",
    "kernel": "Linux 6",
    "load_before": 0.1,
    "python": "3.11",
    "versions": {"versioned-io": "0.1.0"},
    "peers": {"restic": "not installed"},
}


def content_of(directory):
    return {str(path.relative_to(directory)): path.read_bytes() for path in directory.rglob("*") if path.is_file()}


def test_the_same_seed_makes_the_same_small_files_and_another_seed_others(tmp_path):
    total = make_small_files(tmp_path / "a", 1_050, 7)
    make_small_files(tmp_path / "b", 1_050, 7)
    make_small_files(tmp_path / "c", 1_050, 8)
    first = content_of(tmp_path / "a")
    assert first == content_of(tmp_path / "b")
    assert first != content_of(tmp_path / "c")
    assert len(first) == 1_050
    assert total == sum(map(len, first.values())) == size_of(tmp_path / "a")
    assert all(1024 <= len(content) < 4096 for content in first.values())


def test_an_edited_file_is_the_original_with_exactly_the_edits(tmp_path):
    make_large_file(tmp_path / "large", 3_000_000, 1)
    before = (tmp_path / "large").read_bytes()
    new = make_edited_file(
        tmp_path / "large", tmp_path / "edited", overwrite=(1_000, 64), insert=(2_000_000, 10), seed=2
    )
    after = (tmp_path / "edited").read_bytes()
    assert new == 74
    assert len(after) == len(before) + 10
    assert after[:1_000] == before[:1_000]
    assert after[1_000:1_064] != before[1_000:1_064]
    assert after[1_064:2_000_000] == before[1_064:2_000_000]
    assert after[2_000_010:] == before[2_000_000:]


def test_a_ratio_is_our_median_beside_the_best_peers():
    result = CaseResult("case", "a case")
    for ours, slow, fast in ((9.0, 30.0, 10.0), (3.0, 20.0, 12.0), (4.0, 10.0, 11.0)):
        result.add("versioned-io", {"wall_s": ours})
        result.add("slow", {"wall_s": slow})
        result.add("fast", {"wall_s": fast})
    result.check_ratio("wall_s", ["slow", "fast"], 0.35)
    result.check_ratio("wall_s", ["slow"], 0.2)
    assert [(check.what, check.is_met) for check in result.checks] == [
        ("wall_s beside fast", False),
        ("wall_s beside slow", True),
    ]
    assert result.checks[0].value == pytest.approx(4 / 11)


def test_a_target_is_met_on_its_limit_and_on_the_right_side_of_it():
    result = CaseResult("case", "a case")
    result.check("most", 50, 50, "ms")
    result.check("most", 50.1, 50, "ms")
    result.check("least", 0.6, 0.6, "x", at_least=True)
    result.check("least", 0.59, 0.6, "x", at_least=True)
    assert [check.is_met for check in result.checks] == [True, False, True, False]


def test_without_the_peer_there_is_no_verdict_and_a_note_says_so():
    result = CaseResult("case", "a case")
    result.add("versioned-io", {"wall_s": 1.0})
    result.check_ratio("wall_s", ["restic"], 0.5)
    assert result.checks == []
    assert "restic" in result.notes[0]


def test_a_report_is_read_as_it_was_written_and_its_page_names_what_was_missed(tmp_path):
    result = CaseResult("case", "a case", notes=["said"])
    result.add("versioned-io", {"wall_s": 2.0})
    result.add("restic", {"wall_s": 1.0})
    result.check_ratio("wall_s", ["restic"], 0.5)
    report = Report(MACHINE, 1.0, 3, 1, [result])
    report.write(tmp_path / "report.json")
    assert read_report(tmp_path / "report.json") == report
    written = json.loads((tmp_path / "report.json").read_text())
    assert written["format"] == 1
    assert written["cases"][0]["checks"][0]["is_met"] is False
    page = build_page(report)
    assert "| case | wall_s beside restic | 2.00 x | at most 0.500 x | **missed** |" in page
    assert "a CPU" in page


def test_a_report_of_another_format_is_refused(tmp_path):
    (tmp_path / "report.json").write_text('{"format": 99}')
    with pytest.raises(ValueError, match="run make bench again"):
        read_report(tmp_path / "report.json")


def test_a_command_that_fails_is_told_with_its_last_words(tmp_path):
    with pytest.raises(CommandError, match="exited with 3: no luck"):
        run_command(["sh", "-c", "echo no luck; exit 3"], cwd=tmp_path)


def test_an_unknown_case_is_refused():
    with pytest.raises(SystemExit):
        parse_arguments(["no-such-case"])


def test_a_tiny_run_without_peers_measures_and_leaves_only_its_report(tmp_path):
    work, report_path = tmp_path / "work", tmp_path / "report.json"
    arguments = ["ingest-small", "questions", "--quick", "--scale", "0.001", "--peers=", f"--work={work}"]
    report = run(parse_arguments([*arguments, f"--json={report_path}"]), Console(quiet=True))
    assert [case.name for case in report.cases] == ["ingest-small", "questions"]
    assert report.cases[0].median("wall_s") > 0
    assert {check.what for check in report.cases[1].checks} == {"diff", "affected", "glob", "glob_class", "list"}
    assert "diff found 10 changes" in report.cases[1].notes[0]
    assert read_report(report_path) == report
    assert files_in(work) == 0
