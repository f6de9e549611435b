"""A pager is waited for, also if the user interrupts it."""

import io
import subprocess
import sys

from versioned_io.interfaces.cli import paging


def test_an_interrupt_leaves_the_pager_until_its_user_ends_it(monkeypatch):
    class Pager:
        stdin = io.StringIO()
        interrupts = 2
        has_ended = False

        def wait(self):
            if self.interrupts:
                self.interrupts -= 1
                raise KeyboardInterrupt
            self.has_ended = True

    pager = Pager()
    monkeypatch.setattr(subprocess, "Popen", lambda *_, **__: pager)
    terminal = sys.stdout
    with paging._through(["less"]):
        assert sys.stdout is pager.stdin
    assert (pager.has_ended, pager.stdin.closed, sys.stdout is terminal) == (True, True, True)
