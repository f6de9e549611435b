"""A process that is killed at any moment has lost nothing that it had reported."""

import signal
import subprocess
import sys

LOOP = """
import sys
import versioned_io as vio
with vio.open_store(sys.argv[1]) as store:
    number = 0
    while True:
        number += 1
        with store.transaction("data@main") as tx:
            tx.write(f"{sys.argv[2]}/{number}", b"%d" % number * 1000)
            tx.branch("other@main").write(f"{sys.argv[2]}/{number}", b"%d" % number * 1000)
        print(tx.commit.id, flush=True)
"""


def test_what_was_reported_before_a_death_at_any_moment_is_there_after_it(new_store):
    store = new_store()
    for name in ("data", "other"):
        store.create_repo(name)
    for life in range(1, 7):
        begun = len(list(store.log("data@main")))
        command = [sys.executable, "-c", LOOP, store.url, f"life {life}"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as victim:
            reported = [victim.stdout.readline().strip() for _ in range(life * 3)]
            victim.send_signal(signal.SIGKILL)  # somewhere in one of the next commits
            reported += [line.strip() for line in victim.stdout if line.endswith("\n")]
        log = [commit.id for commit in reversed(list(store.log("data@main")))]
        assert log[begun : begun + len(reported)] == reported
        assert len(log) - begun in {len(reported), len(reported) + 1}
        assert store.commit("data@main").lineage_id == store.commit("other@main").lineage_id
        assert store.commit("data@main").number == store.commit("other@main").number == len(log)
        assert store.fsck().is_clean
