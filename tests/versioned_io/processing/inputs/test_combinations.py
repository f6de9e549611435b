"""Cross, union, join and group, nested, beside naive definitions of them."""

from itertools import product

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import versioned_io as vio
from versioned_io.processing.inputs.selecting import list_datums

TREES = {
    "left": ["a/1", "a/2", "a b/1", "a!/1", "%/2", "a%20b/1", "ä/1"],
    "right": ["a/1", "a/2", "a b/1", "a b/3", "%/1", "z/1"],
    "third": ["a/1", "b/7", "y/1"],
    "empty": [],
}


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    with vio.create_store(tmp_path_factory.mktemp("inputs") / "s") as store:
        for repo, paths in TREES.items():
            store.create_repo(repo)
            with store.transaction(f"{repo}@main", empty="allow") as tx:
                for path in paths:
                    tx.write(path, path.encode())
        yield store


def leaf(repo, *, outer=False, group_by="$2", name=None):
    return vio.glob(f"{repo}@main", "/(*)/(*)", join_on="$1", group_by=group_by, outer=outer, name=name)


def rows(found):
    """The datums as sets of (name, path), which is what they are; the keys are checked on the way."""
    listed = list(found)
    keys = [row.key for row in listed]
    assert [key.encode() for key in keys] == sorted({key.encode() for key in keys})
    assert found.keys.to_pylist() == keys
    seen = found.seen_page(0, len(found))
    for at in range(0, len(keys), 1 + len(keys) // 8):
        assert found.find(keys[at]) == at
        assert found.seen(at) == seen[at]
    return [contents(row) for row in listed], seen


def contents(row):
    return frozenset((name, file.path) for name, files in row.inputs.items() for file in files)


# The naive definitions: a datum is (its set of (name, path), its join value, its group value).


def naive(spec):
    if isinstance(spec, vio.GlobInput):
        repo = spec.ref.partition("@")[0]
        for path in TREES[repo]:
            one, two = path.split("/")
            group = {"$1": one, "$2": two, None: None}[spec.group_by]
            yield frozenset([(spec.name, path)]), one if spec.join_on else None, group
    elif isinstance(spec, vio.CrossInput):
        for combination in product(*(list(naive(arm)) for arm in spec.arms)):
            yield merged(combination)
    elif isinstance(spec, vio.UnionInput):
        for arm in spec.arms:
            yield from naive(arm)
    elif isinstance(spec, vio.JoinInput):
        yield from naive_join(spec)
    else:
        arms = [list(naive(arm)) for arm in spec.arms]
        for value in {group for arm in arms for _, _, group in arm if group is not None}:
            files = [files for arm in arms for files, _, group in arm if group == value]
            yield frozenset().union(*files), None, value


def naive_join(spec):
    arms = [list(naive(arm)) for arm in spec.arms]
    outer = [arm.outer for arm in spec.arms]
    for value in {join for arm in arms for _, join, _ in arm}:
        having = [[one for one in arm if one[1] == value] for arm in arms]
        if not all(having):
            having = [one for one, is_outer in zip(having, outer, strict=True) if one and is_outer]
        for combination in product(*having) if having else ():
            yield merged(combination)


def merged(combination):
    """One arm's value is the value; several are one text, which no other values give."""
    values = []
    for at in (1, 2):
        found = [one[at] for one in combination if one[at] is not None]
        values.append(tuple(found) if len(found) > 1 else found[0] if found else None)
    return frozenset().union(*(one[0] for one in combination)), *values


LEAVES = st.builds(leaf, st.sampled_from(list(TREES)), outer=st.booleans(), group_by=st.sampled_from(["$1", "$2"]))


def named(build, leaves):
    """Build a combination of leaves that have names of their own."""
    import dataclasses

    return build(*(dataclasses.replace(one, name=f"n{at}") for at, one in enumerate(leaves)))


LISTS = st.lists(LEAVES, min_size=1, max_size=3)
SPECS = st.one_of(
    LEAVES,
    *(st.builds(named, st.just(build), LISTS) for build in (vio.cross, vio.join, vio.group)),
    st.builds(lambda leaves: vio.union(*leaves), LISTS),
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(spec=SPECS)
def test_an_input_has_the_datums_of_its_definition(store, spec):
    found, seen = rows(list_datums(spec, store.snapshot))
    expected = [files for files, _, _ in naive(spec)]
    assert sorted(map(sorted, found)) == sorted(map(sorted, expected))
    if not isinstance(spec, vio.UnionInput):
        assert len(set(seen)) == len(seen)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(first=SPECS, second=LISTS, build=st.sampled_from([vio.cross, vio.union, vio.group]))
def test_inputs_nest(store, first, second, build):
    """A nested input is one arm; the names of the other arms differ from all in it."""
    import dataclasses

    others = [dataclasses.replace(one, name=f"m{at}") for at, one in enumerate(second)]
    spec = build(first, *others[:1])
    found = list_datums(spec, store.snapshot)
    expected = {files for files, _, _ in naive(spec)}
    assert {contents(row) for row in found} == expected
    keys = found.keys.to_pylist()
    assert [key.encode() for key in keys] == sorted({key.encode() for key in keys})


def test_a_datum_without_a_partner_has_the_group_of_the_input_that_takes_part(store):
    joined = vio.join(
        leaf("left", outer=True, group_by="$1", name="l"), leaf("right", outer=True, group_by="$2", name="r")
    )
    found = list_datums(vio.group(joined, leaf("third", group_by="$1", name="t")), store.snapshot)
    pairs = ["%25 % 1", "a % 1", "a % 2", "a b % 1", "a b % 3"]
    of_one = ["1", "a", "a!", "a%2520b", "b", "y", "ä"]
    assert found.keys.to_pylist() == sorted(pairs + of_one)


def test_a_cross_pages_anywhere_without_being_built(store):
    spec = vio.cross(*(leaf("left", name=f"n{at}") for at in range(12)))
    found = list_datums(spec, store.snapshot)
    assert len(found) == 7**12
    (row,) = found.page(7**11 + 1, 1)
    assert [files[0].path for files in row.inputs.values()] == [row.inputs[f"n{at}"][0].path for at in range(12)]
    assert found.find(row.key) == 7**11 + 1


def test_the_keys_say_what_the_datum_is_made_of(store):
    pair = vio.cross(vio.glob("third@main", "/*/*"), vio.glob("left@main", "/a b/*"))
    assert list_datums(pair, store.snapshot).keys.to_pylist()[:2] == ["a/1 a%20b/1", "b/7 a%20b/1"]
    both = vio.union(leaf("third"), leaf("third"), vio.glob("right@main", "/z/1"))
    assert list_datums(both, store.snapshot).keys.to_pylist() == [
        *("right:z/1", "third#2:a/1", "third#2:b/7", "third#2:y/1", "third:a/1", "third:b/7", "third:y/1")
    ]
    joined = vio.join(leaf("third", outer=True), leaf("right", outer=True, name="r"))
    assert list_datums(joined, store.snapshot).keys.to_pylist()[:3] == ["% %25/1", "% a%20b/1", "% a%20b/3"]
    assert list_datums(vio.group(leaf("right", group_by="$1")), store.snapshot).keys.to_pylist() == [
        *("%25", "a", "a b", "z")
    ]


def test_a_union_arm_makes_keys_unique_and_code_sees_no_arm(store):
    found = list_datums(vio.union(leaf("third"), leaf("third")), store.snapshot)
    assert found.seen_page(0, 3) == found.seen_page(3, 3)


def test_an_empty_arm_empties_a_cross_and_is_named(store):
    found = list_datums(vio.cross(leaf("left"), leaf("empty")), store.snapshot)
    assert len(found) == 0
    assert [one.name for one in found.empty_inputs] == ["empty"]
    assert found.page() == []


def test_a_cron_input_lists_the_ticks_of_its_branch(store):
    assert list_datums(vio.cron("* * * * *", ref="third@main"), store.snapshot).keys.to_pylist() == ["a", "b", "y"]
    with pytest.raises(vio.VersionedError, match="pass ref="):
        list_datums(vio.cron("* * * * *"), store.snapshot)
