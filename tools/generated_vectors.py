"""Generated unit vectors: clustered, skewed or flat, with near-duplicates and queries."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

SHAPES = ("clustered", "skewed", "flat")
QUERIES = 2000
_NOISE = 0.6  # of the centre's length
_NEAR_DUPLICATE = 0.02
_CHUNK = 65536


@dataclass(frozen=True)
class Generated:
    """``rows`` float16 [n, d] as a version stores them and ``queries`` float32 [q, d] that are none
    of them, all unit.

    ``recipe`` says how they were made: the same words give the same numbers.
    """

    rows: np.ndarray
    queries: np.ndarray
    recipe: str


def vectors(
    n: int, d: int, seed: int, *, shape: str = "clustered", queries: int = QUERIES
) -> Generated:
    """n/100 (at least 10) centres, Gaussian, of unit length; sizes by Zipf(1.1), for ``skewed`` by
    Zipf(2).

    A row is its centre plus Gaussian noise of norm 0.6, then of unit length; one row in a hundred
    is another row with noise of norm 0.02. Queries are fresh draws from the same clusters.
    ``flat``: no clusters at all.
    """
    if shape not in SHAPES:
        raise ValueError(f"shape {shape!r} is none of {', '.join(SHAPES)}")
    rng = np.random.default_rng(seed)
    centres = _unit(rng.standard_normal((max(n // 100, 10), d), dtype=np.float32))
    sizes = np.arange(1, len(centres) + 1) ** (-2.0 if shape == "skewed" else -1.1)

    def draw(count: int) -> np.ndarray:
        noise = _unit(rng.standard_normal((count, d), dtype=np.float32))
        if shape == "flat":
            return noise
        return _unit(
            centres[rng.choice(len(centres), count, p=sizes / sizes.sum())]
            + np.float32(_NOISE) * noise
        )

    rows = np.empty((n, d), dtype=np.float16)
    for start in range(0, n, _CHUNK):
        rows[start : start + _CHUNK] = draw(min(_CHUNK, n - start))
    repeated = rng.permutation(n)[: n // 100]
    originals = rng.integers(0, n, len(repeated))
    noise = _unit(rng.standard_normal((len(repeated), d), dtype=np.float32))
    rows[repeated] = _unit(rows[originals].astype(np.float32) + np.float32(_NEAR_DUPLICATE) * noise)
    return Generated(
        rows, draw(queries), f"vectors(n={n}, d={d}, seed={seed}), {shape}, {queries} queries"
    )


def _unit(found: np.ndarray) -> np.ndarray:
    return found / np.linalg.norm(found, axis=1, keepdims=True)
