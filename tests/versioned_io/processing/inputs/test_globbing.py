"""The datums of a glob."""

import pytest

import versioned_io as vio
from versioned_io.processing.inputs.selecting import list_datums

FILES = ["a/1.png", "a/2.png", "b/1.png", "c d/x/y.png", "top.txt"]


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    with vio.create_store(tmp_path_factory.mktemp("inputs") / "s") as store:
        store.create_repo("r")
        with store.transaction("r@main") as tx:
            for path in FILES:
                tx.write(path, path.encode())
        yield store


def datums(store, pattern, **options):
    return list_datums(vio.glob("r@main", pattern, **options), store.snapshot)


@pytest.mark.parametrize(
    ("pattern", "keys"),
    [
        ("/", ["/"]),
        ("/*", ["a", "b", "c d", "top.txt"]),
        ("/*/", ["a", "b", "c d"]),
        ("/*/*", ["a/1.png", "a/2.png", "b/1.png", "c d/x"]),
        ("/**", ["a", "a/1.png", "a/2.png", "b", "b/1.png", "c d", "c d/x", "c d/x/y.png", "top.txt"]),
        ("/a", ["a"]),
        ("/?", ["a", "b"]),
        ("/[a-b]", ["a", "b"]),
        ("/[!a]/*", ["b/1.png"]),
        ("/{a,b}", ["a", "b"]),
        ("/{a}", ["a", "b", "c d", "top.txt"]),
        ("/!(a)/*", ["b/1.png", "c d/x"]),
        ("/**/@(1|y).png", ["a/1.png", "b/1.png", "c d/x/y.png"]),
        ("/+(a|b)/1.*", ["a/1.png", "b/1.png"]),
        ("top.txt/", []),
        ("/1.png", []),
    ],
)
def test_a_pattern_matches_whole_paths_of_files_and_directories(store, pattern, keys):
    assert datums(store, pattern).keys.to_pylist() == keys


def test_a_directory_brings_all_the_files_below_it(store):
    (row,) = datums(store, "/a", name="images").page()
    assert [(file.path, file.size) for file in row.inputs["images"]] == [("a/1.png", 7), ("a/2.png", 7)]
    assert row.inputs["images"][0].snapshot.read("a/1.png") == b"a/1.png"


def test_captures_are_there_by_number_and_by_name(store):
    rows = datums(store, "/{dir}/(*).png").page()
    assert [row.inputs["r"][0].captures for row in rows] == [("a", "1"), ("a", "2"), ("b", "1")]
    assert rows[2].inputs["r"][0].fields == {"dir": "b"}


def test_a_page_is_a_part_of_the_list_and_a_key_is_found(store):
    found = datums(store, "/**")
    assert [row.key for row in found.page(7, 5)] == ["c d/x/y.png", "top.txt"]
    assert [row.key for row in found] == found.keys.to_pylist()
    assert [found.find(key) for key in found.keys.to_pylist()] == list(range(9))
    assert found.find("a/") is None
    assert found.find("zz") is None


def test_an_input_that_matches_nothing_is_named(store):
    assert [spec.pattern for spec in datums(store, "/nope/*").empty_inputs] == ["/nope/*"]
    assert datums(store, "/*").empty_inputs == ()


def test_code_sees_paths_captures_and_contents_but_no_place(store):
    store.create_repo("copy")
    with store.transaction("copy@main") as tx:
        for path in FILES:
            tx.write(path, path.encode(), attributes={"by": "another"})
    other = list_datums(vio.glob("copy@main", "/**", name="r"), store.snapshot)
    assert other.seen_page(0, 99) == datums(store, "/**").seen_page(0, 99)
    assert [other.seen(row) for row in range(len(other))] == other.seen_page(0, 99)
    assert len(set(other.seen_page(0, 99))) == 9


@pytest.mark.parametrize(
    ("left", "right"),
    [
        ({"pattern": "/a"}, {"pattern": "/(a)"}),
        ({"pattern": "/(a)"}, {"pattern": "/{x}"}),
        ({"pattern": "/{x}"}, {"pattern": "/{y}"}),
        ({"pattern": "/a"}, {"pattern": "/a", "name": "other"}),
        ({"pattern": "/a"}, {"pattern": "/a", "empty_files": True}),
        ({"pattern": "/(a)", "join_on": "$1"}, {"pattern": "/(a)", "join_on": "$1x"}),
    ],
)
def test_what_code_can_see_is_in_the_bytes(store, left, right):
    assert datums(store, **left).seen(0) != datums(store, **right).seen(0)


def test_with_empty_files_the_content_is_not_seen(store):
    before = datums(store, "/{d}", empty_files=True), datums(store, "/{d}/*", empty_files=True)
    store.create_branch("r@other", at="r@main")
    with store.transaction("r@other") as tx:
        tx.write("a/1.png", b"other")
    after = [
        list_datums(vio.glob("r@other", pattern, empty_files=True), store.snapshot) for pattern in ("/{d}", "/{d}/*")
    ]
    assert [one.seen_page(0, 9) for one in after] == [one.seen_page(0, 9) for one in before]
    with store.transaction("r@other") as tx:
        tx.move("a/1.png", "a/3.png")
    assert list_datums(vio.glob("r@other", "/{d}", empty_files=True), store.snapshot).seen(0) != before[0].seen(0)
