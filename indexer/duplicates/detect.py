"""Detection of a new photo's duplicates: the same photo, nearly the same, or the same product."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from indexer.catalog.store import Catalog
from indexer.duplicates.alignment import SAME, Overlap, aligned_similarity, compare
from indexer.duplicates.hash_store import SignatureIndex, SignatureStore
from indexer.duplicates.perceptual_hash import (
    KINDS,
    NEAR_BITS,
    coarse_match,
    coarse_thumbnails,
    is_uniform,
    thumbnail,
)
from indexer.duplicates.print_difference import PrintComparison
from indexer.duplicates.same_product import NEAR_COSINE, ProductRule, block_cosines
from indexer.imaging.decode import Photo
from indexer.index.live import LiveIndex
from indexer.index.product_hits import ProductHits
from indexer.model.spec import ModelSpec

# Photos by embedding that are compared.
NEAREST = 8
# Photos by code that are aligned with the new one.
_ALIGNED = 32


@dataclass(frozen=True)
class NeighbourPhoto:
    """A catalog photo near a new one by embedding."""

    pid: int
    photo_id: int
    # Cosine of the whole embedding.
    score: float
    # Cosine of block g.
    general: float


@dataclass(frozen=True)
class Repeat:
    """A product that a photo repeats. ``score`` in [0, 1] ranks within a kind."""

    # One of ``perceptual_hash.KINDS``.
    kind: str
    product_id: str
    # Content hash.
    photo: str
    score: float
    # hamming of 256, cosine, agreement, mirrored, threshold
    evidence: dict[str, Any] = field(default_factory=dict)
    # Without it, a suggestion.
    is_claimed: bool = True


def nearest(
    live: LiveIndex,
    vector: np.ndarray,
    spec: ModelSpec,
    *,
    k: int = NEAREST,
    hits: ProductHits | None = None,
) -> list[NeighbourPhoto]:
    """Find the photos nearest to ``vector`` float32 [1, D], one of each product.

    ``hits``: what a search for them has found already.
    """
    if hits is None:
        hits = live.search(vector, k)[0]
    stored, there = live.vectors_at(hits.pids, hits.photo_ids)
    general = block_cosines(np.broadcast_to(vector, stored.shape), stored, spec.block_slice("g"))
    return [
        NeighbourPhoto(int(pid), int(photo_id), float(score), float(g))
        for pid, photo_id, score, g, found in zip(
            hits.pids, hits.photo_ids, hits.scores, general, there, strict=True
        )
        if found
    ]


def find_repeats(
    catalog: Catalog,
    index: SignatureIndex,
    store: SignatureStore,
    photo: Photo,
    *,
    neighbours: Sequence[NeighbourPhoto] = (),
    rule: ProductRule | None = None,
    exclude: Iterable[int] = (),
    prints: PrintComparison | None = None,
) -> list[Repeat]:
    """Find the products that ``photo`` repeats, each once by its strongest kind.

    The surest kind comes first, then the best score. ``neighbours``: what ``nearest`` found for the
    photo's vector; without it crops are not found, nor products photographed differently. ``rule``:
    what ``product_threshold.load_rule`` returns; without a threshold there is no ``same_product``,
    and what the rule may not claim is a suggestion. ``exclude``: pids that do not count (the
    listing itself). ``prints`` tells one mock-up with another print from a copy; without it the two
    are one. Products deleted since are never named.
    """
    judged: dict[int, tuple[str, float, dict[str, Any]]] = {}  # by photo id
    row = catalog.photo(photo.content_hash)
    if row is not None:
        judged[row.photo_id] = ("same_photo", 1.0, {"content_hash": photo.content_hash})
    near_same = _near_same(index, store, photo, neighbours)
    other_prints: set[int] = set()
    if prints is not None and near_same:
        turned = [bool(evidence["mirrored"]) for _, _, evidence in near_same]
        ids = [photo_id for photo_id, _, _ in near_same]
        other_prints = prints.differs_from(photo.pixels, ids, turned)
    for photo_id, score, evidence in near_same:
        if photo_id not in other_prints:
            judged.setdefault(photo_id, ("near_same_photo", score, evidence))
    for photo_id, score, evidence in _same_products(neighbours, rule, other_prints):
        judged.setdefault(photo_id, ("same_product", score, evidence))
    holders = catalog.holders(judged)
    excluded = set(exclude)
    # Pid -> rank of kind, -score, photo id.
    best: dict[int, tuple[int, float, int]] = {}
    for photo_id, (kind, score, _) in judged.items():
        for pid in holders.get(photo_id, ()):
            entry = (KINDS.index(kind), -score, photo_id)
            if pid not in excluded and entry < best.get(pid, (len(KINDS), 0.0, 0)):
                best[pid] = entry
    names = catalog.ids_of(best)
    photos = catalog.photos_by_id({photo_id for _, _, photo_id in best.values()})
    return [
        Repeat(
            KINDS[kind],
            names[pid],
            photos[photo_id].content_hash,
            -score,
            judged[photo_id][2],
            KINDS[kind] != "same_product" or (rule is not None and rule.is_claimed),
        )
        for pid, (kind, score, photo_id) in sorted(
            best.items(), key=lambda item: (*item[1], item[0])
        )
        if pid in names and photo_id in photos
    ]


def _same_products(
    neighbours: Sequence[NeighbourPhoto], rule: ProductRule | None, exclude: set[int]
) -> list[tuple[int, float, dict[str, Any]]]:
    """Return (photo id, cosine, evidence) of the neighbours above the rule's threshold.

    ``exclude``: photo ids.
    """
    if rule is None or rule.threshold is None:
        return []
    return [
        (found.photo_id, found.score, {"cosine": found.score, **rule.evidence()})
        for found in neighbours
        if found.score >= rule.threshold and found.photo_id not in exclude
    ]


def _near_same(
    index: SignatureIndex,
    store: SignatureStore,
    photo: Photo,
    neighbours: Sequence[NeighbourPhoto],
) -> list[tuple[int, float, dict[str, Any]]]:
    """Return (photo id, agreement, evidence) of the photos that are nearly this one."""
    thumb = thumbnail(photo.pixels)
    if is_uniform(thumb[None])[0]:
        return []
    signatures = index.signatures
    places, distances = signatures.near(thumb, NEAR_BITS)
    small = signatures.coarse[places]
    # The photo as it is and mirrored against all of them at once.
    both_ways = coarse_thumbnails(np.stack([thumb, thumb[:, ::-1]]))[:, None]
    rough = np.flatnonzero(coarse_match(both_ways, small).any(0))[:_ALIGNED]
    by_code = dict(
        zip(signatures.ids[places[rough]].tolist(), distances[rough].tolist(), strict=True)
    )
    by_vector = {
        found.photo_id: found.general for found in neighbours if found.general >= NEAR_COSINE
    }
    judged = _overlaps(store, thumb, list(by_code), aligned=False)
    # What lies on it as it is needs no search for the crop that it may be.
    unsure = [i for i in by_vector if judged.get(i, (0.0, False))[0] < SAME]
    judged |= _overlaps(store, thumb, unsure, aligned=True)
    return [
        (
            photo_id,
            agreement,
            {
                "agreement": agreement,
                "threshold": SAME,
                "mirrored": mirrored,
                # None: beyond 64 of 256 bits, found by its embedding.
                "hamming": by_code.get(photo_id),
                "cosine": by_vector.get(photo_id),
            },
        )
        for photo_id, (agreement, mirrored) in judged.items()
        if agreement >= SAME
    ]


def _overlaps(
    store: SignatureStore, thumb: np.ndarray, photo_ids: list[int], *, aligned: bool
) -> dict[int, tuple[float, bool]]:
    """Compare with those that have a signature: photo id -> (agreement, is it mirrored)."""
    there, thumbs = store.get(photo_ids)
    if not there.any():
        return {}
    thumbs = thumbs[there]
    if aligned:
        overlap = compare(np.broadcast_to(thumb, thumbs.shape), thumbs)
    else:
        plain, turned = aligned_similarity(np.stack([thumb, thumb[:, ::-1]])[:, None], thumbs)
        overlap = Overlap(np.maximum(plain, turned), turned > plain)
    ids = [photo_id for photo_id, found_it in zip(photo_ids, there, strict=True) if found_it]
    found = zip(overlap.agreement.tolist(), overlap.mirrored.tolist(), strict=True)
    return dict(zip(ids, found, strict=True))
