"""Feature cache: recaptures have features of their own, and nothing is computed twice."""

from __future__ import annotations

import resource
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from indexer.feeds.dataset import DatasetRow
from indexer.imaging.decode import Photo
from indexer.imaging.parallel import held_bytes
from indexer.model.torch_runtime import TorchRuntime
from indexer.training import feature_cache, frozen_graph
from indexer.training.advise import frozen_runtime
from indexer.training.feature_cache import (
    features_of_looks,
    photo_features,
    recapture_features,
)
from indexer.training.look import show_frozen
from indexer.training.problem import read_problem


def test_a_recapture_has_features_of_its_own_in_the_cache(shapes: Path, tmp_path: Path) -> None:
    """Neither is ever taken for the other, and the second time no photo is decoded."""
    runtime = frozen_runtime()
    rows = read_problem(shapes, 0).of("train")[:4]
    plain = photo_features(rows, runtime, cache=tmp_path)
    drawn = [(np.array([True, True, True, False]), 2)]
    first = recapture_features(plain, runtime, drawn, cache=tmp_path)
    assert len(first.places) == 2
    assert set(first.places) < {0, 1, 2}
    assert np.abs(first.values - plain.values[first.places]).max(1).min() > 0.01
    called: list[int] = []
    again = recapture_features(
        plain, runtime, drawn, cache=tmp_path, progress=lambda _, done, __: called.append(done)
    )
    np.testing.assert_array_equal(first.values, again.values)
    assert called == []
    np.testing.assert_array_equal(
        photo_features(rows, runtime, cache=tmp_path).values, plain.values
    )


def test_a_cache_that_cannot_be_written_is_gone_without(shapes: Path, tmp_path: Path) -> None:
    """A file in the folder's place, a damaged cache, a disk that fills up: the features are the
    same, and a note names the cache and what to do."""
    runtime = frozen_runtime()
    rows = read_problem(shapes, 0).of("train")[:4]
    want = photo_features(rows, runtime, cache=tmp_path / "good")
    assert want.notes == []
    blocked, damaged, full = tmp_path / "file", tmp_path / "damaged", tmp_path / "full"
    blocked.write_text("no folder")
    damaged.mkdir()
    [made] = (tmp_path / "good").glob("*.sqlite3")
    (damaged / made.name).write_bytes(b"no database" * 1000)
    for cache in (blocked / "inner", damaged, full):
        before = resource.getrlimit(resource.RLIMIT_FSIZE)
        if cache is full:
            resource.setrlimit(resource.RLIMIT_FSIZE, (200, before[1]))
        try:
            found = photo_features(rows, runtime, cache=cache)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
        np.testing.assert_array_equal(found.values, want.values)
        [note] = found.notes
        assert "without the feature cache" in note
        assert str(cache) in note
        assert "CATALENS_CACHE" in note


def test_a_user_without_a_home_folder_is_no_obstacle(
    shapes: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Containers run under numbers that no user has: features are computed without a cache."""

    def homeless() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("CATALENS_CACHE", raising=False)
    monkeypatch.setattr(Path, "home", homeless)
    found = photo_features(read_problem(shapes, 0).of("train")[:2], frozen_runtime())
    assert len(found.values) == 2
    assert "no home folder" in found.notes[0]


def test_looks_share_a_photo_and_give_what_each_gives_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A photo is decoded once for all looks where their sizes agree, twice where a reduced one
    would differ; features and hashes are those of a look alone."""
    rng = np.random.default_rng(0)
    rows = []
    for number, side in enumerate((300, 900, 300)):
        file = tmp_path / f"{number}.jpg"
        coarse = Image.fromarray(rng.integers(0, 255, (9, 9, 3), dtype=np.uint8))
        coarse.resize((side, side + 40), Image.Resampling.BICUBIC).save(file)
        rows.append(DatasetRow(f"row {number}", str(number), file, None, None, (), None, {}))
    network = frozen_runtime().network
    runtimes = [show_frozen(network, look, "cpu") for look in ("crop", "whole", "both")]
    alone = [
        photo_features(rows, runtime, cache=tmp_path / f"alone-{number}")
        for number, runtime in enumerate(runtimes)
    ]
    decoded: list[int | None] = []
    decode = feature_cache.decode_photo

    def counted(data: bytes, **options: Any) -> Photo:
        decoded.append(options["shrink_to"])
        return decode(data, **options)

    monkeypatch.setattr(feature_cache, "decode_photo", counted)
    for least in (1, 10**9):
        monkeypatch.setattr(frozen_graph, "WORTH_INPUTS", least)
        decoded.clear()
        together = features_of_looks(rows, runtimes, cache=tmp_path / f"{least}")
        # 900 px are halved for 224 px and not for 256.
        assert sorted(map(str, decoded)) == ["224", "256", "256", "256"]
        for one, own in zip(together, alone, strict=True):
            np.testing.assert_array_equal(one.pixels, own.pixels)
            np.testing.assert_allclose(
                one.values.astype(float), own.values.astype(float), atol=4e-3
            )
        decoded.clear()
        features_of_looks(rows, runtimes, cache=tmp_path / f"{least}")
        photo_features(rows, runtimes[1], cache=tmp_path / f"{least}")
        assert decoded == []


def test_large_photos_wait_in_bounded_memory(
    shapes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was decoded ahead is counted with all its looks, a photo that they share once; beyond
    the bound it goes through the network before more is decoded."""
    rows = read_problem(shapes, 0).of("train")[:5]
    runtime = frozen_runtime()
    passed: list[int] = []
    extract = TorchRuntime.extract_features

    def counted(self: TorchRuntime, photos: Sequence[Photo]) -> np.ndarray:
        passed.append(len(photos))
        return extract(self, photos)

    monkeypatch.setattr(TorchRuntime, "extract_features", counted)
    monkeypatch.setattr(feature_cache, "_BATCH_BYTES", 1)
    found = photo_features(rows, runtime, cache=tmp_path)
    assert (len(found.rows), passed) == (5, [1] * 5)
    image = Image.new("RGB", (100, 50))
    photo, other = (Photo(image, "JPEG", 100, 50, "0" * 64) for _ in range(2))
    row = feature_cache._Computed({}, {0: photo, 1: photo, 2: other}, {0: np.zeros(8, np.float32)})
    assert held_bytes(row) == 2 * 4 * 100 * 50 + 32
