"""What is prohibited, as plain functions on arrays: bounds from a catalog's near misses, verdicts, symbols found."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy.fft import irfft2, rfft2
from scipy.special import expit, logsumexp

from indexer.decisions.fewshot import Background, fit_tag

Verdict = Literal["allow", "review", "block"]
VERDICTS: tuple[Verdict, ...] = ("allow", "review", "block")

FALSE_ALARMS = 0.005  # share of the catalog's own photos that a gallery may ask a person about
PRECISION = 0.9  # that a block must have kept, over held-out examples and the catalog
_REACHED = 0.5  # of the held-out examples must get over a bound to block, or it says nothing about them

_MOST_RIVALS, _FEWEST = 64, 5  # kinds of the catalog that a banned kind is told from, and photos that one must have

CANVAS = 80  # px of the square that photos are laid on for the search; the area of a photo is _PHOTO squared
_PHOTO = 64.0
# Shares of the photo's area at which an example is looked for. What a match tolerates is a shift of a pixel or two, so
# large examples, which have more pixels, stand closer together.
AREAS = (0.05, 0.068, 0.092, 0.125, 0.165, 0.21, 0.26, 0.32)
_FLAT = 60.0  # variance (of 255 squared, summed over three channels) below which a place is plain and matches nothing
_LARGEST = 0.9  # of the canvas: what a template may cover


def worst(verdicts: Iterable[Verdict]) -> Verdict:
    """The strictest of some verdicts; ``allow`` of none."""
    return max(verdicts, key=VERDICTS.index, default="allow")


@dataclass(frozen=True)
class Bounds:
    """Scores from which a person is asked and from which a listing is blocked; ``block`` None: never."""

    review: float
    block: float | None

    def verdict(self, score: float, limit: Verdict = "block") -> Verdict:
        """What a score comes to, at most ``limit``."""
        if self.block is not None and score >= self.block:
            return limit
        return "review" if score >= self.review else "allow"


def fit_bounds(catalog: np.ndarray, held_out: np.ndarray, *, false_alarms: float = FALSE_ALARMS) -> Bounds | None:
    """Bounds from the scores of the catalog's photos [N] and of examples that took no part in the match [P].

    ``review`` is what a share of ``false_alarms`` of the catalog reaches. ``block`` lies beyond the catalog's highest
    score by as much as that lies beyond ``review``, since a sample's highest is not the highest there is. It holds
    only where at least half of ``held_out`` reach it, with a precision of ``PRECISION`` over both, and the catalog is
    large enough for one false alarm: the highest of few scores says nothing. Without a catalog nothing is blocked, and
    everything above the lowest held-out score is for a person. None of nothing at all.
    """
    if not len(catalog):
        return Bounds(float(held_out.min()), None) if len(held_out) else None
    review, highest = float(np.quantile(catalog, 1 - false_alarms)), float(catalog.max())
    block = float(np.nextafter(highest + (highest - review), np.inf))
    right, wrong = int((held_out >= block).sum()), int((catalog >= block).sum())
    sure = right >= max(1, _REACHED * len(held_out)) and right / (right + wrong) >= PRECISION
    return Bounds(review, block if sure and len(catalog) * false_alarms >= 1 else None)


@dataclass(frozen=True)
class Rivals:
    """What the catalog's own kinds make of an embedding: one row of the discriminant for each of K kinds."""

    weight: np.ndarray  # float32 [K, D]
    bias: np.ndarray  # float32 [K]

    def of(self, vectors: np.ndarray) -> np.ndarray:
        """float [N]: the log of the kinds' summed likelihoods of embeddings [N, D]; 0 where there are no kinds."""
        if not len(self.bias):
            return np.zeros(len(vectors))
        return np.asarray(logsumexp(vectors @ self.weight.T + self.bias, axis=1))


def fit_rivals(catalog: np.ndarray, groups: np.ndarray, behind: Background) -> Rivals:
    """Of a catalog's vectors [M, D] and their kinds int [M] (-1: not known): of its 64 commonest, from 5 photos on.

    A row for banned examples less ``Rivals.of`` is the log odds of the banned kind against all known ones. On classes
    held out of training that ranks better than the row alone, which measures likeness against the catalog's mean.
    """
    kinds, counts = np.unique(groups[groups >= 0], return_counts=True)
    order = np.argsort(-counts, kind="stable")[:_MOST_RIVALS]
    rows = [
        fit_tag(catalog[groups == kind], behind, catalog[:0])
        for kind, count in zip(kinds[order], counts[order], strict=True)
        if count >= _FEWEST
    ]
    if not rows:
        return Rivals(np.zeros((0, len(behind.scale)), np.float32), np.zeros(0, np.float32))
    return Rivals(np.stack([row.weight for row in rows]), np.array([row.bias for row in rows], np.float32))


def logistic(score: float, review: float, scale: float) -> float:
    """A score of any unit to (0, 1), in the same order: 0.5 at ``review``, ``scale`` units to a step of the logit."""
    return float(expit((score - review) / scale))


@dataclass(frozen=True)
class Symbols:
    """Examples ready to be looked for in photos, each at all of ``AREAS``. T templates."""

    spectra: np.ndarray  # complex64 [T, 4, CANVAS, CANVAS // 2 + 1]: of the zero-mean unit template and of its mask
    example: np.ndarray  # int [T]
    size: np.ndarray  # int [T, 2], height and width on the canvas
    inside: np.ndarray  # float32 [T], canvas pixels under the mask


@dataclass(frozen=True)
class Seen:
    """A photo ready to be looked through."""

    spectrum: np.ndarray  # complex64 [4, CANVAS, CANVAS // 2 + 1]: three channels and their summed squares
    size: tuple[int, int]  # height and width on the canvas
    scale: float  # canvas px per px of the photo


@dataclass(frozen=True)
class Found:
    """Where an example matches best. ``score`` is the correlation of its colours with the place's, in [-1, 1]."""

    score: float
    example: int
    box: tuple[int, int, int, int]  # x, y, width, height in px of the photo


def canvas_scale(width: int, height: int) -> float:
    """Canvas px per px of a photo: its area becomes that of a square of 64 px, its long side at most the canvas."""
    return float(min(_PHOTO / np.sqrt(width * height), CANVAS / max(width, height)))


def side_of(share: float) -> float:
    """Side, in canvas px, of a square that covers ``share`` of a photo's area."""
    return float(_PHOTO * np.sqrt(share))


def see(small: np.ndarray, scale: float) -> Seen:
    """A photo for ``find``: ``small`` uint8 [h, w, 3], already scaled by ``canvas_scale``."""
    height, width = small.shape[:2]
    values = small.astype(np.float32)
    values -= values.mean((0, 1))  # smaller numbers, smaller errors; a correlation does not feel it
    laid = np.zeros((4, CANVAS, CANVAS), np.float32)
    laid[:3, :height, :width] = values.transpose(2, 0, 1)
    laid[3, :height, :width] = (values * values).sum(2)
    return Seen(rfft2(laid), (height, width), scale)


def prepare_symbols(templates: Sequence[Sequence[tuple[np.ndarray, np.ndarray]]]) -> Symbols:
    """``templates``: for each example its (pixels float [h, w, 3], mask float [h, w]) at some of ``AREAS``.

    One that is flat, or larger than the canvas, is left out.
    """
    spectra, example, size, inside = [], [], [], []
    for number, sizes in enumerate(templates):
        for pixels, mask in sizes:
            height, width = mask.shape
            count = float(mask.sum())
            if max(height, width) > _LARGEST * CANVAS or count < 4:
                continue
            weight = mask[..., None]
            centred = (pixels - (pixels * weight).sum((0, 1)) / count) * weight
            length = float(np.sqrt((centred * centred).sum()))
            if length * length < _FLAT * count:
                continue
            laid = np.zeros((4, CANVAS, CANVAS), np.float32)
            laid[:3, :height, :width] = (centred / length).transpose(2, 0, 1)
            laid[3, :height, :width] = mask
            spectra.append(np.conj(rfft2(laid)).astype(np.complex64))
            example.append(number)
            size.append((height, width))
            inside.append(count)
    shape = (0, 4, CANVAS, CANVAS // 2 + 1)
    return Symbols(
        np.stack(spectra) if spectra else np.zeros(shape, np.complex64),
        np.array(example, np.int64),
        np.array(size, np.int64).reshape(-1, 2),
        np.array(inside, np.float32),
    )


def find(symbols: Symbols, photo: Seen) -> Found | None:
    """The best match of all examples at all sizes and places; None where no template fits into the photo.

    Normalised cross-correlation over three colour channels under the template's mask (Lewis 1995, "Fast normalized
    cross-correlation"), by FFT: the photo's transform is shared by all templates.
    """
    height, width = photo.size
    fits = np.flatnonzero((symbols.size[:, 0] <= height) & (symbols.size[:, 1] <= width))
    if not len(fits):
        return None
    spectra, canvas = symbols.spectra[fits], (CANVAS, CANVAS)
    count = symbols.inside[fits][:, None, None]
    product = irfft2((spectra[:, :3] * photo.spectrum[:3]).sum(1), s=canvas)
    means = irfft2(spectra[:, 3:] * photo.spectrum[:3], s=canvas)
    squares = irfft2(spectra[:, 3] * photo.spectrum[3], s=canvas)
    spread = np.maximum(squares - (means * means).sum(1) / count, _FLAT * count)
    scores = product / np.sqrt(spread)
    best: tuple[float, int, int, int] | None = None
    for place, (tall, wide) in enumerate(symbols.size[fits].tolist()):
        valid = scores[place, : height - tall + 1, : width - wide + 1]
        top, left = divmod(int(valid.argmax()), valid.shape[1])
        if best is None or valid[top, left] > best[0]:
            best = (float(valid[top, left]), place, top, left)
    if best is None:
        return None
    score, place, top, left = best
    template = fits[place]
    sides = (left, top, int(symbols.size[template, 1]), int(symbols.size[template, 0]))
    x, y, w, h = (round(side / photo.scale) for side in sides)
    return Found(min(score, 1.0), int(symbols.example[template]), (x, y, w, h))
