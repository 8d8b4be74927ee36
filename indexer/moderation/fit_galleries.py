"""Fit of galleries to a catalog: rows from the examples, bounds from the near misses."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from PIL import Image

from indexer.imaging.decode import Photo
from indexer.imaging.geometry import scaled_size
from indexer.model.few_shot import CATEGORY_SHARES, Background, background, fit_tag
from indexer.model.spec import Block
from indexer.moderation.gallery import (
    BannedGallery,
    Embed,
    Example,
    FittedGallery,
    PhotoCrops,
    cut_out,
    prepare_for_symbols,
    prepare_symbols,
)
from indexer.moderation.template_matching import PreparedPhoto, TemplateBank, find_match
from indexer.moderation.thresholds import FALSE_ALARMS, Rivals, fit_bounds, fit_rivals

# cosine from which a catalog photo is one of the examples itself, not a near miss of them
_COPY = 0.98
# catalog photos that each example is pasted on when held out, and the share it covers
_TRIES = 8
_TRY_SHARE = 0.1


@dataclass(frozen=True)
class CatalogSample:
    """Vectors of the catalog, all or many, with their kinds (-1: not known), and some photos."""

    vectors: np.ndarray  # float32 [M, D]
    groups: np.ndarray  # int [M]
    # iterated once
    photos: Iterable[Photo]


def fit_galleries(
    galleries: Mapping[str, BannedGallery],
    embed: Embed,
    blocks: tuple[Block, ...],
    sample: CatalogSample,
    *,
    general: np.ndarray | None = None,
) -> dict[str, FittedGallery]:
    """Fit rows and bounds of each gallery.

    Each of its ways to match gets an equal part of the false alarms allowed; one that nothing is
    known about, for want of catalog photos and of examples to hold out, gets no bounds.

    Near misses are looked for in all of ``sample.vectors`` as a whole, in ``sample.photos`` in
    parts. Held out are the examples: each is scored by a row made of the others; as a symbol it is
    pasted on catalog photos and looked for by the others. ``general`` as ``few_shot.background``
    takes it.
    """
    if not galleries:
        return {}
    behind = background(sample.vectors, sample.groups, blocks, CATEGORY_SHARES, general=general)
    rivals = fit_rivals(sample.vectors, sample.groups, behind)
    rows = {
        name: _row(_vectors(gallery, embed, behind), behind, rivals)
        for name, gallery in galleries.items()
    }
    near, grounds = _near_misses(galleries, rows, embed, sample.photos)
    fitted = {}
    for name, gallery in galleries.items():
        row = rows[name]
        each = FALSE_ALARMS / len(gallery.match)
        bounds = {}
        for match in gallery.match:
            if match == "whole":
                near[name, match] = row.scores(_others(sample.vectors, row.examples)).tolist()
            if match == "symbol":
                held_out = _score_pasted(gallery.examples, grounds)
            else:
                held_out = _score_left_out(row, behind)
            found = fit_bounds(np.array(near[name, match]), np.array(held_out), false_alarms=each)
            if found is not None:
                bounds[match] = found
        fitted[name] = replace(row, bounds=bounds)
    return fitted


def _vectors(gallery: BannedGallery, embed: Embed, behind: Background) -> np.ndarray:
    if not {"whole", "crops"} & set(gallery.match):
        return np.zeros((0, len(behind.scale)), np.float32)
    return embed([example.photo for example in gallery.examples])


def _row(examples: np.ndarray, behind: Background, rivals: Rivals) -> FittedGallery:
    if not len(examples):
        return FittedGallery(np.zeros(len(behind.scale), np.float32), 0.0, rivals, examples, {})
    row = fit_tag(examples, behind, examples[:0])
    return FittedGallery(row.weight, row.bias, rivals, examples, {})


def _others(catalog: np.ndarray, examples: np.ndarray) -> np.ndarray:
    """The catalog's vectors without copies of the examples."""
    return catalog[(catalog @ examples.T).max(axis=1) < _COPY] if len(catalog) else catalog


def _score_left_out(row: FittedGallery, behind: Background) -> list[float]:
    """Score each example by a row made of the others; a single one has no score."""
    places = np.arange(len(row.examples))
    if len(places) < 2:
        return []
    rests = [_row(row.examples[places != place], behind, row.rivals) for place in places]
    pairs = zip(places, rests, strict=True)
    return [float(rest.scores(row.examples[[place]])[0]) for place, rest in pairs]


def _near_misses(
    galleries: Mapping[str, BannedGallery],
    rows: Mapping[str, FittedGallery],
    embed: Embed,
    photos: Iterable[Photo],
) -> tuple[dict[tuple[str, str], list[float]], list[Photo]]:
    """Scores of the catalog's photos by (gallery, match in parts), and some of the photos."""
    symbols = {name: one.symbols for name, one in galleries.items() if "symbol" in one.match}
    cropped = [name for name, one in galleries.items() if "crops" in one.match]
    scores: defaultdict[tuple[str, str], list[float]] = defaultdict(list)
    grounds: list[Photo] = []
    for photo in photos if symbols or cropped else ():
        if len(grounds) < _TRIES:
            grounds.append(photo)
        seen = prepare_for_symbols(photo)
        for name, prepared in symbols.items():
            scores[name, "symbol"].append(_score(prepared, seen))
        if cropped:
            crops, _ = PhotoCrops(photo, embed).embedded
            for name in cropped:
                scores[name, "crops"].append(float(rows[name].scores(crops).max()))
    return scores, grounds


def _score(symbols: TemplateBank, seen: PreparedPhoto) -> float:
    found = find_match(symbols, seen)
    return max(found.score, 0.0) if found else 0.0


def _score_pasted(examples: Sequence[Example], grounds: Sequence[Photo]) -> list[float]:
    """Score each example, pasted on catalog photos, by the other examples."""
    scores = []
    for place, example in enumerate(examples):
        rest = [*examples[:place], *examples[place + 1 :]]
        others = prepare_symbols(rest)
        for number, ground in enumerate(grounds if rest else ()):
            pasted = _paste(ground, example, number)
            scores.append(_score(others, prepare_for_symbols(pasted)))
    return scores


def _paste(ground: Photo, example: Example, number: int) -> Photo:
    """Paste an example's cut-out on a photo, at one of nine places by ``number``."""
    pixels, mask = cut_out(example.photo.pixels)
    whole = ground.pixels.copy()
    scale = (_TRY_SHARE * whole.width * whole.height / mask.size) ** 0.5
    size = scaled_size((mask.shape[1], mask.shape[0]), scale)
    part = Image.fromarray(pixels.astype(np.uint8)).resize(size, Image.Resampling.BILINEAR)
    shape = Image.fromarray((mask * 255).astype(np.uint8)).resize(size, Image.Resampling.BILINEAR)
    across, down = max(0, whole.width - size[0]), max(0, whole.height - size[1])
    whole.paste(part, (across * (number % 3) // 2, down * (number // 3 % 3) // 2), shape)
    return Photo(whole, ground.format, whole.width, whole.height, ground.content_hash)
