"""Signatures of many photos are looked up in few statements."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from indexer.core.home import Home
from indexer.duplicates import hash_store
from indexer.duplicates.hash_store import SignatureStore


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SignatureStore]:
    with closing(SignatureStore(Home.create(tmp_path / "home"))) as opened:
        yield opened


def statements(store: SignatureStore, asked: list[str]) -> None:
    store._database.connection.set_trace_callback(
        lambda text: asked.append(text) if "signatures" in text else None
    )


def test_many_photos_take_few_statements(store: SignatureStore) -> None:
    """A statement each took a review of a large shop seconds."""
    rng = np.random.default_rng(1)
    thumbs = rng.integers(0, 255, (1500, 32, 32, 3), np.uint8)
    store.put(np.arange(0, 3000, 2), thumbs)
    asked: list[str] = []
    statements(store, asked)
    there, found = store.get(np.arange(3000))
    assert len(asked) <= 10
    assert np.flatnonzero(there).tolist() == list(range(0, 3000, 2))
    assert np.array_equal(found[there], thumbs)


@pytest.mark.parametrize("most", [0, hash_store._MANY])
def test_a_few_new_photos_read_no_row_of_the_others(
    store: SignatureStore, monkeypatch: pytest.MonkeyPatch, most: int
) -> None:
    """Which of a new product's photos have none is asked by their numbers: all ids of a table with
    3 kB a row took a third of a second at 60,000. Either way gives the same."""
    monkeypatch.setattr(hash_store, "_MANY", most)
    store.put([2, 5, 9], np.zeros((3, 32, 32, 3), np.uint8))
    asked: list[str] = []
    statements(store, asked)
    assert store.missing(np.array([9, 7, 2, 7, 1])).tolist() == [1, 7]
    if most:
        (query,) = asked
        assert "WHERE photo_id IN" in query
