"""The run that an orchestrator offers to a process ends with its offer."""

import threading

from versioned_io.platform.ambient import Offer


def test_a_value_that_another_thread_makes_just_now_does_not_outlive_its_offer():
    offer, begun, may_end = Offer(), threading.Event(), threading.Event()

    def build():
        begun.set()
        assert may_end.wait(10)
        return "run"

    withdrawn = []
    offer.make(build)
    maker = threading.Thread(target=offer.find)
    ender = threading.Thread(target=lambda: withdrawn.append(offer.withdraw()))
    maker.start()
    assert begun.wait(10)
    ender.start()
    ender.join(0.1)
    may_end.set()
    for thread in (maker, ender):
        thread.join(10)
    assert (withdrawn, offer.made) == (["run"], None)
