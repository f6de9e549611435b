"""Rules of triggers: what they accept, and their text in the catalog."""

from datetime import timedelta

import pytest

import versioned_io as vio
from versioned_io.errors import IntegrityError, InvalidInputError
from versioned_io.model.trigger_rules import build_rule, parse_bytes

NONE = {
    "commits": None,
    "changed_bytes": None,
    "changed_files": None,
    "metric": None,
    "cron": None,
    "time_zone": "UTC",
    "at_most_every": None,
    "any_": True,
}


@pytest.mark.parametrize(
    ("text", "size"),
    [
        *(("0", 0), ("17", 17), ("10B", 10), ("1K", 1000), ("1kb", 1000), ("1 KiB", 1024), ("1.5MB", 1_500_000)),
        *(("2GiB", 2 * 2**30), ("1GB", 10**9), ("1T", 10**12), ("1 PB", 10**15)),
    ],
)
def test_a_size_is_read_as_people_write_it(text, size):
    assert parse_bytes(text, "changed_bytes") == size


@pytest.mark.parametrize("text", ["", "x", "-1", "1XB", "GB", "1 G i B", "1e3", "\u0663", "inf", "9999999PB"])
def test_a_size_that_can_not_be_read_is_refused(text):
    with pytest.raises(InvalidInputError, match="changed_bytes"):
        parse_bytes(text, "changed_bytes")


@pytest.mark.parametrize(
    "wrong",
    [
        {},
        {"commits": -1},
        {"commits": True},
        {"changed_files": 1.5},
        {"metric": "auc"},
        {"cron": "nonsense"},
        {"commits": 1, "time_zone": "Mars"},
        {"at_most_every": "soon"},
        {"at_most_every": timedelta(-1)},
        {"commits": 1, "any_": 1},
    ],
)
def test_a_rule_without_a_condition_or_with_a_malformed_one_is_refused(wrong):
    with pytest.raises(InvalidInputError):
        build_rule(**{**NONE, **wrong})


@pytest.mark.parametrize(
    "values",
    [
        {"commits": 0},
        {"changed_bytes": "1GB", "changed_files": 7, "any_": False},
        {"metric": vio.metric("a/b.json", "test.auc", 0.01)},
        {"cron": "0 6 * * *", "time_zone": "Europe/Berlin", "at_most_every": "1h"},
        {"at_most_every": timedelta(seconds=0.5)},
    ],
)
def test_a_rule_is_read_as_it_was_written(values):
    rule = build_rule(**{**NONE, **values})
    assert vio.TriggerRule.from_json(rule.to_json()) == rule


@pytest.mark.parametrize(
    "text",
    [
        *("", "[]", "{}", '{"any": true}', '{"any": 1, "commits": 1}', '{"any": true, "commits": "x"}'),
        *('{"any": true, "metric": 5}', '{"any": true, "cron": "x"}', '{"any": true, "at_most_every_s": 1e999}'),
    ],
)
def test_a_malformed_rule_of_a_catalog_is_an_integrity_error(text):
    with pytest.raises(IntegrityError):
        vio.TriggerRule.from_json(text)


@pytest.mark.parametrize("change", [0, -1, True, "x", "nan", "inf", None])
def test_a_metric_changes_by_a_number_above_zero(change):
    with pytest.raises(InvalidInputError):
        vio.metric("m.json", "auc", change)
