import json
import sys
from dataclasses import replace

import pytest
from rich.console import Console

from benchmarks.__main__ import DiskSpaceError, parse_arguments, run
from benchmarks.bench import Bench
from benchmarks.cases import CASES, needed_mib
from benchmarks.data import make_edited_file, make_large_file, make_small_files
from benchmarks.install_peers import program_of
from benchmarks.measures import CaseResult, Report, read_report
from benchmarks.ours_requests import count_requests
from benchmarks.peers import PEERS, Peer, WorkspacePeer
from benchmarks.processes import CommandError, files_in, run_command, size_of
from benchmarks.report import REASONS, build_page

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
    assert "| case | wall_s beside restic | 2.00 x | at most 0.500 x | **missed**: reason not known yet |" in page
    assert "a CPU" in page


def test_a_report_of_another_format_is_refused(tmp_path):
    (tmp_path / "report.json").write_text('{"format": 99}')
    with pytest.raises(ValueError, match="run make bench"):
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


def test_a_run_that_the_disk_has_no_room_for_fails_before_it_measures(tmp_path):
    arguments = ["ingest-large", "--peers=", "--scale", "100000", f"--work={tmp_path}"]
    with pytest.raises(DiskSpaceError, match=r"WORK=.*CASES=.*SCALE="):
        run(parse_arguments([*arguments, f"--json={tmp_path / 'report.json'}"]), Console(quiet=True))
    assert list(tmp_path.iterdir()) == []


def test_more_repeats_and_peers_need_more_disk_and_what_cases_share_counts_once(tmp_path):
    def need(cases, repeats, peers, scale=1.0):
        bench = Bench(tmp_path, scale, repeats, 1, peers, [], is_full=False, say=print)
        return needed_mib(cases, bench)

    assert need(["ingest-small"], 1, []) == 400 + 300
    assert need(["ingest-small"], 3, [PEERS[0]]) == 400 + 3 * 2 * 300
    assert need(["ingest-small", "restore-small"], 1, []) == 400 + 300 + 300 + 400
    assert need(["ingest-large"], 1, [], scale=0.5) == (1_024 + 3_072 + 1_024) / 2


def test_a_quick_run_leaves_the_real_servers_out_unless_they_are_asked_for():
    assert "latency" not in parse_arguments(["--quick"]).cases
    assert "latency" in parse_arguments([]).cases
    assert parse_arguments(["latency", "--quick"]).cases == ["latency"]


def test_half_an_environment_is_no_installed_peer(tmp_path):
    program = tmp_path / "dvc" / "bin" / "dvc"
    program.parent.mkdir(parents=True)
    program.touch()
    assert program_of("dvc", "dvc", directory=tmp_path) is None
    (tmp_path / "dvc" / "installed").touch()
    assert program_of("dvc", "dvc", directory=tmp_path) == program
    assert program_of("dvc", "git", directory=tmp_path) is None


def test_a_peer_that_is_not_installed_is_skipped_and_named():
    missing = Peer("none", ("no-such-program",), (), (), (), {})
    assert not missing.is_installed()
    assert replace(missing, version=("sh",)).is_installed()


def test_a_peer_with_a_working_copy_is_given_the_data_and_leaves_the_source_alone(tmp_path):
    source = tmp_path / "source"
    make_small_files(source, 30, 1)
    keep = ("sh", "-c", "mkdir -p store && cp -r data store/data")
    peer = WorkspacePeer(
        "copier",
        version=("sh", "-c", "echo 1.0"),
        init=(("sh", "-c", "mkdir store"),),
        ingest=(keep,),
        restore=(("cp", "-r", "store/data", "data"),),
        env={},
        storage=("store",),
    )
    repo, dest = tmp_path / "repo", tmp_path / "dest"
    peer.make(repo)
    taken = peer.store(repo, source, "first")
    assert taken["wall_s"] > 0
    assert peer.stored_bytes(repo) == size_of(source)
    peer.bring_back(repo, dest, "first")
    assert content_of(dest) == content_of(source)
    assert peer.installed_version() == "1.0"


def test_a_peer_that_writes_to_the_files_that_it_is_to_store_is_found_out(tmp_path):
    source = tmp_path / "source"
    make_small_files(source, 20, 1)
    spoil = ("sh", "-c", "chmod 400 data/day=0000/part-000007.csv")
    peer = WorkspacePeer("spoiler", version=("sh",), init=(), ingest=(spoil,), restore=(), env={})
    peer.make(tmp_path / "repo")
    with pytest.raises(RuntimeError, match="spoiler changed the files"):
        peer.store(tmp_path / "repo", source, "first")


@pytest.mark.soak
def test_the_costs_of_a_few_sizes_stand_in_columns_and_say_how_they_grow(tmp_path):
    report_path = tmp_path / "report.json"
    arguments = ["growth", "--quick", "--scale", "0.0001", "--peers=", f"--work={tmp_path}", f"--json={report_path}"]
    (case,) = run(parse_arguments(arguments), Console(quiet=True)).cases
    assert list(case.samples) == ["20 files", "100 files"]
    assert {"told_commit_ms", "diff_ms", "log_file_ms", "log_directory_ms", "gc_dry_run_s", "stats_s"} <= set(
        case.samples["20 files"]
    )
    assert case.notes[0].startswith("with 5 times the files: told_commit ")
    assert "| | 20 files | 100 files |" in build_page(read_report(report_path))


def test_a_small_commit_is_one_put_and_every_operation_is_counted():
    rows = count_requests(2_000, 1)["rows"]
    assert rows["commit of 1 file"]["puts"] == rows["commit of 10 scattered files"]["puts"] == 1
    # The marker, and what the catalog must know.
    one_each = {"gets": 1, "lists": 1, "bytes_got": rows["open"]["bytes_got"]}
    assert rows["open"] == dict.fromkeys(rows["open"], 0) | one_each
    assert rows["snapshot"]["gets"] == 0
    assert rows["read 1 file"]["gets"] > 0
    assert rows["read_many of 100 scattered"]["bytes_got"] > 100 * 1_024


def test_the_peak_memory_of_a_command_is_its_own_and_not_that_of_the_benchmarks(tmp_path):
    held = bytearray(100_000_000)
    held[::4096] = b"x" * len(held[::4096])
    assert run_command(["true"], cwd=tmp_path).peak_mib < 50
    command = [sys.executable, "-c", "held = bytearray(b'x' * 100_000_000)"]
    assert run_command(command, cwd=tmp_path).peak_mib > 90


def test_a_missed_target_is_said_with_its_reason_and_every_reason_is_of_a_case(tmp_path):
    assert {key.partition(": ")[0] for key in REASONS} <= set(CASES)
    key, reason = next(iter(REASONS.items()))
    name, _, what = key.partition(": ")
    result = CaseResult(name, "a case")
    result.check(what, 3, 2, "s")
    assert f"**missed**: {reason}" in build_page(Report(MACHINE, 1.0, 3, 1, [result]))
    result.checks.clear()
    result.check(what, 2, 2, "s")
    assert reason not in build_page(Report(MACHINE, 1.0, 3, 1, [result]))
