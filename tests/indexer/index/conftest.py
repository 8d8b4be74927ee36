"""What the index tests share: seeded vectors with clusters and exact ties, brute force, a home to
publish in."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from indexer.core.home import Home


def unit(vectors: np.ndarray) -> np.ndarray:
    """float32 rows of length 1."""
    found = np.asarray(vectors, dtype=np.float32)
    return found / np.linalg.norm(found, axis=1, keepdims=True)


def clustered(n: int, dim: int, seed: int = 0) -> np.ndarray:
    """float16 [n, dim] as stored: unit vectors around n/25 centres; every tenth row repeats the row
    before it."""
    rng = np.random.default_rng(seed)
    centres = unit(rng.standard_normal((max(n // 25, 1), dim)))
    noise = unit(rng.standard_normal((n, dim)))
    vectors = unit(centres[rng.integers(0, len(centres), n)] + 0.6 * noise).astype(np.float16)
    vectors[9::10] = vectors[8::10][: len(vectors[9::10])]
    return vectors


def queries_near(vectors: np.ndarray, count: int, seed: int = 1) -> np.ndarray:
    """float32 [count, dim]: the first three are stored rows, the others rows with noise."""
    rng = np.random.default_rng(seed)
    picked = np.array(vectors[rng.integers(0, len(vectors), count)], dtype=np.float32)
    picked[3:] += 0.3 * unit(rng.standard_normal(picked.shape))[3:]
    return unit(picked)


def brute_force(
    vectors: np.ndarray, query: np.ndarray, k: int, allowed: np.ndarray | None = None
) -> list[tuple[int, float]]:
    """The definition of the right answer in plain float64: (row, score) by score descending, then
    row."""
    rows = np.arange(len(vectors)) if allowed is None else np.unique(allowed)
    scores = vectors[rows].astype(np.float64) @ query.astype(np.float64)
    # Rounded beyond float32's reach, so that repeated rows tie and are told apart by row number
    # alone.
    order = np.lexsort((rows, -np.round(scores, 12)))[:k]
    return [(int(rows[i]), float(scores[i])) for i in order]


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home.create(tmp_path / "home")
