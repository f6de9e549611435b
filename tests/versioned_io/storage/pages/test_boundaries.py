"""Where pages end."""

import pyarrow as pa
import xxhash
from hypothesis import given
from hypothesis import strategies as st

from versioned_io.storage.pages.boundaries import FORMAT_RULES, CutRule, hash_entries, hash_rows

hashes = st.lists(st.integers(0, 255), max_size=120)
rules = st.builds(
    lambda minimum, more, most, loose, strict: CutRule(
        minimum, minimum + more, minimum + more + most, (1 << loose + strict) - 1, (1 << loose) - 1
    ),
    st.integers(1, 5),
    st.integers(0, 5),
    st.integers(0, 10),
    st.integers(0, 3),
    st.integers(0, 3),
)


def cuts_by_hand(rule: CutRule, hashes: list[int]) -> list[int]:
    """The rule, row by row, as the specification puts it."""
    cuts, count = [], 0
    for number, value in enumerate(hashes, 1):
        count += 1
        ends = count >= rule.maximum
        ends |= count >= rule.minimum and value & rule.strict == 0
        ends |= count >= rule.target and value & rule.loose == 0
        if ends:
            cuts.append(number)
            count = 0
    return cuts


@given(rules, hashes)
def test_cuts_are_what_the_rule_says_row_by_row(rule, hashes):
    assert rule.find_cuts(hashes) == cuts_by_hand(rule, hashes)


@given(rules, hashes)
def test_what_follows_a_cut_is_cut_as_if_it_stood_alone(rule, hashes):
    cuts = rule.find_cuts(hashes)
    if cuts:
        assert rule.find_cuts(hashes[cuts[0] :]) == [cut - cuts[0] for cut in cuts[1:]]


def test_pages_of_the_format_have_about_1100_rows():
    sizes = page_sizes(FORMAT_RULES.leaf, hash_rows(pa.array([f"part-{n:08d}.csv" for n in range(300_000)])))
    assert min(sizes) >= 512
    assert max(sizes) <= 4096
    assert 1_000 < sum(sizes) / len(sizes) < 1_250
    sizes = page_sizes(FORMAT_RULES.index, hash_entries([f"part-{n:08d}.csv" for n in range(100_000)], 1))
    assert 30 < sum(sizes) / len(sizes) < 40


def page_sizes(rule: CutRule, hashes: list[int]) -> list[int]:
    cuts = rule.find_cuts(hashes)
    return [end - start for start, end in zip([0, *cuts], cuts, strict=False)]


@given(st.lists(st.text(st.characters(codec="utf-8"), max_size=20), max_size=10))
def test_hashes_are_xxh3_of_the_paths_seeded_by_the_level(paths):
    assert hash_rows(pa.array(paths, pa.string())) == [xxhash.xxh3_64_intdigest(path.encode()) for path in paths]
    assert hash_rows(pa.array(["x", *paths], pa.string()).slice(1)) == hash_rows(pa.array(paths, pa.string()))
    for level in (1, 2):
        assert hash_entries(paths, level) == [xxhash.xxh3_64_intdigest(path.encode(), level) for path in paths]
