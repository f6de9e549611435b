"""Triggers: branches that follow others."""

import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from versioned_io.model.arguments import parse_number
from versioned_io.model.refs import parse_branch_ref, parse_new_name
from versioned_io.versioning.backend.backend import Backend

if TYPE_CHECKING:
    from versioned_io.model.trigger_rules import MetricChange, TriggerInfo, TriggerRound

DEFAULT_POLL_S: Final = 1.0
"""Seconds between two looks of a follower: a look is one short SELECT while nothing happens."""


class Triggering:
    """The triggers of a store."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend

    def trigger(
        self,
        branch: str,
        *,
        on: str,
        commits: int | None = None,
        changed_bytes: int | str | None = None,
        changed_files: int | None = None,
        metric: "MetricChange | None" = None,
        cron: str | None = None,
        time_zone: str = "UTC",
        at_most_every: timedelta | str | None = None,
        any_: bool = True,
    ) -> "TriggerInfo":
        """Make the branch ``repo@branch`` follow the branch *on* when enough has changed there.

        Nothing moves now: `run_triggers` evaluates the triggers, and a store that was opened with ``run_triggers=True``
        does so after each of its commits. A branch of the same repo then points at the very commit of *on*. A branch of
        another repo gets one commit with the same files, by reference, under the same lineage ID. The difference
        between the two branches counts. So nothing is counted twice, and a reset of the branch sets the count back.

        >>> store.trigger("weather@train", on="weather@main", commits=2).rule.commits
        2
        >>> [(one.branch, one.because) for one in store.run_triggers().fired]
        [('weather@train', '2 commits ahead, 2 wanted')]
        >>> store.commit("weather@train") == store.commit("weather@main")
        True

        Args:
            branch: Created empty if it is missing. If it already follows a branch, it follows *on* by the new rule.
            commits: At least this many commits that the branch lacks.
            changed_bytes: At least this many bytes in the files that differ, such as ``"1GB"``. A deleted file counts
                with its old size.
            changed_files: At least this many files that differ.
            metric: A number in a JSON file that has changed, from `versioned_io.metric`.
            cron: Five fields of cron. An instant must come while the branch lacks a commit.
            time_zone: The time zone of *cron*, such as ``"Europe/Berlin"``.
            at_most_every: The least time between two firings, such as ``"1h"``, whatever the conditions say.
            any_: Whether one of the conditions suffices. False demands all of them.

        Raises:
            NotFoundError: *on* or the repo of *branch* does not exist.
            InvalidInputError: The branch would follow itself, also through others; a condition is malformed, or there
                is none. Or a branch in another repo than *on* has commits of its own.
            ExistsError: *branch* is a tag.

        Cost: 4 SELECTs; 1 PUT, 1 SQL transaction of 11 statements. For a new branch 4 SELECTs, 1 PUT and 1 SQL
            transaction of 13 statements more.
        """
        from versioned_io.model.trigger_rules import build_rule
        from versioned_io.processing.triggers.setting import set_trigger

        rule = build_rule(
            commits=commits,
            changed_bytes=changed_bytes,
            changed_files=changed_files,
            metric=metric,
            cron=cron,
            time_zone=time_zone,
            at_most_every=at_most_every,
            any_=any_,
        )
        ref = parse_branch_ref(branch)
        parse_new_name(ref.branch, branch)
        return set_trigger(self._backend, ref, parse_branch_ref(on), rule)

    def triggers(self) -> "list[TriggerInfo]":
        """Return the triggers of the store, sorted by the branches that follow.

        >>> _ = store.trigger("weather@train", on="weather@main", changed_bytes="1GB", cron="0 6 * * 1-5")
        >>> [(one.branch, one.on, one.rule.changed_bytes) for one in store.triggers()]
        [('weather@train', 'weather@main', 1000000000)]

        Cost: 1 SELECT.
        """
        from versioned_io.processing.triggers.setting import read_triggers

        with self._backend.catalog.ask() as connection:
            return read_triggers(connection)

    def delete_trigger(self, branch: str) -> "TriggerInfo":
        """End the following of the branch ``repo@branch``, which stays where it is, and return the trigger it had.

        >>> _ = store.trigger("weather@train", on="weather@main", commits=2)
        >>> store.delete_trigger("weather@train").on
        'weather@main'
        >>> store.triggers()
        []

        Raises:
            NotFoundError: The branch does not exist, or follows no other.

        Cost: 1 PUT, 1 SQL transaction of 8 statements.
        """
        from versioned_io.processing.triggers.setting import delete_trigger

        return delete_trigger(self._backend, parse_branch_ref(branch))

    def run_triggers(self) -> "TriggerRound":
        """Evaluate every trigger once, move the branches whose rules hold, and return what fired and what waits.

        A chain of triggers fires in one call. Each firing is one SQL transaction. Of several processes that evaluate at
        once, one fires; after a crash, the next call fires what is left. A branch with commits of its own is not moved:
        it is among the waiting, with ``is_blocked``.

        >>> _ = store.trigger("weather@train", on="weather@main", commits=3)
        >>> store.run_triggers().waiting[0].because
        '2 commits ahead, 3 wanted'

        Raises:
            CatalogOlderError, NotOwnerError: As for any write; nothing more has fired.
            StorageError: The object store or the catalog failed. Earlier firings stand; call again.

        Cost: 1 SELECT while no branch is behind. For each branch that is, 6 to 9 SELECTs more, and the pages that
            differ. A firing: 1 PUT, 1 SQL transaction of 9 statements.
        """
        from versioned_io.processing.triggers.firing import TriggerEvaluator

        return TriggerEvaluator(self._backend).run()

    def follow_triggers(self, *, poll_s: float = DEFAULT_POLL_S) -> "Iterator[TriggerRound]":
        """Evaluate the triggers again and again, and yield the first round and every later one in which one fired.

        Stop by leaving the loop. A branch that waits is not compared again until it or its source moves.

        >>> _ = store.trigger("weather@train", on="weather@main", commits=2)
        >>> [one.branch for one in next(store.follow_triggers()).fired]
        ['weather@train']

        Args:
            poll_s: Seconds between two rounds.

        Raises:
            VersionedError: As for `run_triggers`.

        Cost: as `run_triggers` for each round; 2 SELECTs for a branch that is behind as it was the round before.
        """
        parse_number(poll_s, "poll_s")
        from versioned_io.processing.triggers.firing import TriggerEvaluator

        return _follow(TriggerEvaluator(self._backend).run, poll_s)


def _follow(run: Callable[[], "TriggerRound"], poll_s: float) -> "Iterator[TriggerRound]":
    yield run()
    while True:
        time.sleep(poll_s)
        found = run()
        if found.fired:
            yield found
