"""The affected keys are exactly those whose datums differ, whatever changed."""

from contextlib import suppress

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import versioned_io as vio
from versioned_io.processing.inputs.affecting import affected_datums
from versioned_io.processing.inputs.datum_set import DatumSet
from versioned_io.processing.inputs.selecting import list_datums
from versioned_io.processing.inputs.touching import touched_datums

PATHS = ["a", "a/1", "a/2", "b/1", "b/c/1", "b/c", "a!", "a b/1", "c/1.png", "c/2.png"]


def glob(pattern, **options):
    return vio.glob("r@main", pattern, **options)


SPECS = [
    *(
        glob(pattern)
        for pattern in ["/", "/*", "/*/", "/**", "/*/*", "/(*)/{n}.png", "/b/**", "/!(a)", "/{a,b}", "/a b"]
    ),
    *(glob(pattern, empty_files=True) for pattern in ["/", "/*", "/**"]),
    vio.union(glob("/*"), glob("/*/*"), vio.glob("other@main", "/*")),
    vio.cross(glob("/*"), vio.glob("other@main", "/*")),
    vio.join(glob("/(*)/*", join_on="$1"), vio.glob("other@main", "/(*)", join_on="$1", outer=True)),
    vio.group(glob("/(*)/*", group_by="$1"), vio.glob("other@main", "/(*)", group_by="$1")),
    vio.cron("* * * * *", ref="r@main"),
    vio.join(glob("/(*)/(*)", join_on="$2"), vio.glob("other@main", "/(*)/{n}", join_on="{n}", outer=True)),
    vio.join(glob("/(*)/(*)", join_on="x$1"), vio.glob("other@main", "/(*)", join_on="$1", outer=True)),
    vio.join(glob("/(**)", join_on="$1", outer=True), vio.glob("other@main", "/(*)/(*)", join_on="$1/$2")),
    vio.group(glob("/(*)/(*)", group_by="$2"), vio.glob("other@main", "/*/{n}", group_by="{n}")),
    vio.group(vio.union(glob("/(*)", group_by="$1"), vio.glob("other@main", "/(*)/*", group_by="$1"))),
    vio.cross(glob("/*"), vio.glob("other@main", "/*"), vio.glob("other@main", "/", name="whole")),
    vio.cross(vio.union(glob("/*"), glob("/*/*")), vio.group(vio.glob("other@main", "/(*)/*", group_by="$1"))),
    vio.union(vio.cross(glob("/*"), vio.glob("other@main", "/*")), vio.group(glob("/(*)/*", group_by="$1"))),
    vio.join(
        vio.cross(glob("/(*)", join_on="$1"), vio.glob("other@main", "/", name="whole")),
        vio.glob("other@main", "/(*)", join_on="$1"),
    ),
]
CHANGES = st.lists(st.tuples(st.sampled_from(PATHS), st.sampled_from(["x", "y", "attributes", None])), max_size=5)


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    with vio.create_store(tmp_path_factory.mktemp("inputs") / "s") as store:
        for repo in ("r", "other"):
            store.create_repo(repo)
            with store.transaction(f"{repo}@main") as tx:
                tx.write("a/1", b"a")
                tx.write("z", b"z")
        yield store


def write(store, repo, changes):
    for path, content in changes:
        # A file may be where a directory must be, or the other way round; or nothing is where something is deleted.
        with suppress(vio.VersionedError), store.transaction(f"{repo}@main") as tx:
            if content is None:
                tx.delete(path)
            else:
                tx.write(path, content.encode(), attributes={"by": "x"} if content == "attributes" else None)


def seen(spec, snapshots):
    found = list_datums(spec, snapshots)
    return dict(zip(found.keys.to_pylist(), found.seen_page(0, len(found)), strict=True))


def by_key(source):
    found = DatumSet(source)
    keys = found.keys.to_pylist()
    assert keys == sorted(set(keys), key=str.encode)
    return dict(zip(keys, found.seen_page(0, len(found)), strict=True))


@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(
    changed=st.tuples(CHANGES, CHANGES),
    spec=st.sampled_from(SPECS),
    also=st.sets(st.sampled_from(PATHS), max_size=2),
    is_reversed=st.booleans(),
)
def test_affected_is_what_a_comparison_of_all_datums_finds(store, changed, spec, also, is_reversed):
    before = {f"{repo}@main": store.snapshot(f"{repo}@main") for repo in ("r", "other")}
    write(store, "r", changed[0])
    write(store, "other", changed[1])
    after = {ref: store.snapshot(ref) for ref in before}
    if is_reversed:
        before, after = after, before
    found = affected_datums(store._backend, spec, before, after)
    olds, news = seen(spec, before), seen(spec, after)
    assert found.changed == tuple(sorted(key for key in olds.keys() & news.keys() if olds[key] != news[key]))
    assert found.added == tuple(sorted(news.keys() - olds.keys()))
    assert found.gone == tuple(sorted(olds.keys() - news.keys()))
    touched = touched_datums(store._backend, spec, before, after, also={"r": also})
    some_old, some_new = by_key(touched.before), by_key(touched.after)
    assert some_old.items() <= olds.items()
    assert some_new.items() <= news.items()
    assert {*found.changed, *found.gone} <= some_old.keys()
    of_also = {one.key for one in list_datums(spec, after) if any(f.path in also for f in one.inputs.get("r", ()))}
    assert {*found.changed, *found.added, *of_also} <= some_new.keys()


@pytest.mark.parametrize("pattern", ["/", "/*", "/**"])
def test_attributes_alone_affect_nothing(store, pattern):
    with store.transaction("other@main") as tx:
        tx.write("k", b"k", attributes={"by": "a"})
    before = store.snapshot("other@main")
    with store.transaction("other@main") as tx:
        tx.write("k", b"k", attributes={"by": "b"})
    after = store.snapshot("other@main")
    assert before.stat("k") != after.stat("k")
    spec = vio.glob("other@main", pattern)
    assert affected_datums(store._backend, spec, lambda _: before, lambda _: after) == ((), (), ())


def test_a_change_elsewhere_affects_nothing_and_reads_nothing(store):
    before = store.snapshot("r@main")
    spec = vio.join(glob("/(*)/*", join_on="$1"), glob("/(*)", join_on="$1", name="n"))
    assert affected_datums(store._backend, spec, lambda _: before, lambda _: before) == ((), (), ())
