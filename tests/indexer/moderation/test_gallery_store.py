"""What was fitted to a home's catalog: stored under its key, used again, made again."""

from __future__ import annotations

import base64
import errno
import json
import sys
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from structlog.testing import capture_logs

from indexer.catalog.store import open_catalog
from indexer.core.atomic_files import read_sealed_json
from indexer.core.home import Home
from indexer.feeds.importer import import_feed
from indexer.imaging.decode import Photo
from indexer.index.embedding_store import EmbeddingStore
from indexer.model.spec import Block
from indexer.moderation.gallery_store import fit_home, fitted_file, read_fitted
from indexer.moderation.keypoint_matching import MOST_EXAMPLE_POINTS, find_library
from indexer.moderation.policy import load_policies
from tests.indexer.moderation import drawn

DIM = 8
BUNDLE: Any = SimpleNamespace(
    embedding_id="e1",
    spec=SimpleNamespace(dim=DIM, blocks=(Block("g", DIM, 1.0),)),
    general_spread=lambda: None,
)


class Counting:
    """A stand-in for the network, with a count of the photos it was shown."""

    def __init__(self) -> None:
        self.seen = 0

    def __call__(self, photos: Sequence[Photo]) -> np.ndarray:
        self.seen += len(photos)
        return vectors(len(photos), seed=1)


def vectors(count: int, seed: int) -> np.ndarray:
    rows = np.random.default_rng(seed).normal(size=(count, DIM))
    return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True), np.float32)


def test_home_is_fitted_once_for_a_file_and_a_model(tmp_path: Path) -> None:
    """The second time what is stored is read, equal to the last bit; another file, and damage, are
    fitted again."""
    data = tmp_path / "data"
    data.mkdir()
    for seed in range(12):
        drawn.product(seed).save(data / f"product{seed}.png")
    home = Home.create(tmp_path / "home")
    import_feed(home, data)
    file = drawn.write(tmp_path, "  flags:\n    gallery: {photos: banned}\n", photos=2)
    policies, embed = load_policies(file), Counting()
    assert read_fitted(home, policies, BUNDLE) is None
    with open_catalog(home) as catalog:
        _, rows = catalog.entries()
        with closing(EmbeddingStore(home.embeddings, "e1", DIM)) as store:
            store.put(rows[:, 1], vectors(len(rows), seed=0))
        first = fit_home(home, policies, BUNDLE, catalog, embed).galleries["flags"]
        assert embed.seen == 2
        again = fit_home(home, policies, BUNDLE, catalog, embed).galleries["flags"]
        assert embed.seen == 2
        assert set(again.bounds) == {"whole", "symbol"}
        assert again.bounds == first.bounds
        for name in ("weight", "examples"):
            np.testing.assert_array_equal(getattr(again, name), getattr(first, name))
        stored = fitted_file(home).read_text()
        assert "product" not in stored, "no product is named"
        fitted_file(home).write_text(stored[: len(stored) // 2])
        assert (
            fit_home(home, policies, BUNDLE, catalog, embed).galleries["flags"].bounds
            == first.bounds
        )
        assert embed.seen == 4
        file.write_text(file.read_text() + "# changed\n")
        assert read_fitted(home, load_policies(file), BUNDLE) is None


def catalog_of(folder: Path, home: Home, count: int) -> None:
    """Bring the home's catalog to ``count`` drawn products of one embedded photo each."""
    folder.mkdir(exist_ok=True)
    for seed in range(count):
        drawn.product(seed).save(folder / f"product{seed}.png")
    import_feed(home, folder)
    with (
        open_catalog(home) as catalog,
        closing(EmbeddingStore(home.embeddings, "e1", DIM)) as store,
    ):
        _, rows = catalog.entries()
        store.put(rows[:, 1], vectors(len(rows), seed=0))


def test_a_grown_catalog_is_fitted_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """First of nothing: no bounds. Again at the first photos, and at twice as many, until the
    sample is full."""
    home = Home.create(tmp_path / "home")
    file, embed = (
        drawn.write(tmp_path, "  flags:\n    gallery: {photos: banned}\n", photos=1),
        Counting(),
    )
    policies = load_policies(file)
    fits = []
    with open_catalog(home) as catalog:
        for count in (0, 2, 3, 4):
            if count:
                catalog_of(tmp_path / "data", home, count)
            before = embed.seen
            fitted = fit_home(home, policies, BUNDLE, catalog, embed).galleries["flags"]
            fits.append((count, set(fitted.bounds), embed.seen > before))
            assert read_fitted(home, policies, BUNDLE) is not None
        assert fits == [
            (0, set(), True),
            (2, {"whole", "symbol"}, True),
            (3, {"whole", "symbol"}, False),
            (4, {"whole", "symbol"}, True),
        ]
        monkeypatch.setattr("indexer.moderation.gallery_store._VECTORS", 4)
        catalog_of(tmp_path / "data", home, 9)
        before = embed.seen
        fit_home(home, policies, BUNDLE, catalog, embed)
        assert embed.seen == before


def test_what_does_not_say_how_many_photos_it_saw_is_fitted_again(tmp_path: Path) -> None:
    """A file of before the number was kept."""
    home = Home.create(tmp_path / "home")
    file, embed = (
        drawn.write(tmp_path, "  flags:\n    gallery: {photos: banned}\n", photos=1),
        Counting(),
    )
    policies = load_policies(file)
    with open_catalog(home) as catalog:
        fit_home(home, policies, BUNDLE, catalog, embed)
        stored = json.loads(fitted_file(home).read_text())
        assert stored.pop("photos") == 0
        fitted_file(home).write_text(json.dumps(stored))
        assert read_fitted(home, policies, BUNDLE) is None
        fit_home(home, policies, BUNDLE, catalog, embed)
        assert embed.seen == 2
        assert json.loads(fitted_file(home).read_text())["photos"] == 0


def test_what_cannot_be_written_holds_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A read-only home or a full disk: the galleries are ready, and the log says that they are not
    kept."""
    home = Home.create(tmp_path / "home")
    policies = load_policies(
        drawn.write(tmp_path, "  flags:\n    gallery: {photos: banned}\n", photos=2)
    )

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with open_catalog(home) as catalog:
        expected = fit_home(home, policies, BUNDLE, catalog, Counting()).galleries["flags"]
        fitted_file(home).unlink()
        monkeypatch.setattr("indexer.moderation.gallery_store.write_sealed_json", full)
        with capture_logs() as logs:
            fitted = fit_home(home, policies, BUNDLE, catalog, Counting()).galleries["flags"]
    assert fitted.bounds == expected.bounds
    assert [entry["error"] for entry in logs] == ["[Errno 28] No space left on device"]
    assert read_fitted(home, policies, BUNDLE) is None


SHARED = """\
  flags:
    gallery: {photos: banned}
  kinds:
    gallery: {photos: banned, match: [whole]}
  contact:
    codes: {}
"""


def test_a_budget_of_the_file_is_counted_and_stored(tmp_path: Path) -> None:
    """Three ways of two galleries: 12 photos show no .5%, and a code on one of them is counted as
    what another detector asks about. The same galleries in a file of before have bounds as before.
    """
    pytest.importorskip("zxingcpp")
    data = tmp_path / "data"
    data.mkdir()
    for seed in range(11):
        drawn.product(seed).save(data / f"product{seed}.png")
    drawn.code("https://elsewhere.example", "QRCode").save(data / "code.png")
    home = Home.create(tmp_path / "home")
    import_feed(home, data)
    fits = {}
    with open_catalog(home) as catalog:
        _, rows = catalog.entries()
        with closing(EmbeddingStore(home.embeddings, "e1", DIM)) as store:
            store.put(rows[:, 1], vectors(len(rows), seed=0))
        for version in ("2", "1"):
            policies = load_policies(drawn.write(tmp_path, SHARED, photos=2, version=version))
            fits[version] = fit_home(home, policies, BUNDLE, catalog, Counting())
            stored = read_fitted(home, policies, BUNDLE)
            assert stored is not None
            assert stored.alarms == fits[version].alarms
    shared, own = fits["2"].alarms, fits["1"].alarms
    assert shared is not None
    assert own is not None
    assert (shared.wanted, shared.photos, shared.alarms, shared.others) == (0.005, 12, 1, 1)
    assert not shared.shown
    assert (own.wanted, own.photos, own.others) == (None, 12, 0)
    assert own.alarms > shared.alarms, "twelve photos have highest scores, each way its own"
    for name, gallery in fits["1"].galleries.items():
        for match, bounds in gallery.bounds.items():
            assert bounds.review < fits["2"].galleries[name].bounds[match].review


def test_keypoints_are_stored_and_read_again(tmp_path: Path) -> None:
    """Equal to the last bit and without the network or the finder of points; of another version,
    more than an example can have, or no numbers, they are found again. A changed gallery photo
    leaves nothing of the one before."""
    pytest.importorskip("cv2")
    home = Home.create(tmp_path / "home")
    file = drawn.write_crests(tmp_path, "keypoints", 2)
    policies, embed = load_policies(file), Counting()
    with open_catalog(home) as catalog:
        made = fit_home(home, policies, BUNDLE, catalog, embed).galleries["crests"].keypoints
        kept = read_fitted(home, policies, BUNDLE)
        assert made is not None
        assert kept is not None
        read = kept.galleries["crests"].keypoints
        assert read is not None
        for one, other in zip(made.examples, read.examples, strict=True):
            assert one.size == other.size
            np.testing.assert_array_equal(one.frames, other.frames)
            np.testing.assert_array_equal(one.raw, other.raw)
        whole = read_sealed_json(fitted_file(home))
        count = MOST_EXAMPLE_POINTS + 1
        many = {
            "frames": {"shape": [count, 4], "float32": encoded(np.ones((count, 4)))},
            "descriptors": base64.b64encode(bytes(count * 128)).decode(),
        }
        nothing = {
            "frames": {"shape": [1, 4], "float32": encoded(np.full((1, 4), np.nan))},
            "descriptors": base64.b64encode(bytes(128)).decode(),
        }
        flat = {**nothing, "frames": {"shape": [1, 4], "float32": encoded(np.zeros((1, 4)))}}
        vast = {"frames": {"shape": [10**30, 4], "float32": ""}}
        wrongs = (many, nothing, flat, vast, {"size": [10**9, 2]}, None)
        for number, wrong in enumerate(wrongs):
            damaged = json.loads(json.dumps(whole))
            points = damaged["galleries"]["crests"]["keypoints"]
            if wrong is None:
                points["version"] = 0
            else:
                points["examples"][1] |= wrong
            # As before there were seals, and as whoever writes the file can.
            fitted_file(home).write_text(json.dumps(damaged))
            assert read_fitted(home, policies, BUNDLE) is None, number
        fit_home(home, policies, BUNDLE, catalog, embed)
        first = whole["galleries"]["crests"]["keypoints"]["examples"][0]["descriptors"]
        assert first in fitted_file(home).read_text()
        drawn.crest_example(7).save(tmp_path / "banned" / "0.png")
        fit_home(home, load_policies(file), BUNDLE, catalog, embed)
        assert first not in fitted_file(home).read_text()


def encoded(values: np.ndarray) -> str:
    return base64.b64encode(values.astype("<f4").tobytes()).decode()


def test_a_home_fitted_without_the_package_is_fitted_again_with_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not once more before: what cannot be found is not looked for at each start."""
    pytest.importorskip("cv2")
    home = Home.create(tmp_path / "home")
    policies = load_policies(drawn.write_crests(tmp_path, "keypoints", 1))
    find_library.cache_clear()
    with open_catalog(home) as catalog:
        with monkeypatch.context() as absent:
            absent.setitem(sys.modules, "cv2", None)
            fitted = fit_home(home, policies, BUNDLE, catalog, Counting())
            assert fitted.galleries["crests"].keypoints is None
            assert read_fitted(home, policies, BUNDLE) is not None
        find_library.cache_clear()
        assert read_fitted(home, policies, BUNDLE) is None
        fitted = fit_home(home, policies, BUNDLE, catalog, Counting())
        assert fitted.galleries["crests"].keypoints is not None
