"""Geometry of the report's plots; the page's template draws them as SVG."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from indexer.model.calibration import reliability_bins


@dataclass(frozen=True)
class Cell:
    """One square of the confusion matrix."""

    row: int
    column: int
    count: int
    share: float  # of the row
    shade: float  # opacity in (0, 1]


@dataclass(frozen=True)
class Matrix:
    """Rows are true classes, columns predicted ones; only squares that are not empty."""

    labels: list[str]
    totals: list[int]  # photos of each row's class, those outside the drawn columns too
    cells: list[Cell]
    side: float  # of a square, px
    margin: float  # for labels, px
    left_out: int  # classes that are not drawn

    @property
    def size(self) -> float:
        return self.side * len(self.labels)


def confusion(
    truth: np.ndarray, predicted: np.ndarray, names: Sequence[tuple[str, ...]], limit: int = 80
) -> Matrix:
    """The classes that occur, in the order of their paths; beyond ``limit`` those with the most
    mistakes."""
    counts = np.zeros((len(names), len(names)), np.int64)
    np.add.at(counts, (truth, predicted), 1)
    mistakes = counts.sum(0) + counts.sum(1) - 2 * counts.diagonal()
    present = np.flatnonzero(counts.sum(0) + counts.sum(1))
    chosen = sorted(
        sorted(present, key=lambda n: -mistakes[n])[:limit], key=lambda n: names[int(n)]
    )
    labels = short_labels([names[int(number)] for number in chosen])
    totals = counts.sum(1)[chosen]
    part = counts[np.ix_(chosen, chosen)]
    cells = []
    for row, column in np.argwhere(part):
        share = part[row, column] / max(totals[row], 1)
        cells.append(
            Cell(
                int(row),
                int(column),
                int(part[row, column]),
                float(share),
                float(0.15 + 0.85 * share**0.6),
            )
        )
    longest = max((len(label) for label in labels), default=0)
    side = float(np.clip(760 / max(len(chosen), 1), 9.5, 52))
    margin = min(longest, 26) * (5.2 if len(chosen) > 30 else 7.0) + 12
    return Matrix(labels, totals.tolist(), cells, side, margin, len(present) - len(chosen))


def short_labels(paths: Sequence[tuple[str, ...]]) -> list[str]:
    """The last level of each path, with as many levels before it as tell it from the others."""
    labels = []
    for path in paths:
        depth = 1
        while depth < len(path) and sum(other[-depth:] == path[-depth:] for other in paths) > 1:
            depth += 1
        labels.append(" › ".join(path[-depth:]))
    return labels


@dataclass(frozen=True)
class ReliabilityPoint:
    """One bin: mean confidence, accuracy with its 95% Wilson interval, photos in it."""

    confidence: float
    accuracy: float
    low: float
    high: float
    photos: int


def reliability(confidences: np.ndarray, correct: np.ndarray) -> list[ReliabilityPoint]:
    """Ten bins of equal mass."""
    return [
        ReliabilityPoint(sure, right, *wilson(right, photos), photos)
        for sure, right, photos in reliability_bins(confidences, correct)
    ]


def wilson(share: float, n: int, z: float = 1.96) -> tuple[float, float]:
    """95% interval of a proportion (Wilson 1927)."""
    centre = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * (share * (1 - share) / n + z * z / (4 * n * n)) ** 0.5
    return max(0.0, centre - half), min(1.0, centre + half)


def flat_map(vectors: np.ndarray, seed: int = 0) -> tuple[np.ndarray, str]:
    """Unit vectors [N, D] -> places [N, 2] in [0, 1], and how they were found: t-SNE, or PCA where
    photos are few.

    Near in the embedding is near on the map; distances between far groups, and the axes, mean
    nothing.
    """
    from sklearn.decomposition import PCA
    from sklearn.manifold import TSNE

    if len(vectors) < 3:
        places = np.stack([np.arange(len(vectors)), np.zeros(len(vectors))], axis=1)
        way = "PCA"
    elif len(vectors) < 40:
        places = PCA(2, svd_solver="full").fit_transform(vectors)
        way = "PCA"
    else:
        compact = PCA(min(50, *vectors.shape), random_state=seed).fit_transform(vectors)
        perplexity = min(30.0, len(vectors) / 4)
        places = TSNE(
            2, init="pca", perplexity=perplexity, max_iter=600, random_state=seed
        ).fit_transform(compact)
        way = "t-SNE"
    low = places.min(0)
    high = places.max(0)
    return (places - low) / np.maximum(high - low, 1e-9), way


def tag_rows(
    tags: Sequence[str], actual: np.ndarray, suggested: np.ndarray
) -> list[dict[str, Any]]:
    """Precision, recall and F1 of each tag that some product carries or was given, most frequent
    first."""
    hit = (actual & suggested).sum(0)
    given = suggested.sum(0)
    true = actual.sum(0)
    rows = [
        {
            "tag": tag,
            "n": int(true[number]),
            "suggested": int(given[number]),
            "precision": float(hit[number] / given[number]) if given[number] else None,
            "recall": float(hit[number] / true[number]) if true[number] else None,
            "f1": float(2 * hit[number] / (given[number] + true[number])),
        }
        for number, tag in enumerate(tags)
        if given[number] + true[number]
    ]
    return sorted(rows, key=lambda row: (-row["n"], row["tag"]))
