"""Commands as pipelines: files and variables in, files out, in several languages, alone or kept alive."""

import os
import pickle
import shutil
import tempfile
import textwrap
import time
import uuid
from concurrent.futures import Executor, Future, ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import pytest

import versioned_io as vio
from versioned_io.errors import InvalidInputError
from versioned_io.processing.running import kept_programs
from versioned_io.processing.running.mounting import can_mount

INPUT = vio.glob("r@main", "/(*)")


@pytest.fixture
def project(tmp_path, monkeypatch):
    """The working directory."""
    place = tmp_path / "project"
    place.mkdir()
    monkeypatch.chdir(place)
    return place


@pytest.fixture(scope="module")
def plain():
    with vio.create_store(f"memory://{uuid.uuid4().hex}") as store:
        yield store


@pytest.fixture
def filled():
    with vio.create_store(f"memory://{uuid.uuid4().hex}") as store:
        yield fill(store)


def fill(store):
    for repo in ("r", "out"):
        store.create_repo(repo)
    put(store, {"a": b"one", "b": b"two"})
    return store


def put(store, files):
    with store.transaction("r@main") as tx:
        for path, data in files.items():
            tx.write(path, data)


def contents(store):
    found = store.snapshot("out@main")
    return {file.path: found.read(file.path) for file in found.walk()}


def shell(store, script, inputs=INPUT, **options):
    return store.pipeline(name="p", command=["sh", "-c", script], inputs=inputs, output="out@main", **options)


# One program for each language: it writes the content twice, with a variable between.
PROGRAMS = {
    "python3": (
        "p.py",
        """
        import os, pathlib
        source = pathlib.Path(os.environ["r"])
        print("reading", source.name)
        target = pathlib.Path(os.environ["PFS_ROOT"], "out", source.name)
        target.write_text(source.read_text() + os.environ["MARK"] + source.read_text())
        """,
    ),
    "bash": (
        "p.sh",
        """
        name=${r##*/}
        echo "reading $name"
        printf '%s%s%s' "$(cat "$r")" "$MARK" "$(cat "$r")" > "$PFS_ROOT/out/$name"
        """,
    ),
    "perl": (
        "p.pl",
        """
        my ($name) = $ENV{r} =~ m{([^/]+)$};
        print "reading $name\\n";
        open my $in, "<", $ENV{r} or die; my $text = <$in>;
        open my $out, ">", "$ENV{PFS_ROOT}/out/$name" or die; print $out "$text$ENV{MARK}$text";
        """,
    ),
    "node": (
        "p.js",
        """
        const fs = require("fs"), path = require("path");
        const name = path.basename(process.env.r), text = fs.readFileSync(process.env.r);
        console.log("reading", name);
        fs.writeFileSync(`${process.env.PFS_ROOT}/out/${name}`, `${text}${process.env.MARK}${text}`);
        """,
    ),
    "Rscript": (
        "p.R",
        """
        name <- basename(Sys.getenv("r")); text <- readLines(Sys.getenv("r"), warn = FALSE)
        cat("reading", name, "\\n")
        cat(text, Sys.getenv("MARK"), text, sep = "", file = file.path(Sys.getenv("PFS_ROOT"), "out", name))
        """,
    ),
}


@pytest.mark.parametrize("language", PROGRAMS)
def test_a_program_in_any_language_reads_and_writes_files(filled, project, language):
    if shutil.which(language) is None:
        pytest.skip(f"{language} is not installed")
    name, text = PROGRAMS[language]
    (project / name).write_text(textwrap.dedent(text))
    made = {"command": [language, name], "env": {"MARK": "+"}, "inputs": INPUT, "output": "out@main"}
    pipe = filled.pipeline(name="p", **made)
    run = pipe.run(max_workers=2)
    assert (run.state, run.failed) == ("succeeded", {})
    assert contents(filled) == {"a": b"one+one", "b": b"two+two"}
    assert pipe.log("a").split() == ["reading", "a"]
    put(filled, {"b": b"new"})
    assert filled.pipeline(name="other", replaces="p", **made).run().runs == ("b",)
    (project / name).write_text(textwrap.dedent(text) + "\n\n")
    again = filled.pipeline(name="p", replaces="other", **made)
    if not name.endswith(".py"):
        assert again.plan().runs == ["a", "b"]
        assert f"the code changed: file {name} (changed)" in again.explain("a")


WORKER = """
import json, os, pathlib, sys
for line in sys.stdin:
    asked = json.loads(line)
    source = pathlib.Path(asked["env"]["r"])
    print("looking at", source.name, flush=True)
    print("aside", source.name, file=sys.stderr, flush=True)
    answer = {"id": asked["id"]}
    text = source.read_text()
    if text == "bad":
        answer["error"] = "it is bad"
    elif text == "deadly":
        sys.exit(3)
    elif text == "slow":
        import time; time.sleep(60)
    else:
        pathlib.Path(asked["dir"], "out", source.name).write_text(f"{os.getpid()} {text}")
    print(json.dumps(answer), flush=True)
"""


def kept(store, project, **options):
    (project / "w.py").write_text(WORKER)
    return store.pipeline(
        name="p", command=["python3", "w.py"], keep_alive=True, inputs=INPUT, output="out@main", **options
    )


def test_a_program_that_stays_alive_evaluates_many_datums_and_ends_with_the_run(filled, project):
    put(filled, {f"{number:02}": f"{number}".encode() for number in range(20)} | {"bad": b"bad"})
    pipe = kept(filled, project, on_failure="drop")
    run = pipe.run()
    assert dict(run.failed) == {"bad": "CommandFailedError: python3 answered with an error: it is bad"}
    found = contents(filled)
    (process,) = {data.split()[0] for data in found.values()}
    assert {path: data.split()[1] for path, data in found.items()}["07"] == b"7"
    assert len(found) == 22
    assert not Path(f"/proc/{int(process)}").exists()
    again = pipe.rerun(run.commit, "07")
    assert (again.datums, list(again.differing)) == (("07",), ["07"])  # it writes the number of its process
    assert kept_programs._idle == []
    assert sorted(pipe.log("07").splitlines()) == ["aside 07", "looking at 07"]
    assert "it is bad" in pipe.log("bad")


def test_a_kept_program_that_ends_or_takes_too_long_fails_only_its_datum(filled, project):
    put(filled, {"c": b"deadly", "d": b"slow", "e": b"fine"})
    run = kept(filled, project, timeout_s=0.4, on_failure="drop").run()
    assert list(run.failed) == ["c", "d"]
    assert "ended with exit code 3 while it evaluated a datum" in run.failed["c"]
    assert "longer than 0.4 s" in run.failed["d"]
    assert list(contents(filled)) == ["a", "b", "e"]


ONE = vio.glob("r@main", "/a")
ANSWER = "print(json.dumps({'id': datum['id']}), flush=True)"


def worker(store, *lines, **options):
    """Return a pipeline of a kept program that does these lines for a datum."""
    script = "import json, os, shutil, subprocess, sys\nfor line in sys.stdin:\n datum = json.loads(line)\n"
    argv = ["python3", "-c", script + "".join(f" {line}\n" for line in lines)]
    return store.pipeline(name="p", command=argv, inputs=ONE, output="out@main", keep_alive=True, **options)


def test_a_kept_program_that_ends_is_noticed_while_a_process_that_it_left_holds_its_streams(filled, tmp_path):
    began = time.monotonic()
    run = worker(
        filled,
        "child = subprocess.Popen(['sleep', '60'])",
        f"open({str(tmp_path / 'child')!r}, 'w').write(str(child.pid))",
        "sys.exit(4)",
    ).run()
    assert "ended with exit code 4" in run.failed["a"]
    assert time.monotonic() - began < 30
    assert not is_alive(tmp_path / "child")


def test_of_a_kept_program_the_end_of_a_long_log_is_kept(filled):
    pipe = worker(filled, "sys.stderr.write('x' * 9_000_000 + 'last')", "sys.stderr.flush()", ANSWER)
    assert pipe.run().state == "succeeded"
    log = pipe.log("a")
    assert log.startswith("[")
    assert log.endswith("xlast")
    assert len(log) < 5_000_000


def test_nothing_is_deleted_below_a_link_in_place_of_the_directory(filled, tmp_path):
    (tmp_path / "other" / "out").mkdir(parents=True)
    (tmp_path / "other" / "precious").touch()
    replace = ["shutil.rmtree(datum['dir'])", f"os.symlink({str(tmp_path / 'other')!r}, datum['dir'])"]
    for answer in (ANSWER, ANSWER.replace("['id']}", "['id'], 'error': 'no'}")):
        assert "replaced by a link" in worker(filled, *replace, answer).run().failed["a"]
    assert (tmp_path / "other" / "precious").exists()


def test_a_time_limit_of_months_is_one(filled):
    assert shell(filled, "true", timeout_s=3e6).run().state == "succeeded"
    assert worker(filled, ANSWER, timeout_s=3e6).run().state == "succeeded"


def test_an_interrupt_ends_commands_that_run_in_threads(filled, tmp_path):
    put(filled, {"b": b"slow"})
    script = f'[ "$(cat "$r")" = one ] && exit 0; echo $$ > {tmp_path}/child; sleep 60'
    began = time.monotonic()

    def interrupt(_progress):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        shell(filled, script, tries=3).run(max_workers=2, on_progress=interrupt)
    assert time.monotonic() - began < 30
    assert not is_alive(tmp_path / "child")


def leave_idle(place):
    tempfile.tempdir = str(place)
    program = vio.command("p", ["cat"], inputs=ONE, output="out@main", keep_alive=True).function
    with kept_programs.kept_program(program._kept()):
        assert list(place.iterdir())


def test_a_process_of_a_pool_that_ends_leaves_no_directory(tmp_path):
    process = get_context("fork").Process(target=leave_idle, args=(tmp_path,))
    process.start()
    process.join(30)
    assert (process.exitcode, list(tmp_path.iterdir())) == (0, [])


class Pickling(Executor):
    """Evaluates here what arrives in another process."""

    def submit(self, function, /, *args, **options):
        done = Future()
        done.set_result(pickle.loads(pickle.dumps(partial(function, *args, **options)))())
        return done


def test_a_command_travels_to_other_processes_with_its_files(new_store, project):
    store = fill(new_store())
    pipe = kept(store, project)
    (project / "w.py").unlink()
    assert pipe.run(Pickling()).counts["run"] == 2
    assert [data.split()[1] for data in contents(store).values()] == [b"one", b"two"]
    assert pickle.loads(pickle.dumps(pipe._function)) == pipe._function


@pytest.mark.soak
def test_programs_stay_alive_in_other_processes_too(new_store, project):
    store = fill(new_store())
    with ProcessPoolExecutor(2, get_context("spawn")) as pool:
        assert kept(store, project).run(pool).counts["run"] == 2
    assert [data.split()[1] for data in contents(store).values()] == [b"one", b"two"]


def test_only_the_declared_environment_and_the_declared_files_are_there(filled, project, monkeypatch):
    monkeypatch.setenv("SECRET", "x")
    (project / "given.txt").write_text("given")
    (project / "lib").mkdir()
    (project / "lib" / "more.txt").write_text("more")
    (project / "hidden.txt").write_text("hidden")
    script = 'env | cut -d= -f1 | sort > "$PFS_ROOT/out/env"; find . -type f | sort > "$PFS_ROOT/out/files"'
    pipe = filled.pipeline(
        name="p",
        command=["sh", "-c", script, "given.txt"],
        env={"MODE": "1"},
        code_paths=["lib"],
        inputs=vio.glob("r@main", "/", name="all"),
        output="out@main",
    )
    assert pipe.run().state == "succeeded"
    found = contents(filled)
    names = {"PATH", "HOME", "TMPDIR", "LANG", "PFS_ROOT", "PACH_DATUM_ID", "MODE", "all", "PWD"}
    assert set(found["env"].decode().split()) == names
    assert found["files"] == b"./given.txt\n./lib/more.txt\n"


def test_variables_tell_the_path_and_the_rules_of_each_input(filled):
    put(filled, {"d/1.txt": b"", "e/1.txt": b"", "e/2.txt": b""})
    filled.create_repo("s")
    with filled.transaction("s@main") as tx:
        tx.write("x-1.csv", b"")
    left = vio.glob("r@main", "/*/(*).txt", join_on="$1")
    right = vio.glob("s@main", "/x-(*).csv", name="s-2", join_on="no$1".replace("no", ""))
    script = 'echo "${r#$PFS_ROOT} ${s_2#$PFS_ROOT} $PACH_DATUM_r_JOIN_ON" > "$PFS_ROOT/out/$PACH_DATUM_ID"'
    assert shell(filled, script, vio.join(left, right)).run().state == "succeeded"
    assert sorted(contents(filled).values()) == [b"/r/d/1.txt /s-2/x-1.csv 1\n", b"/r/e/1.txt /s-2/x-1.csv 1\n"]
    script = 'echo "${r#$PFS_ROOT}" $(ls "$r") > "$PFS_ROOT/out/${r##*/}"'
    directories = vio.glob("r@main", "/[de]")
    assert shell(filled, script, directories, code_version="2").run().state == "succeeded"
    assert contents(filled) == {"d": b"/r/d 1.txt\n", "e": b"/r/e 1.txt 2.txt\n"}
    grouped = vio.group(vio.glob("r@main", "/*/(*).txt", group_by="$1"))
    script = 'echo "${r#$PFS_ROOT} $PACH_DATUM_r_GROUP_BY" > "$PFS_ROOT/out/$PACH_DATUM_r_GROUP_BY"'
    assert shell(filled, script, grouped).run().state == "succeeded"
    assert contents(filled) == {"1": b"/r 1\n", "2": b"/r/e/2.txt 2\n"}


def test_a_failed_command_is_tried_again_and_its_last_line_is_the_error(filled, tmp_path):
    tries = tmp_path / "tries"
    script = f'echo one >> {tries}; echo "doing" ; echo "no luck" >&2; exit 3'
    pipe = shell(filled, script, vio.glob("r@main", "/a"), tries=3)
    run = pipe.run()
    assert (run.state, dict(run.failed)) == (
        "failed",
        {"a": "CommandFailedError: sh ended with exit code 3: no luck"},
    )
    assert len(tries.read_text().split()) == 3
    assert pipe.log("a").splitlines()[:2] == ["doing", "no luck"]
    assert "Traceback" not in pipe.log("a")


def test_an_accepted_exit_code_is_success_and_a_signal_is_named(filled):
    assert shell(filled, 'echo > "$PFS_ROOT/out/${r##*/}"; exit 3', accepted=[0, 3]).run().state == "succeeded"
    run = shell(filled, "kill -9 $$").run()
    assert run.failed["a"] == "CommandFailedError: sh was ended by SIGKILL"


def test_an_error_command_recovers_a_datum_with_its_files(filled, tmp_path):
    noted = tmp_path / "noted"
    pipe = shell(
        filled,
        'grep one "$r" && touch "$PFS_ROOT/out/done"',
        error_command=["sh"],
        error_stdin=[f'cat "$r" > {noted}', "echo handled"],
    )
    run = pipe.run()
    assert (run.state, run.counts["recovered"], list(contents(filled))) == ("partial", 1, ["done"])
    assert noted.read_text() == "two"
    assert "handled" in pipe.log("b")
    assert shell(filled, "exit 1", error_command=["false"]).run().counts["failed"] == 2


def test_at_the_time_limit_the_whole_group_is_killed(filled, tmp_path):
    script = f"sleep 300 & echo $! > {tmp_path}/child; echo begun; wait"
    began = time.monotonic()
    pipe = shell(filled, script, vio.glob("r@main", "/a"), timeout_s=0.3)
    run = pipe.run()
    assert "longer than 0.3 s" in run.failed["a"]
    assert time.monotonic() - began < 10
    assert not is_alive(tmp_path / "child")
    assert "begun" in pipe.log("a")


def test_processes_that_a_command_leaves_behind_are_killed(filled, tmp_path):
    script = f'sleep 300 & echo $! > {tmp_path}/child; touch "$PFS_ROOT/out/${{r##*/}}"'
    assert shell(filled, script).run().state == "succeeded"
    assert not is_alive(tmp_path / "child")


def is_alive(note):
    try:
        return Path(f"/proc/{note.read_text().strip()}/stat").read_text().split()[2] != "Z"
    except FileNotFoundError:
        return False


REFUSED = {
    "ln -s /etc/passwd out/x": "'x' is a link to '/etc/passwd', which is not a file of the datum",
    "ln -s ../../work out/x": "which is not a file of the datum",
    "ln -s nowhere out/x": "which is not a file of the datum",
    "ln -s x out/x": "which is not a file of the datum",
    'ln -s "$PFS_ROOT/r" out/x': "'x' is a link to a directory",
    "mkfifo out/x": "'x' is a pipe",
    "rmdir out; ln -s /etc out": "'out' was replaced",
    "printf 'x' > \"out/$(printf 'a\\377')\"": "IllegalPathError",
}


def test_outputs_are_regular_files_below_out(filled):
    put(filled, {f"{number}": script.encode() for number, script in enumerate(REFUSED)})
    put(filled, {"fine": b'mkdir out/d; ln "$r" out/d/x; ln -s "$r" out/d/y', "a": b"true", "b": b"true"})
    run = shell(filled, 'cd "$PFS_ROOT"; . "$r"', on_failure="drop").run(max_workers=2)
    assert run.failed.keys() == {f"{number}" for number in range(len(REFUSED))}
    for number, refusal in enumerate(REFUSED.values()):
        assert refusal in run.failed[f"{number}"]
    assert list(contents(filled)) == ["d/x", "d/y"]


def test_a_device_and_a_socket_are_refused(filled, project):
    (project / "s.py").write_text(
        "import os, socket; socket.socket(socket.AF_UNIX).bind(os.environ['PFS_ROOT'] + '/out/s')"
    )
    pipe = filled.pipeline(name="p", command=["python3", "s.py"], inputs=INPUT, output="out@main")
    assert "'s' is a socket" in pipe.run().failed["a"]
    if os.geteuid() == 0:
        failed = shell(filled, 'mknod "$PFS_ROOT/out/x" c 1 3').run().failed
        assert not failed or "'x' is a device" in failed["a"] or "not permitted" in failed["a"]


def test_two_datums_that_write_one_path_are_both_named(filled):
    with pytest.raises(vio.VersionedError, match=r"'a'.*'b'"):
        shell(filled, 'cp "$r" "$PFS_ROOT/out/same"').run()


def test_empty_files_are_empty_and_tables_have_only_their_rows(filled, project):
    pa = pytest.importorskip("pyarrow")
    import pyarrow.parquet as pq

    pq.write_table(pa.table({"k": ["x", "y", "x"], "v": [1, 2, 3]}), project / "t.parquet")
    put(filled, {"t.parquet": (project / "t.parquet").read_bytes()})
    script = 'wc -c < "$r" > "$PFS_ROOT/out/${r##*/}"'
    assert shell(filled, script, vio.glob("r@main", "/[ab]", empty_files=True)).run().state == "succeeded"
    assert contents(filled) == {"a": b"0\n", "b": b"0\n"}
    failed = shell(filled, 'ln -s "$r" "$PFS_ROOT/out/x"', vio.glob("r@main", "/a", empty_files=True)).run().failed
    assert "empty_files" in failed["a"]
    script = 'cp "$r" "$PFS_ROOT/out/$(basename "$PACH_DATUM_ID")"'
    assert shell(filled, script, vio.table("r@main", "/t.parquet", by="k")).run().state == "succeeded"
    tables = [pq.read_table(pa.BufferReader(data)).to_pylist() for data in contents(filled).values()]
    assert sorted(rows[0]["k"] for rows in tables) == ["x", "y"]
    assert [{"k": "x", "v": 1}, {"k": "x", "v": 3}] in tables


@pytest.mark.skipif(not can_mount(), reason="this machine allows no namespaces")
@pytest.mark.parametrize("keep_alive", [False, True])
def test_a_command_finds_its_datum_at_pfs(filled, project, keep_alive):
    (project / "w.py").write_text(
        "import json, os, pathlib, sys\n"
        "for line in sys.stdin if sys.argv[1:] else ['{}']:\n"
        "    for path in pathlib.Path('/pfs/r').iterdir():\n"
        "        os.symlink(path, f'/pfs/out/{path.name}')\n"
        "    assert os.path.exists('w.py')\n"
        "    if sys.argv[1:]: print(json.dumps({'id': json.loads(line)['id']}), flush=True)\n"
    )
    argv = ["python3", "w.py", *(["kept"] if keep_alive else [])]
    pipe = filled.pipeline(name="p", command=argv, pfs=True, keep_alive=keep_alive, inputs=INPUT, output="out@main")
    assert dict(pipe.run().failed) == {}
    assert contents(filled) == {"a": b"one", "b": b"two"}
    assert not Path("/pfs").exists()


def test_a_program_that_does_not_exist_says_where_it_was_looked_up(filled):
    pipe = filled.pipeline(name="p", command=["no-such-program"], inputs=INPUT, output="out@main")
    assert "'no-such-program' can't be started (No such file or directory); it was looked up" in pipe.run().failed["a"]


def test_the_end_of_a_long_log_is_kept(filled):
    pipe = shell(filled, "head -c 5000000 /dev/zero | tr '\\0' a; echo last", vio.glob("r@main", "/a"))
    assert pipe.run().state == "succeeded"
    log = pipe.log("a")
    assert log.startswith("[805701 bytes before this are not kept]")
    assert log.endswith("alast\n")


@pytest.mark.parametrize(
    "options",
    [
        {"command": []},
        {"command": "ls"},
        {"command": ["a\0"]},
        {"command": [1]},
        {"env": {"A=B": "x"}},
        {"env": {"A": 1}},
        {"stdin": "text"},
        {"accepted": [256]},
        {"accepted": []},
        {"code_paths": ["missing"]},
        {"code_paths": "missing"},
        {"keep_alive": True, "stdin": ["x"]},
        {"inputs": vio.glob("r@main", "/*", name="PATH")},
        {"inputs": vio.glob("r@main", "/*", name="MODE"), "env": {"MODE": "x"}},
        {"inputs": vio.cross(vio.glob("r@main", "/*", name="a.b"), vio.glob("r@main", "/*", name="a_b"))},
        {"inputs": None},
        {"output": None},
        {"name": None},
        {"workers": -1},
        {"error_command": []},
        {"function": vio.command("p", ["true"], inputs=INPUT, output="out@main")},
    ],
)
def test_bad_facts_of_a_command_are_refused(plain, project, options):
    facts = {"name": "p", "command": ["true"], "inputs": INPUT, "output": "out@main", **options}
    with pytest.raises(InvalidInputError):
        plain.pipeline(**facts)
