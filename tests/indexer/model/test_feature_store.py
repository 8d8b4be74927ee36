"""Features in half precision keep their direction, whatever their size."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from indexer.core.errors import BadModelError
from indexer.model.feature_store import CACHE_MARK, cache_folders, note_cache, to_halves


def test_rows_that_half_precision_would_cut_off_keep_their_direction() -> None:
    """A feature a thousand times the others (massive activations), or a row of tiny ones, loses
    nothing but its length; what stands behind the features stays as it is."""
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(3, 66)).astype(np.float32)
    rows[0, 5] = 2e5
    rows[1, :64] *= 1e-6
    kept = to_halves(rows, 64).astype(np.float32)
    assert np.isfinite(kept).all()
    own, found = rows[:, :64], kept[:, :64]
    cosine = (own * found).sum(1) / np.linalg.norm(own, axis=1) / np.linalg.norm(found, axis=1)
    np.testing.assert_allclose(cosine, 1, atol=1e-6)
    np.testing.assert_array_equal(kept[:, 64:], rows[:, 64:].astype(np.float16))


def test_usual_rows_are_rounded_alone() -> None:
    """What is in caches and models of before is what is computed now."""
    rows = np.random.default_rng(1).normal(size=(4, 20)).astype(np.float32)
    rows[3, :16] = 0
    np.testing.assert_array_equal(to_halves(rows, 16), rows.astype(np.float16))


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_features_that_are_no_numbers_are_refused(value: float) -> None:
    rows = np.ones((2, 8), np.float32)
    rows[1, 3] = value
    with pytest.raises(BadModelError, match="features that are no numbers"):
        to_halves(rows, 6)


def test_a_cache_that_another_user_marked_is_noted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its mark need not be written by whoever else uses the folder."""
    monkeypatch.setenv("CATALENS_CACHE", str(tmp_path / "own"))
    shared = tmp_path / "shared"
    shared.mkdir()
    mark = shared / CACHE_MARK
    mark.touch()

    def refuse(path: Path, **_: object) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "touch", refuse)
    monkeypatch.setattr("indexer.model.feature_store.touch", refuse, raising=False)
    note_cache(shared)
    assert shared in cache_folders()
