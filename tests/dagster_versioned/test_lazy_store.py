"""A store that is opened when it is first used."""

from pathlib import Path

import pytest

import versioned_io as vio
from dagster_versioned.lazy_store import LazyStore


def test_nothing_is_made_before_the_first_use(store_url):
    with LazyStore(vio.StoreSettings(store_url), create=True) as lazy:
        assert not Path(store_url).exists()
        assert lazy.get() is lazy.get()
    assert Path(store_url).exists()


def test_a_closed_one_opens_again(store_url):
    lazy = LazyStore(vio.StoreSettings(store_url), create=True)
    first = lazy.get()
    lazy.close()
    lazy.close()
    assert lazy.get() is not first
    lazy.close()


def test_a_missing_store_that_is_not_to_be_made_is_said_to_be_missing(store_url):
    with (
        pytest.raises(vio.VersionedError, match="no store at"),
        LazyStore(vio.StoreSettings(store_url), create=False) as lazy,
    ):
        lazy.get()
