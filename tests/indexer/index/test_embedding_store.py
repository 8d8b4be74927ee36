"""Stored embeddings: what was put comes back in halves, in the order asked for, across processes
and threads."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import pytest

from indexer.core.errors import BadVectorsError, NewerFormatError, StorageError
from indexer.core.sqlite import Database, connect
from indexer.index import embedding_store
from indexer.index.embedding_store import EmbeddingStore, MissingEmbeddingsError

DIM = 16


def unit(n: int, seed: int = 0) -> np.ndarray:
    vectors = np.random.default_rng(seed).standard_normal((n, DIM)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


@pytest.fixture(params=["look-ups", "scans"])
def store(
    tmp_path: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> EmbeddingStore:
    """Both ways of reading: id by id, and the whole table at once."""
    if request.param == "scans":
        monkeypatch.setattr(embedding_store, "_MANY", 0)
    return EmbeddingStore(tmp_path / "embeddings", "e1", DIM)


def test_vectors_come_back_as_halves_in_the_order_asked(store: EmbeddingStore) -> None:
    """Any order, ids repeated, in another instance over the same file too."""
    vectors = unit(10)
    store.put(np.arange(100, 110), vectors)
    wanted = np.array([109, 100, 104, 104])
    for reader in (store, EmbeddingStore(store.path.parent, "e1", DIM)):
        found = reader.get(wanted)
        assert found.dtype == np.float16
        np.testing.assert_array_equal(found, vectors.astype(np.float16)[wanted - 100])
    assert len(store) == 10
    assert store.get(np.array([], dtype=np.int64)).shape == (0, DIM)


def test_missing_is_sorted_and_unique(store: EmbeddingStore) -> None:
    """Exactly those that have no vector."""
    store.put(np.array([2, 5, 9]), unit(3))
    assert store.missing(np.array([9, 7, 2, 7, 1, 5])).tolist() == [1, 7]
    assert store.missing(np.array([], dtype=np.int64)).tolist() == []


def test_what_is_there_is_found_in_one_look(
    store: EmbeddingStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Sorted, each once, with its vector; what is asked for first might be erased before the
    second."""
    vectors = unit(3)
    store.put(np.array([2, 5, 9]), vectors)
    monkeypatch.setattr(EmbeddingStore, "missing", lambda *_: 1 / 0)
    for asked, there in (([9, 7, 2, 7, 1], [2, 9]), ([5, 5], [5]), ([1], []), ([], [])):
        ids, found = store.find(np.array(asked, dtype=np.int64))
        assert ids.tolist() == there
        wanted = [(2, 5, 9).index(one) for one in there]
        np.testing.assert_array_equal(found, vectors.astype(np.float16)[wanted])


def test_many_ids_take_few_statements(store: EmbeddingStore) -> None:
    """Not one each: a large request asks for thousands."""
    store.put(np.arange(1500), unit(1500))
    asked: list[str] = []
    store.database.connection.set_trace_callback(
        lambda text: asked.append(text) if "FROM vectors" in text else None
    )
    assert len(store.get(np.arange(1500))) == 1500
    assert store.missing(np.arange(1490, 1510)).tolist() == list(range(1500, 1510))
    assert 2 <= len(asked) <= 5


def test_absent_ids_are_named(store: EmbeddingStore) -> None:
    """Asking for what is not there is an error that says which."""
    store.put(np.array([2]), unit(1))
    with pytest.raises(MissingEmbeddingsError, match=r"2 photos .* e1: 3, 8"):
        store.get(np.array([8, 2, 3]))


def test_put_replaces_and_delete_forgets(store: EmbeddingStore) -> None:
    """The last vector counts; a deleted photo is missing again, and its bytes are no longer in the
    file."""
    first, second = unit(2), unit(2, seed=1)
    store.put(np.array([1, 2]), first)
    store.put(np.array([2]), second[:1])
    np.testing.assert_array_equal(store.get(np.array([2])), second[:1].astype(np.float16))
    store.delete(np.array([2, 77]))
    assert store.missing(np.array([1, 2])).tolist() == [2]
    store.close()
    assert second[0].astype(np.float16).tobytes() not in store.path.read_bytes()
    assert first[0].astype(np.float16).tobytes() in store.path.read_bytes()


def test_bad_vectors_are_refused_whole(store: EmbeddingStore) -> None:
    """One bad row and nothing of the batch is stored."""
    vectors = unit(3)
    vectors[1] *= 2
    with pytest.raises(BadVectorsError, match="vector 1"):
        store.put(np.arange(3), vectors)
    with pytest.raises(BadVectorsError, match="2 photo ids for 3 vectors"):
        store.put(np.arange(2), unit(3))
    assert len(store) == 0


def test_other_dimension_is_refused(store: EmbeddingStore) -> None:
    """A file of another model's vectors is not read as this one's."""
    with pytest.raises(BadVectorsError, match="D=16, the model has D=8"):
        EmbeddingStore(store.path.parent, "e1", 8)
    EmbeddingStore(store.path.parent, "e2", 8)


def test_newer_format_is_refused(store: EmbeddingStore) -> None:
    """A file written by a newer Catalens is left alone."""
    with connect(store.path) as connection:
        connection.execute("PRAGMA user_version = 2")
    with pytest.raises(NewerFormatError, match="format 2"):
        EmbeddingStore(store.path.parent, "e1", DIM)


def test_threads_share_one_store(store: EmbeddingStore) -> None:
    """Each thread has a connection of its own; all writes arrive."""
    vectors = unit(40)
    failures: list[Exception] = []

    def write(start: int) -> None:
        try:
            for i in range(start, start + 10):
                store.put(np.array([i]), vectors[i : i + 1])
        except Exception as error:
            failures.append(error)

    threads = [threading.Thread(target=write, args=(start,)) for start in range(0, 40, 10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    np.testing.assert_array_equal(store.get(np.arange(40)), vectors.astype(np.float16))


def test_rate_is_remembered(store: EmbeddingStore) -> None:
    """None before the first run, then the last one's."""
    assert store.rate() is None
    store.set_rate(12.5)
    store.set_rate(80.25)
    assert EmbeddingStore(store.path.parent, "e1", DIM).rate() == 80.25


def test_a_damaged_file_is_made_anew_or_named_with_what_to_do(tmp_path: Path) -> None:
    """A file cut short counts as an empty one, since embeddings can be made again; what says that
    it is damaged names the command."""
    whole = EmbeddingStore(tmp_path, "e1", DIM)
    whole.put(np.arange(500), unit(500))
    whole.close()
    whole.path.write_bytes(whole.path.read_bytes()[:6000])
    again = EmbeddingStore(tmp_path, "e1", DIM)
    assert len(again.missing(np.arange(500))) == 500
    again.put(np.arange(500), unit(500))
    again.close()
    again.database.path.write_bytes(b"x" * 20_000)
    with pytest.raises(StorageError, match=r"e1\.sqlite3 is damaged.*catalens index build"):
        Database(again.path, again.database.schema).prepare()


def test_a_full_disk_names_the_file(store: EmbeddingStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where SQLite cannot write any more, the failure names the file, and what was stored is still
    there."""
    store.put(np.arange(4), unit(4))
    with store.database.transaction():
        sql = store.database.connection  # the one that writes
    sql.execute("PRAGMA max_page_count = 1")
    with pytest.raises(StorageError, match=r"e1\.sqlite3: database or disk is full"):
        store.put(np.arange(4, 4000), unit(3996))
    assert store.missing(np.arange(6)).tolist() == [4, 5]
