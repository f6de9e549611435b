"""Every public call with every wrong kind of argument: one clear error of the right branch, nothing half done."""

import inspect
import traceback
from collections.abc import Iterator
from datetime import timedelta

import pytest

import versioned_io as vio
from versioned_io.errors import IllegalPathError, InvalidInputError, NotFoundError
from versioned_io.model.partitions import PartitionTemplate
from versioned_io.model.paths import parse_path

NO_TEXT = [0, -1, 1.5, float("nan"), True, b"x", ["main"], {}, object(), timedelta(1)]
LONG = "x" * 5_000
NO_NAME = [
    "",
    " ",
    LONG,
    "e\u0301",
    "\ud800",
    "a\nb",
    "a\0b",
    "../x",
    "@",
    "w@main@x",
    "w@nope",
    "w@main~\u0663",
]
NO_COUNT = [-1, 1.5, float("nan"), True, "1", b"x", [1], {}, object(), timedelta(1), 10**30]
NO_SECONDS = [-1, float("nan"), float("inf"), True, "1", None, [1], object(), timedelta(1), 10**30]
NO_SPAN = [0, 1.5, True, "1", b"x", [1], object(), timedelta(-1)]
NO_FLAG = [None, 0, 1, "false", "", b"x", [], {}, object()]
NO_FUNCTION = [1, True, "print", [print], object()]
NO_LIST = [None, 1, True, "ab", b"ab", {"a": 1}, object(), [1], [object()]]

# Call, argument, values: of each row every value must be refused.
STORE_CALLS = [
    ("inputs", "spec", [None, *NO_TEXT, "w@main"]),
    ("pipeline", "function", [None, *NO_TEXT, "w", print]),
    ("rerun", "path", NO_TEXT),
    ("load_pipeline", "path", [None, *NO_TEXT, "nope.yaml"]),
    ("evict_results", "unused_for", [None, 1, "1", timedelta(-1)]),
    ("forget", "path", [None, *NO_TEXT, "w", "w:", ":c"]),
    ("forget", "dry_run", NO_FLAG),
    *((call, argument, [None, *NO_TEXT, *NO_NAME]) for call, argument in [
        ("delete_repo", "name"), ("restore_repo", "name"), ("rename_repo", "old"), ("rename_repo", "new"),
        ("repo", "name"), ("branches", "repo"), ("tags", "repo"), ("create_repo", "name"), ("create_branch", "branch"),
        ("create_branch", "at"), ("create_tag", "at"), ("delete_branch", "branch"), ("rename_branch", "branch"),
        ("rename_branch", "to"), ("protect_branch", "branch"), ("delete_tag", "tag"), ("reset", "branch"),
        ("drop", "branch"), ("set_retention", "branch"), ("snapshot", "ref"), ("commit", "ref"), ("log", "branch"),
        ("diff", "new"), ("affected", "new"), ("affected", "template"), ("changes", "branch"),
        ("lineage", "lineage_id"),
        ("subscription", "branch"), ("subscriptions", "branch"), ("upstream", "ref"), ("downstream", "ref"),
        ("lineage_graph", "of"), ("export_lineage", "of"),
        ("checkout_lineage", "lineage_id"), ("run_of", "ref"),
        ("rerun", "commit"), ("merge", "source"), ("merge", "into"), ("cherry_pick", "commit"), ("cherry_pick", "onto"),
        ("revert", "commit"), ("revert", "on"), ("squash", "branch"), ("purge", "repo"), ("purge", "path"),
        ("purge_glob", "repo"), ("purge_glob", "pattern"), ("retention", "branch"), ("reflog", "branch"),
        ("transaction", "branch"), ("relay", "branch"), ("watch", "branch"),
        ("find", "ref"), ("foresee_merge", "source"), ("foresee_merge", "into"), ("diff_data", "new"),
    ]),
    *((call, argument, [*NO_TEXT, *NO_NAME]) for call, argument in [
        ("reset", "to"), ("diff", "old"), ("affected", "old"), ("affected", "key"), ("changes", "since"),
        ("changes", "partitions"), ("changes", "key"), ("subscription", "partitions"), ("subscription", "key"),
        ("squash", "since"), ("revert", "since"), ("stats", "repo"), ("transaction", "lineage_id"),
        ("run", "lineage_id"), ("relay", "partitions"), ("relay", "key"), ("due", "branch"),
        ("diff_data", "old"),
    ]),
    *((call, argument, [*NO_TEXT, "\ud800", "a\0b"]) for call, argument in [
        ("create_repo", "description"), ("subscription", "name"), ("subscriptions", "prefix"), ("merge", "message"),
        ("merge", "author"), ("cherry_pick", "message"), ("revert", "message"), ("squash", "message"),
        ("purge", "reason"), ("purge", "author"), ("purge_glob", "reason"), ("purge_glob", "author"), ("run", "job"),
        ("redact", "reason"), ("redact", "author"),
        ("transaction", "message"), ("transaction", "author"),
        ("transaction", "idempotency_key"), ("relay", "name"), ("watch", "relay"),
    ]),
    *((call, argument, NO_FLAG) for call, argument in [
        ("delete_repo", "force"), ("rename_repo", "force"),
        ("create_repo", "exist_ok"), ("delete_branch", "force"), ("protect_branch", "is_protected"),
        ("gc", "dry_run"), ("compact", "dry_run"), ("purge", "dry_run"), ("purge_glob", "dry_run"),
        ("fsck", "repair"), ("fsck", "sources"), ("maintain", "full"), ("redact", "dry_run"), ("stats", "exact"),
        ("backup", "init"), ("foresee_merge", "fast_forward"), ("merge", "fast_forward"),
        ("lineage_graph", "with_commits"), ("checkout_lineage", "overwrite"), ("checkout_lineage", "fsync"),
    ]),
    *((call, "progress", NO_FUNCTION) for call in [
        "gc", "compact", "purge", "purge_glob", "fsck", "stats", "maintain", "redact", "backup", "checkout_lineage",
    ]),
    *((call, argument, NO_COUNT) for call, argument in [
        ("log", "limit"), ("compact", "small_bytes"), ("compact", "max_bytes"), ("set_retention", "keep_last"),
        ("watch", "most_keys"), ("due", "limit"), ("diff_data", "limit"), ("lineage_graph", "depth"),
        ("lineage_graph", "limit"),
    ]),
    *((call, argument, NO_SPAN) for call, argument in [
        ("gc", "grace"), ("gc", "expire"), ("set_retention", "keep_for"), ("hold_cursor", "hold_for"),
        ("maintain", "budget"), ("maintain", "grace"), ("maintain", "expire"),
    ]),
    *(("trigger", argument, NO_COUNT) for argument in ["commits", "changed_files"]),
    *((call, "branch", [None, *NO_TEXT, *NO_NAME]) for call in ["trigger", "delete_trigger"]),
    ("trigger", "on", [None, *NO_TEXT, *NO_NAME]),
    ("trigger", "changed_bytes", [-1, 1.5, float("nan"), True, b"x", [1], {}, object(), 10**30, "", "x", "-1", "9XB"]),
    ("trigger", "metric", [1, True, "auc", b"x", [], {}, object()]),
    ("trigger", "cron", [*NO_TEXT, *NO_NAME, "* * * *", "60 * * * *"]),
    ("trigger", "time_zone", [None, *NO_TEXT, *NO_NAME, "Mars/Olympus"]),
    ("trigger", "at_most_every", NO_SPAN),
    ("trigger", "any_", NO_FLAG),
    ("follow_triggers", "poll_s", NO_SECONDS),
    ("after_commit", "hook", [None, *NO_FUNCTION]),
    ("find", "glob", [*NO_TEXT, "\ud800", "a\0b", ""]),
    ("find", "digest", [*NO_TEXT, "", "abc", "xyzw", "0" * 65]),
    ("foresee_merge", "strategy", [None, 1, True, b"x", [], object(), "", "mine"]),
    ("diff_data", "key", [None, 1, True, b"ab", object(), [1], [object()]]),
    ("short_ids", "commit_ids", [*NO_LIST, ["x"], [""]]),
    ("gc", "disown", [*NO_LIST, ["nothing"], ["0" * 32]]),
    ("backup", "dest", [None, *NO_TEXT, "", "a\0b", "\ud800", "nope://x"]),
    ("backup", "storage_options", [1, True, "x", [], object(), {"a": 1}, {1: "a"}]),
    ("downstream", "digest", [*NO_TEXT, *NO_NAME, "0" * 63]),
    ("export_lineage", "to", [None, 1, True, b"x", [], object(), "", "svg"]),
    ("export_lineage", "way", [1, True, b"x", [], object(), "", "sideways"]),
    ("export_lineage", "namespace", [*NO_TEXT, "", "\ud800", "a\0b"]),
    ("checkout_lineage", "dest", [None, 1, True, b"x", [], object(), "", "a\0b"]),
    ("checkout_lineage", "mode", [None, 1, True, b"x", [], object(), "", "whole"]),
    ("lineage_graph", "way", [1, True, b"x", [], object(), "", "sideways"]),
    ("lineage_graph", "limit", [0]),
    ("compact", "min_live", [*NO_SECONDS, 1.1]),
    ("set_retention", "keep_last", [0]),
    ("due", "key", [*NO_TEXT, "\ud800", "a\0b"]),
    ("hold_cursor", "name", [None, *NO_TEXT, "\ud800", "a\0b", "", "x" * 251]),
    ("hold_cursor", "commit", [None, *NO_TEXT, *NO_NAME, "0" * 32]),
    ("relay", "name", [None, ""]),
    ("watch", "relay", [None, ""]),
    ("watch", "redeliver_after_s", NO_SECONDS),
    ("subscription", "start", [None, *NO_TEXT, *NO_NAME]),
    ("merge", "metadata", [1, True, "x", [], object(), {"a": object()}, {1: 2}, {"a": float("nan")}]),
    ("transaction", "metadata", [0, 1, True, "", "x", [], object(), {"a": object()}, {"a": float("nan")}]),
    ("transaction", "outputs", [1, True, "x", ["a"], object(), {"a": None}, {"a": "../x"}]),
    ("transaction", "provenance", [*NO_LIST, ["0"], ["0" * 32]]),
    ("transaction", "completes", NO_LIST),
    ("transaction", "empty", [None, *NO_TEXT, *NO_NAME]),
]  # fmt: skip

GOOD = {
    "repo": {"name": "w"},
    "branches": {"repo": "w"},
    "tags": {"repo": "w"},
    "create_repo": {"name": "new"},
    "delete_repo": {"name": "w"},
    "restore_repo": {"name": "w"},
    "rename_repo": {"old": "w", "new": "other"},
    "create_branch": {"branch": "w@new", "at": "w@main"},
    "create_tag": {"tag": "w@new", "at": "w@main"},
    "delete_branch": {"branch": "w@dev"},
    "rename_branch": {"branch": "w@dev", "to": "new"},
    "protect_branch": {"branch": "w@dev"},
    "delete_tag": {"tag": "w@v1"},
    "reset": {"branch": "w@dev", "to": "w@main"},
    "drop": {"branch": "w@dev"},
    "trigger": {"branch": "w@new", "on": "w@main", "commits": 1},
    "set_retention": {"branch": "w@dev", "keep_last": 3},
    "snapshot": {"ref": "w@main"},
    "commit": {"ref": "w@main"},
    "log": {"branch": "w@main"},
    "diff": {"old": None, "new": "w@main"},
    "inputs": {"spec": vio.glob("w@main", "/*")},
    "affected": {"old": None, "new": "w@main", "template": "{k}/b.csv"},
    "changes": {"branch": "w@main", "since": None, "partitions": "{k}/b.csv"},
    "hold_cursor": {"name": "mine", "commit": "w@main", "hold_for": timedelta(days=1)},
    "subscription": {"name": "new", "branch": "w@main", "partitions": "{k}/b.csv"},
    "subscriptions": {"branch": "w@main"},
    "relay": {"name": "airflow", "branch": "w@main", "partitions": "{k}/b.csv"},
    "watch": {"branch": "w@main", "relay": "airflow", "redeliver_after_s": 1},
    "export_lineage": {"of": "w@main"},
    "checkout_lineage": {"lineage_id": "0" * 32, "dest": "/dev/null/nowhere"},
    "run_of": {"ref": "w@main"},
    "lineage_graph": {"of": "w@main"},
    "upstream": {"ref": "w@main"},
    "rerun": {"commit": "w@main"},
    "forget": {"path": "w:c"},
    "evict_results": {"unused_for": timedelta(days=1)},
    "downstream": {"ref": "w@main"},
    "merge": {"source": "w@dev", "into": "w@main"},
    "foresee_merge": {"source": "w@dev", "into": "w@main"},
    "find": {"ref": "w@main"},
    "diff_data": {"old": "w@main~1", "new": "w@main"},
    "cherry_pick": {"commit": "w@dev", "onto": "w@main"},
    "revert": {"commit": "w@main", "on": "w@main"},
    "squash": {"branch": "w@main"},
    "purge": {"repo": "w", "path": "c"},
    "purge_glob": {"repo": "w", "pattern": "c/*"},
    "reflog": {"branch": "w@main"},
    "retention": {"branch": "w@dev"},
    "transaction": {"branch": "w@main"},
    "run": {"job": "job"},
    "backup": {"dest": "memory://no-backup"},
}
NO_ARGUMENTS = {"close", "maintenance_status", "pipelines", "repos", "run_triggers", "status", "triggers"}
# What is a name or a ref in some calls, although not in most.
LEGAL = {
    ("create_branch", "branch", "w@nope"),
    ("trigger", "branch", "w@nope"),
    ("purge", "path", "w@nope"),
}


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    with vio.create_store(tmp_path_factory.mktemp("bad") / "store") as store:
        store.create_repo("w")
        for day in range(3):
            with store.transaction("w@main") as tx:
                tx.write("a/b.csv", b"%d" % day)
                tx.write("c", b"%d" % day)
        store.create_branch("w@dev", at="w@main~1")
        with store.transaction("w@dev") as tx:
            tx.write("d", b"d")
        store.create_tag("w@v1", at="w@main")
        store.subscription("sub", "w@main", partitions="{k}/b.csv").collect()
        yield store


def name_of(case):
    return f"{case[0]}({case[1]})"


def begun(result):
    """What yields its results checks its arguments at the first of them, at the latest."""
    return next(result) if isinstance(result, Iterator) else result


def must_be_refused(store, dump, call, values):
    """Each value is refused as a whole, in one line that is short enough to be read, and nothing changed."""
    before = dump(store)
    for value in values:
        with pytest.raises((InvalidInputError, NotFoundError)) as caught:
            begun(call(value))
        text = str(caught.value)
        assert "\n" not in text
        assert len(text) < 1_000
    assert dump(store) == before


@pytest.mark.parametrize("case", STORE_CALLS, ids=name_of)
def test_every_argument_of_the_store_is_checked_before_anything_happens(store, dump, case):
    call, argument, values = case
    wrong = [one for one in values if not isinstance(one, str) or (call, argument, one) not in LEGAL]
    must_be_refused(store, dump, lambda value: getattr(store, call)(**GOOD.get(call, {}) | {argument: value}), wrong)


def test_every_call_of_the_store_with_arguments_is_in_the_table():
    public = {name for name, _ in inspect.getmembers(vio.Store, inspect.isfunction) if not name.startswith("_")}
    assert public - {call for call, _, _ in STORE_CALLS} == NO_ARGUMENTS


TRANSACTION_CALLS = [
    ("write", "path", [None, *NO_TEXT, "", "../x", "a\0b", "\ud800"], {"source": b"x"}),
    ("write", "source", [None, 1, 1.5, "text", ["x"], object()], {"path": "n"}),
    ("write", "attributes", [1, True, "x", ["a"], object(), {"a": 1}, {1: "a"}], {"path": "n", "source": b"x"}),
    ("write_tree", "directory", [None, *NO_TEXT, "", "a\0b", "\ud800"], {}),
    ("write_tree", "progress", NO_FUNCTION, {"directory": "."}),
    ("copy", "source", [None, *NO_TEXT, *NO_NAME, ":nothing"], {"to": "n"}),
    ("copy", "to", [None, *NO_TEXT, "", "../x", "a\0b", "\ud800"], {"source": ":c"}),
    ("move", "source", [None, *NO_TEXT, "", "/", "../x", "nothing", "\ud800"], {"to": "n"}),
    ("move", "to", [None, *NO_TEXT, "", "../x", "c", "c/d", "\ud800"], {"source": "c"}),
    ("delete", "path", [None, *NO_TEXT, "", "../x", "../", "\ud800"], {}),
    ("delete_glob", "pattern", [None, *NO_TEXT, "", "[a", "\ud800", "a\0b"], {}),
    ("read", "path", [None, *NO_TEXT, "", "a", "../x", "\ud800"], {}),
    ("exists", "path", [None, *NO_TEXT, "../x", "\ud800"], {}),
    ("list", "directory", [None, *NO_TEXT, "../x", "\ud800"], {}),
    ("reference", "url", [None, *NO_TEXT, *NO_NAME], {"to": "n"}),
    ("reference_tree", "url", [None, *NO_TEXT, *NO_NAME], {}),
]


@pytest.mark.parametrize("case", TRANSACTION_CALLS, ids=name_of)
def test_every_argument_of_a_transaction_is_checked_and_ends_it_without_a_commit(store, dump, case):
    call, argument, values, others = case

    def attempt(value):
        with store.transaction("w@main") as tx:
            tx.write("staged", b"x")
            begun(getattr(tx, call)(**others | {argument: value}))

    must_be_refused(store, dump, attempt, values)


SNAPSHOT_CALLS = [
    ("read", "path", [None, *NO_TEXT, "", "a", "../x", "nothing", "\ud800"], {}),
    ("read", "offset", [None, *NO_COUNT], {"path": "c"}),
    ("read", "length", NO_COUNT, {"path": "c"}),
    ("read_many", "paths", [None, 1, "c", b"c", object(), [None], ["nothing"]], {}),
    ("glob", "pattern", [None, *NO_TEXT, "", "[a", "\ud800"], {}),
    ("checkout", "dest", [None, *NO_TEXT, "", "a\0b", "\ud800"], {}),
    ("checkout", "glob", [*NO_TEXT, "", "[a", "\ud800"], {"dest": "never"}),
    ("checkout", "mode", [None, *NO_TEXT, "half"], {"dest": "never"}),
    ("checkout", "overwrite", NO_FLAG, {"dest": "never"}),
    ("checkout", "fsync", NO_FLAG, {"dest": "never"}),
    ("checkout", "progress", NO_FUNCTION, {"dest": "never"}),
]


@pytest.mark.parametrize("case", SNAPSHOT_CALLS, ids=name_of)
def test_every_argument_of_a_snapshot_is_checked(store, dump, case, tmp_path, monkeypatch):
    call, argument, values, others = case
    monkeypatch.chdir(tmp_path)
    snapshot = store.snapshot("w@main")
    must_be_refused(store, dump, lambda value: getattr(snapshot, call)(**others | {argument: value}), values)
    assert not list(tmp_path.iterdir())


SUBSCRIPTION_CALLS = [
    ("pending", "limit", NO_COUNT, {}),
    ("due", "limit", NO_COUNT, {}),
    ("unannounced", "limit", NO_COUNT, {"redeliver_after_s": 1}),
    ("unannounced", "redeliver_after_s", [value for value in NO_SECONDS if value is not None], {}),
    ("advance", "to", [None, *NO_TEXT, *NO_NAME, "0" * 32], {}),
    ("mark_announced", "dues", NO_LIST, {}),
    ("find", "key", [None, *NO_TEXT, "\ud800"], {}),
    ("claim", "key", [None, *NO_TEXT, "\ud800"], {"owner": "me"}),
    ("claim", "owner", [None, *NO_TEXT, "\ud800"], {"key": "a"}),
    ("claim", "instead_of", [*NO_TEXT, "\ud800"], {"key": "a", "owner": "me"}),
    ("claim", "lease_s", NO_SECONDS, {"key": "a", "owner": "me"}),
    ("claim", "force", NO_FLAG, {"key": "a", "owner": "me"}),
    ("release", "due", [None, *NO_TEXT, "a"], {}),
    ("complete", "due", [None, *NO_TEXT, "a"], {}),
]


@pytest.mark.parametrize("case", SUBSCRIPTION_CALLS, ids=name_of)
def test_every_argument_of_a_subscription_is_checked(store, dump, case):
    call, argument, values, others = case
    subscription = store.subscriptions("w@main", prefix="sub")[0]
    must_be_refused(store, dump, lambda value: getattr(subscription, call)(**others | {argument: value}), values)


@pytest.mark.parametrize("value", [None, *NO_TEXT], ids=lambda value: type(value).__name__)
def test_a_template_takes_text_only(value):
    with pytest.raises(InvalidInputError):
        PartitionTemplate.parse(value)
    with pytest.raises(InvalidInputError):
        PartitionTemplate.parse("{k}.csv").key_of(value)


OPENINGS = [vio.create_store, vio.open_store, vio.open_or_create_store, vio.upgrade_store, vio.rebuild_store]


@pytest.mark.parametrize("opening", OPENINGS, ids=lambda opening: opening.__name__)
def test_what_is_no_location_makes_no_store(opening, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for value in [None, *NO_TEXT, "", "a\0b", "\ud800"]:
        with pytest.raises(InvalidInputError):
            opening(value)
        with pytest.raises(InvalidInputError):
            opening("memory://bad-input", storage_options=value or 1)
    assert not list(tmp_path.iterdir())


def test_the_places_beside_the_store_are_checked(store, tmp_path):
    for cache in [1, True, b"x", ["a"], "", "a\0b"]:
        with pytest.raises(InvalidInputError):
            vio.open_store(store.url, cache=cache)
    for size in [None, *NO_COUNT]:
        with pytest.raises(InvalidInputError):
            vio.open_store(store.url, cache=tmp_path, cache_bytes=size)
    for sources in [1, True, "s3://b/", ["s3://b/"], object(), {1: {}}, {"s3://b/": 1}, {"s3://b/": {1: "x"}}]:
        with pytest.raises(InvalidInputError):
            vio.open_store(store.url, sources=sources)


def test_an_empty_path_purges_nothing(store, dump):
    must_be_refused(store, dump, lambda path: store.purge("w", path), ["", "/"])


SECRET = "hunter2"
BEARING_A_SECRET = [
    ({"url": f"s3://key:{SECRET}@bucket/prefix"}, "credentials as options"),
    ({"url": f"gs://{SECRET}@bucket"}, "credentials as options"),
    ({"url": f"az://container/p?sig={SECRET}"}, "credentials as options"),
    ({"url": f"http://user:{SECRET}@127.0.0.1/x"}, "give a directory"),
    ({"url": f"https://a.blob.core.windows.net/c/p?sig={SECRET}"}, "give a directory"),
    ({"url": f"s3://bucket/prefix#{SECRET}"}, "credentials as options"),
    ({"url": f"ftp://user:{SECRET}@host/x"}, "give a directory"),
    ({"url": f"ftp://user:{SECRET}@host/x", "storage_options": {"region": "x"}}, "takes no storage options"),
    ({"url": "memory://s", "catalog": f"host=127.0.0.1 password={SECRET}"}, "not a usable catalog URL"),
    ({"url": "memory://s", "catalog": f"postgre://user:{SECRET}@host/db"}, "not a usable catalog URL"),
    ({"url": "memory://s", "catalog": f"://user:{SECRET}@host"}, "not a usable catalog URL"),
    ({"url": "memory://s", "sources": {f"s3://key:{SECRET}@bucket/": {}}}, "credentials are storage options"),
    ({"url": "memory://s", "sources": {f"s3://bucket/?sig={SECRET}": {}}}, "takes no query"),
]


@pytest.mark.parametrize(("arguments", "advice"), BEARING_A_SECRET, ids=str)
def test_a_secret_in_the_wrong_place_is_refused_and_never_repeated(arguments, advice):
    with pytest.raises(InvalidInputError, match=advice) as caught:
        vio.create_store(**arguments)
    assert SECRET not in "".join(traceback.format_exception(caught.value))


def test_a_name_that_would_hide_another_is_refused_also_when_names_sort_between(store, dump, write):
    colliding = [("p", "p/q"), ("p", "p-q", "p/q"), ("p/q", "p.q", "p"), ("c/x",), ("a",), ("c-x", "c.x", "c/x")]
    must_be_refused(store, dump, lambda paths: write(store, "w@main", dict.fromkeys(paths, b"x")), colliding)


def test_a_long_name_is_shortened_in_the_message():
    with pytest.raises(IllegalPathError) as caught:
        parse_path(LONG)
    assert "(5,002 characters)" in str(caught.value)
    assert caught.value.args[0] == LONG
