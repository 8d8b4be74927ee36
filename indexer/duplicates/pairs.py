"""Pairs of catalog photos that repeat each other: by perceptual code, crop or embedding."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from indexer.core.progress import OnProgress
from indexer.duplicates.alignment import SAME, aligned_similarity, compare
from indexer.duplicates.detect import NEAREST
from indexer.duplicates.hash_store import Signatures, SignatureStore
from indexer.duplicates.perceptual_hash import NEAR_BITS, coarse_match, near_pairs
from indexer.duplicates.print_difference import PrintComparison
from indexer.duplicates.same_product import NEAR_COSINE, ProductRule, block_cosines
from indexer.index.version_files import IndexVersion
from indexer.model.bundle import Bundle

_QUERIES = 256
_PAIRS = 8192
_CODES = 1024


@dataclass(frozen=True)
class PhotoPairs:
    """Pairs of photos with their scores, and the evidence that speaks for each."""

    # int64 [n, 2] of photo ids, the smaller first
    ids: np.ndarray
    # float [n], what the pair is ranked by
    scores: np.ndarray
    evidence: list[dict[str, Any]]

    def as_set(self) -> set[tuple[int, int]]:
        """Return the pairs of photo ids, the smaller first."""
        return {(first, second) for first, second in self.ids.tolist()}


@dataclass(frozen=True)
class NearSamePairs:
    """Pairs that are nearly one photo, and those that would be but for the print on them."""

    same: PhotoPairs
    # pairs of photo ids, the smaller first
    other_prints: set[tuple[int, int]]


@dataclass(frozen=True)
class NeighbourPairs:
    """Each photo with the nearest others by embedding, each pair once."""

    # int64 [n, 2] of photo ids, the smaller first
    ids: np.ndarray
    # float32 [n], of the whole embedding
    cosine: np.ndarray
    # float32 [n], of block g
    general: np.ndarray


def neighbour_pairs(version: IndexVersion, bundle: Bundle, progress: OnProgress) -> NeighbourPairs:
    """Search each photo of an index version for its nearest others."""
    photo_of = np.asarray(version.rows[:, 1])
    first = np.unique(photo_of, return_index=True)[1]
    ids: list[np.ndarray] = []
    cosine: list[np.ndarray] = []
    general: list[np.ndarray] = []
    block = bundle.spec.block_slice("g")
    for start in range(0, len(first), _QUERIES):
        queries = first[start : start + _QUERIES]
        vectors = version.index.vectors(queries)
        hits = version.index.search(vectors, NEAREST + 1)
        at = np.repeat(np.arange(len(queries)), [len(hit) for hit in hits])
        there = np.concatenate([hit.rows for hit in hits])
        ids.append(np.stack([photo_of[queries[at]], photo_of[there]], 1))
        cosine.append(np.concatenate([hit.scores for hit in hits]))
        general.append(block_cosines(vectors[at], version.index.vectors(there), block))
        progress(min(start + _QUERIES, len(first)), len(first))
    if not ids:
        none = np.empty(0, np.float32)
        return NeighbourPairs(np.empty((0, 2), np.int64), none, none)
    pairs = np.sort(np.concatenate(ids), axis=1)
    kept, place = np.unique(pairs, axis=0, return_index=True)
    place = place[kept[:, 0] != kept[:, 1]]
    return NeighbourPairs(
        pairs[place], np.concatenate(cosine)[place], np.concatenate(general)[place]
    )


def near_same_pairs(
    signatures: Signatures,
    store: SignatureStore,
    neighbours: NeighbourPairs | None,
    progress: OnProgress,
    prints: PrintComparison,
) -> NearSamePairs:
    """Find pairs that are nearly one photo: by their codes, and crops by their embeddings.

    One mock-up with two prints is two photos.
    """
    found = _Agreements(prints)
    for places, distance, mirrored in _coarse_pairs(signatures, progress):
        ids = signatures.ids[places]
        first, second = _thumbnails(store, ids)
        if mirrored:
            first = first[:, :, ::-1]
        agreement = aligned_similarity(first, second)
        found.add(ids, agreement, np.full(len(ids), mirrored), hamming=distance)
    if neighbours is not None:
        signed = np.isin(neighbours.ids, signatures.ids).all(axis=1)
        close = np.flatnonzero((neighbours.general >= NEAR_COSINE) & signed)
        for start in range(0, len(close), _PAIRS):
            part = close[start : start + _PAIRS]
            ids = neighbours.ids[part]
            overlap = compare(*_thumbnails(store, ids))
            found.add(ids, overlap.agreement, overlap.mirrored, cosine=neighbours.general[part])
            progress(len(signatures.ids), len(signatures.ids))
    return NearSamePairs(found.pairs(), found.other_prints)


def same_product_pairs(
    neighbours: NeighbourPairs, rule: ProductRule, exclude: set[tuple[int, int]]
) -> PhotoPairs:
    """Select the pairs of one product by the rule, without those in ``exclude``."""
    kept = [
        at
        for at in np.flatnonzero(neighbours.cosine >= rule.threshold).tolist()
        if tuple(neighbours.ids[at].tolist()) not in exclude
    ]
    cosine = neighbours.cosine[kept]
    evidence: list[dict[str, Any]] = [{"cosine": float(one), **rule.evidence()} for one in cosine]
    return PhotoPairs(neighbours.ids[kept], cosine, evidence)


@dataclass
class _Agreements:
    """Pairs whose detail agrees, each with its best agreement and all evidence."""

    prints: PrintComparison
    # pairs that differ by their print alone
    other_prints: set[tuple[int, int]] = field(default_factory=set)
    found: dict[tuple[int, int], tuple[float, dict[str, Any]]] = field(default_factory=dict)

    def add(
        self, ids: np.ndarray, agreement: np.ndarray, mirrored: np.ndarray, **more: np.ndarray
    ) -> None:
        """Keep those of the pairs ``ids`` [n, 2] that agree; ``more``: further evidence [n]."""
        for at in np.flatnonzero(agreement >= SAME).tolist():
            first, second = sorted(ids[at].tolist())
            if (first, second) in self.other_prints:
                continue
            if (first, second) not in self.found and self.prints.differs(
                first, second, mirrored=bool(mirrored[at])
            ):
                self.other_prints.add((first, second))
                continue
            nothing = (0.0, {"hamming": None, "cosine": None})
            score, evidence = self.found.get((first, second), nothing)
            evidence = evidence | {name: values[at].item() for name, values in more.items()}
            if agreement[at] > score:
                score = float(agreement[at])
                evidence |= {"agreement": score, "threshold": SAME, "mirrored": bool(mirrored[at])}
            self.found[first, second] = (score, evidence)

    def pairs(self) -> PhotoPairs:
        ordered = sorted(self.found)
        return PhotoPairs(
            np.array(ordered, np.int64).reshape(-1, 2),
            np.array([self.found[pair][0] for pair in ordered]),
            [self.found[pair][1] for pair in ordered],
        )


def _coarse_pairs(
    signatures: Signatures, progress: OnProgress
) -> Iterator[tuple[np.ndarray, np.ndarray, bool]]:
    """Find pairs with near codes that are roughly the same.

    Yields (places int64 [n, 2], distances [n], whether the first is mirrored).
    """
    total = len(signatures.ids)
    done = 0
    for mirrored in (False, True):
        queries = signatures.mirrored if mirrored else None
        coarse = signatures.coarse[:, :, ::-1] if mirrored else signatures.coarse
        for first, second, distance in near_pairs(
            signatures.codes, NEAR_BITS, queries=queries, portion=_CODES
        ):
            for start in range(0, len(first), _PAIRS):
                part = slice(start, start + _PAIRS)
                a = first[part]
                b = second[part]
                kept = coarse_match(coarse[a], signatures.coarse[b]) & (a < b)
                if kept.any():
                    yield np.stack([a[kept], b[kept]], 1), distance[part][kept], mirrored
            done += _CODES
            progress(min(done // 2, total), total)


def _thumbnails(store: SignatureStore, pairs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the thumbnails of both sides of pairs [n, 2], uint8 [n, 32, 32, 3]."""
    unique, place = np.unique(pairs, return_inverse=True)
    thumbs = store.get(unique)[1]
    place = place.reshape(pairs.shape)
    return thumbs[place[:, 0]], thumbs[place[:, 1]]
