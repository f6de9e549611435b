"""The command ``due``: which keys wait for which consumer, why nothing runs, and how keys are processed again."""

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from versioned_io.errors import InvalidInputError, NotFoundError
from versioned_io.interfaces.cli.output import echo, print_json, print_line, print_table
from versioned_io.interfaces.cli.session import (
    CatalogOption,
    JsonOption,
    StoreOption,
    open_named_store,
    reports_errors,
)

if TYPE_CHECKING:
    from versioned_io.model.due_states import DueStatus, KeyStatus, Repetition
    from versioned_io.processing.subscriptions import Subscription
    from versioned_io.store import Store

_FEW_KEYS: Final = 20
_TAKEN: Final = {"claimed", "overtaken", "unfinished"}
"""The states in which the owner of a key's lease is worth a look."""

KeyArgument = Annotated[str | None, typer.Option("--key", help="Only this key, also when it is done.")]
ConsumerOption = Annotated[
    str | None, typer.Option("--consumer", "-c", help="Only this consumer, such as a DAG's ID, or this subscription.")
]
AgainOption = Annotated[
    list[str] | None, typer.Option("--again", metavar="KEY", help="Request this key again; may be repeated.")
]
AgainAllOption = Annotated[bool, typer.Option("--again-all", help="Request every key of the branch again.")]
AllOption = Annotated[bool, typer.Option("--all", help=f"Name every key, not only {_FEW_KEYS} of each subscription.")]


@reports_errors
def due(
    branch: Annotated[str | None, typer.Argument(help="repo@branch; by default every branch.")] = None,
    key: KeyArgument = None,
    consumer: ConsumerOption = None,
    again: AgainOption = None,
    again_all: AgainAllOption = False,
    every_key: AllOption = False,
    store: StoreOption = None,
    catalog: CatalogOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show the subscriptions, their due keys, who holds them, and why a consumer did not run.

    With --again or --again-all, keys are processed again, each once: after a change
    of the code, for example. The relay announces them within seconds.
    """
    with open_named_store(store, catalog) as opened:
        if again or again_all:
            _request(opened, branch, consumer, None if again_all else again, as_json=as_json)
            return
        limit = None if every_key or as_json else _FEW_KEYS
        every = opened.due(branch, key=key, limit=limit)
    found = sorted((one for one in every if _is_of(consumer, one.consumer, one.name)), key=_place)
    if consumer is not None and not found:
        _refuse_unknown(consumer, branch)
    if as_json:
        print_json({"subscriptions": [_status_json(one, every, key) for one in found]})
        return
    if not found:
        echo("no subscription: no consumer has asked for changes yet")
    for number, one in enumerate(found):
        if number:
            echo("")
        _print_status(one, _why(one, every, key))


def _request(
    store: "Store", branch: str | None, consumer: str | None, keys: Sequence[str] | None, *, as_json: bool
) -> None:
    """Request keys again of the consumers of a branch.

    Raises:
        InvalidInputError: *branch* is missing, or no template of a subscription can produce the keys.
        NotFoundError: The consumer does not exist.
    """
    if branch is None:
        msg = "name the branch, as repo@branch, whose keys are processed again"
        raise InvalidInputError(msg)
    chosen = [
        one
        for one in store.subscriptions(branch)
        if _is_of(consumer, one.consumer, one.name) and (one.consumer is not None or one.relay is None)
    ]
    if not chosen:
        _refuse_unknown(consumer, branch)
    made = [(one, asked) for one in chosen if (asked := _ask(one, keys, is_only=len(chosen) == 1)) is not None]
    if not made:
        msg = f"no subscription of {branch} has a template that can produce {', '.join(map(repr, keys or ()))}"
        raise InvalidInputError(msg)
    if as_json:
        print_json({"repeated": [_repetition_json(one, asked) for one, asked in made]})
        return
    for one, asked in made:
        kept = f", {len(asked.waiting)} waiting already" if asked.waiting else ""
        echo(f"{_title(one.consumer, one.name)}: {len(asked.requested)} requested again{kept}")


def _ask(subscription: "Subscription", keys: Sequence[str] | None, *, is_only: bool) -> "Repetition | None":
    """Request the keys of one subscription; None if its template can't produce them, and there are others."""
    from versioned_io.errors import PartitionKeyError

    try:
        return subscription.request(keys)
    except PartitionKeyError:
        if is_only:
            raise
        return None


def _refuse_unknown(consumer: str | None, branch: str | None) -> None:
    where = f"of {branch}" if branch else "of this store"
    what = f"subscription {where}" if consumer is None else f"consumer or subscription {consumer!r} {where}"
    msg = f"there is no {what}: a consumer is known after its first run; `versioned due` lists all"
    raise NotFoundError(msg)


def _is_of(wanted: str | None, consumer: str | None, name: str) -> bool:
    return wanted is None or wanted in {consumer, name}


def _place(status: "DueStatus") -> tuple[str, bool]:
    """Return where a subscription stands in the list: the relay's own after those of its consumers."""
    return str(status.branch), status.relay is not None and status.consumer is None


def _title(consumer: str | None, name: str) -> str:
    return name if consumer is None else consumer


def _why(status: "DueStatus", others: "Sequence[DueStatus]", key: str | None) -> str:
    """Return the sentence about one subscription, as the others and the question complete it."""
    if key is not None and not status.keys and not status.is_behind:
        began = f"{status.created_at:%Y-%m-%d %H:%M:%S} UTC"
        return f"no request for {key!r}: no commit has touched it since the subscription was made, at {began}"
    if status.relay is None or status.consumer is not None:
        is_part = key is None and 0 < len(status.keys) < status.due_count
        part = f" (the oldest {len(status.keys)} of {status.due_count:,} due keys)" if is_part else ""
        return status.why + part
    seen_as = (status.branch, status.relay, status.partitions, status.key)
    known = any(one.consumer and (one.branch, one.relay, one.partitions, one.key) == seen_as for one in others)
    return status.why if known else f"{status.why}; no consumer is known, since none has run yet"


def _print_status(status: "DueStatus", why: str) -> None:
    what = "the relay" if status.relay is not None and status.consumer is None else _title(status.consumer, status.name)
    details = ", ".join(filter(None, [status.partitions, status.relay]))
    print_line(f"{what}{f' ({details})' if details else ''}: {why}", heading=str(status.branch))
    if status.keys:
        print_table(("key", "state", "since", "commit", "by", "until"), map(_row, status.keys))
    if status.due_count > len(status.keys) > 1:
        echo(f"and {status.due_count - len(status.keys)} more (--all shows all)")


def _row(one: "KeyStatus") -> tuple[str, ...]:
    due, is_taken = one.due, one.state.value in _TAKEN
    by = due.done_by if due.is_done else due.owner if is_taken else None
    until = _time(due.claimed_until) if is_taken else ""
    return due.key, one.state.value, _time(due.requested_at), f"#{due.number}", by or "", until


def _time(moment: datetime | None) -> str:
    return "" if moment is None else moment.strftime("%Y-%m-%d %H:%M:%S")


def _status_json(status: "DueStatus", others: "Sequence[DueStatus]", key: str | None) -> dict[str, Any]:
    return {
        "branch": str(status.branch),
        "name": status.name,
        "relay": status.relay,
        "consumer": status.consumer,
        "partitions": status.partitions,
        "key": status.key,
        "head": status.head,
        "head_number": status.head_number,
        "cursor": status.cursor,
        "cursor_number": status.cursor_number,
        "is_behind": status.is_behind,
        "created_at": status.created_at.isoformat(),
        "due_count": status.due_count,
        "why": _why(status, others, key),
        "keys": [_key_json(one) for one in status.keys],
    }


def _key_json(one: "KeyStatus") -> dict[str, Any]:
    due = one.due
    return {
        "key": due.key,
        "state": one.state.value,
        "requested_at": due.requested_at.isoformat(),
        "announced_at": None if due.announced_at is None else due.announced_at.isoformat(),
        "commit": due.commit,
        "number": due.number,
        "lineage_id": due.lineage_id,
        "owner": due.owner,
        "claimed_until": None if due.claimed_until is None else due.claimed_until.isoformat(),
        "done_by": due.done_by,
    }


def _repetition_json(subscription: "Subscription", asked: "Repetition") -> dict[str, Any]:
    return {
        "name": subscription.name,
        "consumer": subscription.consumer,
        "requested": list(asked.requested),
        "waiting": list(asked.waiting),
        "commit": asked.commit.id,
    }
