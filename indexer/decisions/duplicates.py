"""Which photos repeat others: perceptual codes, pairs that are near, groups of pairs, a threshold for one product."""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from PIL import Image
from scipy.fft import dctn

from indexer.decisions.overlap import SIDE, detail, share
from indexer.native import faiss

KINDS = ("same_photo", "near_same_photo", "same_product")
CODE_BYTES = 32
NEAR_BITS = 64  # of 256: what a photo's copy with added text may differ by; resizing and mirroring stay below 24
NEAR_COSINE = 0.8  # of block g: a photo's crop is nearer
FLAT = 0.5  # mean local contrast of 255, below which a photo has nothing to be known by
_COARSE, _COARSE_TOLERANCE, _COARSE_BAND, _COARSE_SHARE = 8, 16.0, 3, 0.6
_FREQUENCIES = 16
_PORTION = 4096
_GREY = np.array([0.299, 0.587, 0.114], np.float32)
PRECISION, LEAST_RECALL, LEAST_PHOTOS = 0.9, 0.05, 30


# -- signatures


def thumbnail(picture: Image.Image) -> np.ndarray:
    """uint8 [32, 32, 3] of an upright RGB picture of any size, each cell the mean of what it covers: all else of a
    photo's signature follows from it."""
    way = Image.Resampling.BOX if min(picture.size) >= SIDE else Image.Resampling.BICUBIC
    return np.asarray(picture.resize((SIDE, SIDE), way))


def codes(thumbs: np.ndarray) -> np.ndarray:
    """uint8 [N, 32]: the perceptual code of thumbnails uint8 [N, 32, 32, 3], 256 bits.

    Each bit says whether one of the 16 x 16 lowest frequencies of the grey picture's DCT is above their median (pHash,
    Zauner 2010). Of a mirrored photo: ``codes(thumbs[:, :, ::-1])``.
    """
    out = np.empty((len(thumbs), CODE_BYTES), np.uint8)
    for start in range(0, len(thumbs), _PORTION):
        grey = thumbs[start : start + _PORTION].astype(np.float32) @ _GREY
        low = dctn(grey, axes=(1, 2))[:, :_FREQUENCIES, :_FREQUENCIES].reshape(len(grey), -1)
        out[start : start + _PORTION] = np.packbits(low >= np.median(low[:, 1:], axis=1, keepdims=True), axis=1)
    return out


def flat(thumbs: np.ndarray) -> np.ndarray:
    """bool [N]: photos of one colour all over. Their codes are noise, so they repeat others by their bytes only."""
    return np.concatenate(
        [detail(thumbs[start : start + _PORTION]) < FLAT for start in range(0, len(thumbs), _PORTION)]
        or [np.empty(0, bool)]
    )


def coarse(thumbs: np.ndarray) -> np.ndarray:
    """uint8 [N, 8, 8, 3]: thumbnails small enough to be held in memory for a whole catalog."""
    step = SIDE // _COARSE
    return thumbs.reshape(-1, _COARSE, step, _COARSE, step, 3).mean((2, 4)).round().astype(np.uint8)


def roughly_same(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """bool [...]: which pairs of ``coarse`` thumbnails [..., 8, 8, 3] are worth a closer look; leading axes broadcast.

    Cheap, and wrong on the safe side.
    """
    return (
        share(first.astype(np.float32), second.astype(np.float32), _COARSE_TOLERANCE, band=_COARSE_BAND)
        >= _COARSE_SHARE
    )


# -- pairs


def near_pairs(
    gallery: np.ndarray, radius: int, *, queries: np.ndarray | None = None, portion: int = _PORTION
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """All pairs at Hamming distance <= ``radius``: portions of (query, entry, distance), int64, none left out.

    ``gallery`` and ``queries`` uint8 [N, bytes]. Without ``queries`` each unordered pair of the gallery comes once
    (query < entry) and no photo with itself. An exhaustive scan: at 256 bits and the distances that text asks for no
    hash table is quicker.
    """
    index = faiss.IndexBinaryFlat(8 * gallery.shape[1])
    index.add(np.ascontiguousarray(gallery))
    asked = gallery if queries is None else queries
    for start in range(0, len(asked), portion):
        limits, distances, entries = index.range_search(
            np.ascontiguousarray(asked[start : start + portion]), radius + 1
        )
        rows = np.repeat(np.arange(start, start + len(limits) - 1), np.diff(limits).astype(np.int64))
        kept = slice(None) if queries is not None else rows < entries
        yield rows[kept], entries[kept], distances[kept].astype(np.int64)


# -- groups


@dataclass(frozen=True)
class Star:
    """A photo and all that directly repeat it: places among the pairs' nodes."""

    centre: int
    members: tuple[int, ...]  # without the centre, nearest first
    pairs: tuple[int, ...]  # of each member its pair with the centre


def stars(first: np.ndarray, second: np.ndarray, scores: np.ndarray) -> list[Star]:
    """Pairs as groups, so that each pair's two are together in one and no chain makes a group.

    In a connected component a repeats b and b repeats c, but a may be nothing like c. So the photo with most pairs left
    takes these and makes a group, until none is left; a photo may stand in several groups.
    """
    around: dict[int, dict[int, int]] = {}
    for pair, (a, b) in enumerate(zip(first.tolist(), second.tolist(), strict=True)):
        around.setdefault(a, {})[b] = pair
        around.setdefault(b, {})[a] = pair
    found, waiting = [], [(-len(left), node) for node, left in around.items()]
    heapq.heapify(waiting)
    while waiting:
        size, centre = heapq.heappop(waiting)
        left = around[centre]
        if len(left) < -size:  # others took some of its pairs: it waits for its turn
            if left:
                heapq.heappush(waiting, (-len(left), centre))
            continue
        members = sorted(left, key=lambda other: (-float(scores[left[other]]), other))
        found.append(Star(centre, tuple(members), tuple(left[other] for other in members)))
        for one in (centre, *members):  # pairs within the group stand in it, whoever they are between
            for other in around[one].keys() & {centre, *members}:
                del around[one][other], around[other][one]
    return found


# -- one product photographed differently


@dataclass(frozen=True)
class ProductRule:
    """From which cosine of the embedding two photos show one product, and how that was measured.

    ``threshold`` None: it cannot be told here, ``reason`` says why, and nobody may claim it.
    """

    threshold: float | None
    reason: str
    precision: float | None = None  # of the nearest photos above the threshold
    recall: float | None = None  # of the photos that have another photo of their product
    photos: int = 0
    positives: str = ""  # where the pairs of one product come from
    version: str = ""  # of the index it was fitted on


def product_rule(own: np.ndarray, other: np.ndarray, *, positives: str, precision: float = PRECISION) -> ProductRule:
    """The least cosine from which on at least ``precision`` of all that is found is right.

    ``own`` float [n]: each question's cosine to a photo of its own product, ``other`` [n]: to the nearest photo of
    another one. From a threshold t on there are hits (own >= t) and false alarms (other >= t), counted alike. A
    product that is listed twice counts as an alarm, so the truth is rather better.
    """
    count = len(own)
    if count < LEAST_PHOTOS:
        return ProductRule(None, f"{count} photos to measure with, {LEAST_PHOTOS} are needed", photos=count)
    values = np.sort(np.unique(np.concatenate([own, other])))
    hits = count - np.searchsorted(np.sort(own), values, side="left")
    alarms = count - np.searchsorted(np.sort(other), values, side="left")
    good = np.flatnonzero((hits >= precision * (hits + alarms)) & (hits >= LEAST_RECALL * count))
    if not len(good):
        reason = (
            f"no threshold finds {LEAST_RECALL:.0%} of repeats at a precision of {precision:.0%}: others look as alike"
        )
        return ProductRule(None, reason, photos=count, positives=positives)
    least = int(good[0])
    found = hits[least] / (hits[least] + alarms[least])
    return ProductRule(float(values[least]), "", float(found), float(hits[least] / count), count, positives)


def block_cosines(first: np.ndarray, second: np.ndarray, columns: tuple[int, int]) -> np.ndarray:
    """float32 [N]: the cosines of one block, ``columns`` (start, stop) of it, of embeddings [N, D] row by row."""
    a, b = (np.asarray(side[:, slice(*columns)], np.float32) for side in (first, second))
    length = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    return np.asarray((a * b).sum(1) / np.maximum(length, 1e-9))
