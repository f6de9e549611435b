"""A step that is materialised again over a damaged output heals it, and the next step reads it."""

import dagster as dg
import pytest

import versioned_io as vio
from dagster_versioned import VersionedIOManager
from versioned_io.model.places import pack_key, pack_name


@dg.asset
def numbers():
    return list(range(40_000))


@dg.asset
def count(numbers):
    return len(numbers)


@pytest.mark.parametrize("harm", ["content", "page", "pack"])
def test_a_materialisation_over_a_damaged_output_succeeds_and_the_next_step_reads_it(tmp_path, harm):
    place = tmp_path / "s"
    vio.create_store(place).close()

    def materialize(asset):
        resources = {"io_manager": VersionedIOManager(store=str(place))}
        done = dg.materialize([numbers, count], resources=resources, selection=[asset], raise_on_error=False)
        return done.success

    assert materialize(numbers)
    with vio.open_store(place) as store:
        root = store.commit("numbers@main").root
        [row] = store.snapshot("numbers@main").rows()
    pack = place / pack_key(pack_name(root.pack))
    if harm == "pack":
        pack.unlink()
    else:
        data = bytearray(pack.read_bytes())
        data[(root.offset if harm == "page" else row.chunks[0].offset) + 40] ^= 1
        pack.write_bytes(data)
    assert materialize(numbers)
    assert materialize(count)
