"""Signatures follow the catalog by small steps: what stands behind is told, what fails is tried
again."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from indexer.catalog.photo_store import PhotoStore
from indexer.catalog.records import NewPhoto
from indexer.catalog.store import Catalog, open_catalog
from indexer.core.home import Home
from indexer.duplicates import hash_store, signature_follower
from indexer.duplicates.hash_store import SignatureIndex, Signatures
from indexer.duplicates.signature_follower import SignatureFollower
from indexer.imaging.decode import decode_photo
from tests.indexer.duplicates.test_detect import add, png, put
from tests.indexer.duplicates.test_perceptual_hash import drawn


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home.create(tmp_path / "home")


@pytest.fixture
def catalog(home: Home) -> Iterator[Catalog]:
    with open_catalog(home) as opened:
        for seed in range(6):
            add(home, opened, f"p{seed}", drawn(seed))
        yield opened


@pytest.fixture
def follower(home: Home, catalog: Catalog) -> Iterator[SignatureFollower]:
    opened = SignatureFollower(home, catalog, PhotoStore(home))
    yield opened
    opened.close()


def held(catalog: Catalog, product_id: str) -> np.ndarray:
    return np.array(catalog.get(product_id).photo_ids, np.int64)


def finish(follower: SignatureFollower) -> None:
    while not follower.follow_some():
        pass


def test_a_request_signs_few_photos_and_is_told_of_the_rest(
    home: Home, catalog: Catalog, follower: SignatureFollower, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A large import costs a review nothing: it is answered at once as not complete, and one step
    after the other signs a few."""
    signed: list[str] = []

    def watched(data: bytes, **options: object) -> object:
        signed.append("photo")
        return decode_photo(data, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(hash_store, "decode_photo", watched)
    monkeypatch.setattr(signature_follower, "_PHOTOS", 2)
    assert not follower.catch_up()
    assert signed == []
    finish(follower)
    assert follower.is_current()
    assert len(signed) == 6
    add(home, catalog, "one more", drawn(70))
    assert follower.catch_up()
    assert follower.index.holds(held(catalog, "one more")).all()
    for seed in range(80, 90):
        add(home, catalog, f"p{seed}", drawn(seed))
    signed.clear()
    assert not follower.catch_up()
    assert signed == []
    assert not follower.follow_some()
    assert len(signed) == 2
    finish(follower)
    assert follower.catch_up()
    assert follower.index.holds(held(catalog, "p89")).all()


def test_a_photo_that_could_not_be_read_is_signed_later(
    home: Home,
    catalog: Catalog,
    follower: SignatureFollower,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It keeps nothing else waiting, and is not tried at every step."""
    monkeypatch.setattr(signature_follower, "_AGAIN_S", 600.0)
    path = tmp_path / "share.png"
    data = png(drawn(33))
    seen = decode_photo(data)
    size = (len(data), seen.width, seen.height)
    put(catalog, "far", NewPhoto(seen.content_hash, seen.format, *size, "reference", str(path)))
    finish(follower)
    assert follower.is_current()
    assert not follower.index.holds(held(catalog, "far")).any()
    path.write_bytes(data)
    finish(follower)
    assert not follower.index.holds(held(catalog, "far")).any()
    for backoff in follower._left_out.values():
        backoff.hurry()
    finish(follower)
    assert follower.index.holds(held(catalog, "far")).all()


def test_a_compacted_log_is_read_anew(
    home: Home, catalog: Catalog, follower: SignatureFollower
) -> None:
    finish(follower)
    add(home, catalog, "late", drawn(44))
    add(home, catalog, "later", drawn(45))
    catalog.change_log.compact(catalog.last_sequence() - 1)
    finish(follower)
    assert follower.is_current()
    assert follower.index.holds(held(catalog, "late")).all()


def test_an_index_grows_in_place_and_older_views_stay() -> None:
    """In whatever order photos come; a search sees one state to its end."""
    rng = np.random.default_rng(2)
    thumbs = rng.integers(0, 255, (40, 32, 32, 3), dtype=np.uint8)
    ids = np.concatenate([np.arange(10, 40), np.arange(0, 10)])
    index = SignatureIndex.empty()
    views = []
    for start in (0, 1, 3, 17, 30):
        stop = {0: 1, 1: 3, 3: 17, 17: 30, 30: 40}[start]
        index.add(Signatures.compute(ids[start:stop], thumbs[start:stop]))
        views.append((index.signatures, index.signatures.ids.tolist()))
    assert index.signatures.ids.tolist() == list(range(40))
    for view, seen in views:
        assert view.ids.tolist() == seen
    whole = Signatures.compute(np.arange(40), thumbs[np.argsort(ids)])
    assert np.array_equal(index.signatures.codes, whole.codes)
    assert np.array_equal(index.signatures.coarse, whole.coarse)
    places, distances = index.signatures.near(thumbs[5], 64)
    assert (index.signatures.ids[places[0]], distances[0]) == (ids[5], 0)
