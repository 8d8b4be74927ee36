"""A banned gallery against photos: as a whole by a few-shot discriminant, in parts by correlation or on crops."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image
from scipy.ndimage import binary_fill_holes, binary_opening

from indexer.decisions import moderation
from indexer.decisions.fewshot import CATEGORY_SHARES, Background, background, fit_tag
from indexer.decisions.moderation import FALSE_ALARMS, Bounds, Seen, Symbols, fit_bounds
from indexer.images import Photo
from indexer.model.spec import Block
from indexer.moderation.policy import Gallery

Embed = Callable[[Sequence[Photo]], np.ndarray]  # photos -> float32 [N, D]
Box = tuple[int, int, int, int]  # x, y, width, height in px of ``Photo.pixels``

_COPY = 0.98  # cosine from which a catalog photo is one of the examples itself, not a near miss of them
_CROP = 0.6  # of each side: the four corners and the middle
_PLAIN = 12.0  # standard deviation of an example's border, of 255, below which it is a ground to be cut away
_APART = 24.0  # difference from the ground, of 255, that makes a pixel part of the example
_TRIES, _TRY_SHARE = 8, 0.1  # catalog photos that each example is laid on when held out, and the share it covers


@dataclass(frozen=True)
class Fitted:
    """What fitting found for one gallery. ``bounds`` by match; of ``whole`` and ``crops`` in the row's own unit."""

    weight: np.ndarray  # float32 [D]: the row whose score says how like the examples a photo is
    bias: float
    examples: np.ndarray  # float32 [n, D]
    bounds: dict[str, Bounds]

    def scores(self, vectors: np.ndarray) -> np.ndarray:
        """float [N] of embeddings [N, D]."""
        return np.asarray(vectors @ self.weight + self.bias)


@dataclass(frozen=True)
class CatalogSample:
    """What the catalog shows: all or many of its vectors with their kinds (-1: not known), and some of its photos."""

    vectors: np.ndarray  # float32 [M, D]
    groups: np.ndarray  # int [M]
    photos: Iterable[Photo]  # gone through once


def fit_galleries(
    galleries: dict[str, Gallery],
    embed: Embed,
    blocks: tuple[Block, ...],
    sample: CatalogSample,
    *,
    general: np.ndarray | None = None,
) -> dict[str, Fitted]:
    """Rows and bounds of each gallery. Each of its ways to match gets an equal part of the false alarms allowed.

    ``general`` as ``fewshot.background`` takes it. Near misses are looked for in all of ``sample.vectors`` as a whole,
    in ``sample.photos`` in parts.
    """
    if not galleries:
        return {}
    behind = background(sample.vectors, sample.groups, blocks, CATEGORY_SHARES, general=general)
    vectors = {name: embed([example.photo for example in one.examples]) for name, one in galleries.items()}
    parts = _scores_in_parts(galleries, vectors, behind, embed, sample)
    fitted = {}
    for name, gallery in galleries.items():
        examples = vectors[name]
        weight, bias = _row(examples, behind)
        others = sample.vectors
        if len(others):
            others = others[(others @ examples.T).max(axis=1) < _COPY]
        held_out = _left_out(examples, behind)
        scores = {"whole": (others @ weight + bias, held_out), **parts[name]}
        share = FALSE_ALARMS / len(gallery.match)
        bounds = {match: fit_bounds(*scores[match], false_alarms=share) for match in gallery.match}
        fitted[name] = Fitted(weight, bias, examples, bounds)
    return fitted


def _row(examples: np.ndarray, behind: Background) -> tuple[np.ndarray, float]:
    row = fit_tag(examples, behind, examples[:0])
    return row.weight, row.bias


def _left_out(examples: np.ndarray, behind: Background) -> np.ndarray:
    """The score [n] of each example by a row made of the others; of a single one there is none."""
    places = np.arange(len(examples))
    found = []
    for place in places if len(examples) > 1 else ():
        weight, bias = _row(examples[places != place], behind)
        found.append(float(examples[place] @ weight + bias))
    return np.array(found)


def _scores_in_parts(
    galleries: dict[str, Gallery],
    vectors: dict[str, np.ndarray],
    behind: Background,
    embed: Embed,
    sample: CatalogSample,
) -> dict[str, dict[str, tuple[np.ndarray, np.ndarray]]]:
    """Of each gallery, by match in parts: the scores of the catalog's photos, and of its own examples held out."""
    symbols = {name: symbols_of(one) for name, one in galleries.items() if "symbol" in one.match}
    rows = {name: _row(vectors[name], behind) for name, one in galleries.items() if "crops" in one.match}
    seen_scores: dict[str, list[float]] = {name: [] for name in symbols}
    crop_scores: dict[str, list[float]] = {name: [] for name in rows}
    grounds: list[Photo] = []
    if symbols or rows:
        for photo in sample.photos:
            if symbols and len(grounds) < _TRIES:
                grounds.append(photo)
            seen = see(photo) if symbols else None
            for name, prepared in symbols.items():
                seen_scores[name].append(_score(prepared, seen))
            crops = embed([part for _, part in crops_of(photo)]) if rows else None
            for name, (weight, bias) in rows.items():
                crop_scores[name].append(float((crops @ weight + bias).max()))
    found: dict[str, dict[str, tuple[np.ndarray, np.ndarray]]] = {name: {} for name in galleries}
    for name, scores in seen_scores.items():
        found[name]["symbol"] = np.array(scores), np.array(_laid_on(galleries[name], grounds))
    for name, scores in crop_scores.items():
        found[name]["crops"] = np.array(scores), _left_out(vectors[name], behind)
    return found


def _score(symbols: Symbols, seen: Seen | None) -> float:
    found = moderation.find(symbols, seen) if seen is not None else None
    return found.score if found else 0.0


def _laid_on(gallery: Gallery, grounds: Sequence[Photo]) -> list[float]:
    """Scores of each example laid on catalog photos, found by the other examples."""
    scores = []
    for place, example in enumerate(gallery.examples):
        rest = gallery.examples[:place] + gallery.examples[place + 1 :]
        if not rest:
            continue
        others = symbols_of(Gallery(rest, gallery.match))
        pixels, mask = cut_out(example.photo.pixels)
        for number, ground in enumerate(grounds):
            whole = ground.pixels.copy()
            scale = (_TRY_SHARE * whole.width * whole.height / mask.size) ** 0.5
            size = (max(1, round(mask.shape[1] * scale)), max(1, round(mask.shape[0] * scale)))
            part = Image.fromarray(pixels.astype(np.uint8)).resize(size, Image.Resampling.BILINEAR)
            shape = Image.fromarray((mask * 255).astype(np.uint8)).resize(size, Image.Resampling.BILINEAR)
            free = (max(0, whole.width - size[0]), max(0, whole.height - size[1]))
            whole.paste(part, (free[0] * (number % 3) // 2, free[1] * (number // 3 % 3) // 2), shape)
            scores.append(_score(others, see(Photo(whole, ground.format, whole.width, whole.height, ""))))
    return scores


def crops_of(photo: Photo) -> list[tuple[Box, Photo]]:
    """The four corners and the middle, 0.6 of each side; a photo of fewer than 2 px a side has none but itself."""
    width, height = photo.pixels.size
    wide, tall = max(1, round(_CROP * width)), max(1, round(_CROP * height))
    right, low = width - wide, height - tall
    places = dict.fromkeys([(0, 0), (right, 0), (0, low), (right, low), (right // 2, low // 2)])
    found = []
    for left, top in places:
        part = photo.pixels.crop((left, top, left + wide, top + tall))
        found.append(((left, top, wide, tall), Photo(part, photo.format, wide, tall, photo.content_hash)))
    return found


def see(photo: Photo) -> Seen:
    """A photo ready for ``find``."""
    pixels = photo.pixels
    scale = moderation.canvas_scale(*pixels.size)
    size = (max(1, round(pixels.width * scale)), max(1, round(pixels.height * scale)))
    small = pixels.resize(size, Image.Resampling.BOX if scale < 1 else Image.Resampling.BILINEAR)
    return moderation.see(np.asarray(small), scale)


def symbols_of(gallery: Gallery) -> Symbols:
    """A gallery's examples, their ground cut away, at every size they are looked for."""
    templates = []
    for example in gallery.examples:
        pixels, mask = cut_out(example.photo.pixels)
        templates.append([_sized(pixels, mask, share) for share in moderation.AREAS])
    return moderation.prepare_symbols(templates)


def cut_out(image: Image.Image) -> tuple[np.ndarray, np.ndarray]:
    """What stands on an example's plain ground: (float32 [h, w, 3], mask float32 [h, w]); without one, all of it."""
    pixels = np.asarray(image, np.float32)
    whole = np.ones(pixels.shape[:2], np.float32)
    edge = max(1, min(image.size) // 50)
    sides = (pixels[:edge], pixels[-edge:], pixels[:, :edge], pixels[:, -edge:])
    border = np.concatenate([side.reshape(-1, 3) for side in sides])
    ground = np.median(border, axis=0)
    if float(np.sqrt(((border - ground) ** 2).mean())) > _PLAIN:
        return pixels, whole
    apart = binary_opening(np.abs(pixels - ground).max(2) > _APART, np.ones((3, 3)))
    shape = binary_opening(binary_fill_holes(apart), np.ones((3, 3)))
    rows, columns = np.flatnonzero(shape.any(1)), np.flatnonzero(shape.any(0))
    if shape.mean() < 0.02:
        return pixels, whole
    window = (slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1))
    return pixels[window], shape[window].astype(np.float32)


def _sized(pixels: np.ndarray, mask: np.ndarray, share: float) -> tuple[np.ndarray, np.ndarray]:
    """A cut-out at the size at which it covers ``share`` of a photo on the canvas."""
    scale = moderation.side_of(share) / mask.size**0.5
    size = (max(1, round(mask.shape[1] * scale)), max(1, round(mask.shape[0] * scale)))
    how = Image.Resampling.BOX if scale < 1 else Image.Resampling.BILINEAR
    small = Image.fromarray(pixels.astype(np.uint8)).resize(size, how)
    shape = Image.fromarray((mask * 255).astype(np.uint8)).resize(size, how)
    return np.asarray(small, np.float32), (np.asarray(shape) > 127).astype(np.float32)
