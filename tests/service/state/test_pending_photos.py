"""Photos that wait for the network, or could not be read, hold up nothing else and are not
forgotten."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from indexer.catalog.photo_store import PhotoStore
from indexer.catalog.records import NewPhoto, ProductInput
from indexer.catalog.store import open_catalog
from indexer.core.errors import NoIndexError, StorageError
from indexer.core.home import Active
from indexer.imaging.decode import decode_photo
from indexer.index_build.pipeline import build_index
from indexer.model.registry import resolve
from service.engine import Engine, Query
from service.inference.admission import OverloadedError
from service.products.writer import Draft
from service.query import selection
from service.state import pending_photos, snapshots
from service.state.snapshots import SnapshotManager
from tests.service.conftest import photo


def import_unembedded(engine: Engine, count: int) -> int:
    """What an import of another process commits; the last sequence number."""
    store = PhotoStore(engine.home)
    with open_catalog(engine.home) as other:
        for number in range(count):
            shot = photo("dots", "green", turn=21 + number)
            new = store.add(shot, decode_photo(shot))
            product = ProductInput(f"import-{number}", None, None, (), {}, (new.content_hash,))
            other.put(product, photos=[new])
        return other.last_sequence()


def test_an_import_beside_it_holds_up_no_write(
    own: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A write is seen by ``min_sequence`` as soon as it is searchable, whatever waits for the
    network before it; the answer says that it is not complete. What waits itself is waited for."""
    monkeypatch.setattr(selection, "_PATIENCE_S", 0.05)
    imported = import_unembedded(own, 9)
    shot = photo("ring", "tan", turn=40)
    sequence = own.products.put("mine", Draft(photos=(shot,))).content.sequence
    assert sequence > imported
    answer = own.search(Query(image=shot), k=1, min_sequence=sequence)
    assert answer.content.results[0].product_id == "mine"
    assert answer.to_json()["complete"] is False
    second = own.search(Query(image=shot), k=1, cursor=answer.content.next_cursor)
    assert second.content.results[0].product_id != "mine"
    assert own.facets(min_sequence=sequence).content.total == 21
    with pytest.raises(OverloadedError, match=f"sequence {imported} is not searchable yet"):
        own.search(Query(image=shot), k=1, min_sequence=imported)
    while not own.snapshots.follow_some():
        pass
    answer = own.search(Query(image=shot), k=30, min_sequence=imported)
    assert len(answer.content.results) == 30
    assert "complete" not in answer.to_json()


def test_another_process_is_followed_while_photos_are_embedded(own: Engine) -> None:
    """A portion at a time: between two of them the log is read on."""
    import_unembedded(own, 20)
    own.snapshots.follow()
    assert not own.snapshots.follow_some()
    assert 0 < len(own.ready().pending) < 20
    with open_catalog(own.home) as other:
        other.delete("cross-red")
    own.snapshots.follow()
    assert own.ready().live.sequence == own.last_sequence()
    with pytest.raises(Exception, match="cross-red"):
        own.similar("cross-red")


@pytest.fixture
def share(own: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A photo by reference on a share that was away: product ``far`` has no other one."""
    monkeypatch.setattr(pending_photos, "_AWAY_S", (600.0, 600.0))
    path = tmp_path / "share.png"
    shot = photo("dots", "green", turn=50)
    seen = decode_photo(shot)
    new = NewPhoto(
        seen.content_hash, seen.format, len(shot), seen.width, seen.height, "reference", str(path)
    )
    with open_catalog(own.home) as other:
        other.put(ProductInput("far", None, None, (), {}, (new.content_hash,)), photos=[new])
    own.refresh()
    with pytest.raises(NoIndexError):
        own.similar("far", k=1)
    path.write_bytes(shot)
    return path


def test_a_photo_that_could_not_be_read_is_tried_again(own: Engine, share: Path) -> None:
    """When it is due, and at once where somebody asks for it; until then it costs nothing."""
    while not own.snapshots.follow_some():
        pass
    with pytest.raises(NoIndexError):
        own.similar("far", k=1)
    own.refresh()
    assert own.similar("far", k=1).content.results[0].product_id != "far"
    assert own.ready().pending.due(9) == {}


def test_a_new_version_remembers_what_could_not_be_read(own: Engine, share: Path) -> None:
    """It was built without the photo: the service adds it all the same."""
    away = share.rename(share.with_name("away"))
    build_index(own.home, bundle=resolve(own.home, None), activate=True)
    own.snapshots.follow()
    assert own.ready().index_version == "v000002"
    away.rename(share)
    own.refresh()
    assert own.similar("far", k=1).index_version == "v000002"


def test_pauses_between_tries_grow_and_a_damaged_file_waits_longer() -> None:
    pending = pending_photos.PendingPhotos()
    assert [pending.leave_out(1, [7], damaged=False) for _ in range(8)] == [
        *(1, 2, 4, 8, 16, 32, 60, 60)
    ]
    assert pending.leave_out(2, [8], damaged=True) == 60
    assert (pending.to_embed([1, 2, 3]), pending.due(9)) == ({3}, {})
    pending.hurry()
    assert (pending.to_embed([1, 2, 3]), pending.due(9)) == ({1, 2, 3}, {7: [1], 8: [2]})
    assert len(pending.due(1)) == 1
    pending.forget([1])
    assert pending.due(9) == {8: [2]}
    assert len(pending) == 0, "what could not be read does not wait"


def test_an_activated_pair_that_failed_for_a_moment_is_opened_later(
    own: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Out of memory, a disk that was away: it serves without another activation, and meanwhile the
    old one goes on and follows writes."""
    build_index(own.home, bundle=resolve(own.home, None))
    failures = [MemoryError(), StorageError("the disk is away")]
    opened = SnapshotManager._open

    def fail_twice(self: SnapshotManager, active: Active) -> object:
        if failures:
            raise failures.pop(0)
        return opened(self, active)

    monkeypatch.setattr(SnapshotManager, "_open", fail_twice)
    own.home.activate(Active("v000002", own.ready().model_version))
    with open_catalog(own.home) as other:
        other.delete("cross-green")
    own.refresh()
    assert own.ready().index_version == "v000001"
    assert own.ready().live.sequence == own.last_sequence()
    own.snapshots.follow()
    assert len(failures) == 1, "not at every look"
    own.refresh()
    own.refresh()
    assert own.ready().index_version == "v000002"


def test_a_version_that_is_open_answers_while_another_one_is_opened(
    own: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody waits for the reading of a model and an index but who asked for that version."""
    monkeypatch.setattr(snapshots, "_OPENING_S", 0.05)
    build_index(own.home, bundle=resolve(own.home, None))
    build_index(own.home, bundle=resolve(own.home, None))
    own.similar("cross-red", version="v000002")
    opened, may_end, began = SnapshotManager._open, threading.Event(), threading.Event()

    def slow(self: SnapshotManager, active: Active) -> object:
        began.set()
        assert may_end.wait(20)
        return opened(self, active)

    monkeypatch.setattr(SnapshotManager, "_open", slow)
    asking = threading.Thread(
        target=own.similar, args=("cross-red",), kwargs={"version": "v000003"}
    )
    asking.start()
    try:
        assert began.wait(20)
        assert own.similar("cross-red", version="v000002").index_version == "v000002"
        with pytest.raises(OverloadedError, match="is being opened"):
            own.similar("cross-red", version="v000003")
    finally:
        may_end.set()
        asking.join()
    assert own.snapshots.pinned.names() == ["v000002", "v000003"]
