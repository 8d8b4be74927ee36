"""Galleries fitted to a catalog: rows from the examples, bounds from the catalog's near misses."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from PIL import Image

from indexer.imaging.decode import Photo
from indexer.model.few_shot import CATEGORY_SHARES, Background, background, fit_tag
from indexer.model.spec import Block
from indexer.moderation.gallery import Embed, FittedGallery, crops_of, cut_out, see, symbols_of
from indexer.moderation.policy import BannedGallery, Example
from indexer.moderation.template_matching import PreparedPhoto, TemplateBank, find_match
from indexer.moderation.thresholds import FALSE_ALARMS, Rivals, fit_bounds, fit_rivals

_COPY = (
    0.98  # cosine from which a catalog photo is one of the examples itself, not a near miss of them
)
_TRIES, _TRY_SHARE = (
    8,
    0.1,
)  # catalog photos that each example is laid on when held out, and the share it covers


@dataclass(frozen=True)
class CatalogSample:
    """What the catalog shows: all or many of its vectors with their kinds (-1: not known), and some
    of its photos."""

    vectors: np.ndarray  # float32 [M, D]
    groups: np.ndarray  # int [M]
    photos: Iterable[Photo]  # gone through once


def fit_galleries(
    galleries: Mapping[str, BannedGallery],
    embed: Embed,
    blocks: tuple[Block, ...],
    sample: CatalogSample,
    *,
    general: np.ndarray | None = None,
) -> dict[str, FittedGallery]:
    """Rows and bounds of each gallery. Each of its ways to match gets an equal part of the false
    alarms allowed; one that nothing is known about, for want of catalog photos and of examples to
    hold out, gets no bounds.

    Near misses are looked for in all of ``sample.vectors`` as a whole, in ``sample.photos`` in
    parts. Held out are the examples: each is scored by a row made of the others; as a symbol it is
    laid on catalog photos and looked for by the others. ``general`` as ``fewshot.background`` takes
    it.
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
        if "whole" in gallery.match:
            near[name, "whole"] = row.scores(_others(sample.vectors, row.examples)).tolist()
        held_out = {
            match: _laid_on(gallery.examples, grounds)
            if match == "symbol"
            else _left_out(row, behind)
            for match in gallery.match
        }
        each = FALSE_ALARMS / len(gallery.match)
        bounds = {
            match: fit_bounds(
                np.array(near[name, match]), np.array(held_out[match]), false_alarms=each
            )
            for match in gallery.match
        }
        fitted[name] = replace(
            row, bounds={match: found for match, found in bounds.items() if found is not None}
        )
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


def _left_out(row: FittedGallery, behind: Background) -> list[float]:
    """The score of each example by a row made of the others; of a single one there is none."""
    places = np.arange(len(row.examples))
    if len(places) < 2:
        return []
    rests = [_row(row.examples[places != place], behind, row.rivals) for place in places]
    return [
        float(rest.scores(row.examples[[place]])[0])
        for place, rest in zip(places, rests, strict=True)
    ]


def _near_misses(
    galleries: Mapping[str, BannedGallery],
    rows: Mapping[str, FittedGallery],
    embed: Embed,
    photos: Iterable[Photo],
) -> tuple[dict[tuple[str, str], list[float]], list[Photo]]:
    """Scores of the catalog's photos by (gallery, match in parts), and some of the photos."""
    symbols = {
        name: symbols_of(one.examples) for name, one in galleries.items() if "symbol" in one.match
    }
    cropped = [name for name, one in galleries.items() if "crops" in one.match]
    scores: defaultdict[tuple[str, str], list[float]] = defaultdict(list)
    grounds: list[Photo] = []
    for photo in photos if symbols or cropped else ():
        if len(grounds) < _TRIES:
            grounds.append(photo)
        seen = see(photo)
        for name, prepared in symbols.items():
            scores[name, "symbol"].append(_score(prepared, seen))
        if cropped:
            crops = embed([part for _, part in crops_of(photo)])
            for name in cropped:
                scores[name, "crops"].append(float(rows[name].scores(crops).max()))
    return scores, grounds


def _score(symbols: TemplateBank, seen: PreparedPhoto) -> float:
    found = find_match(symbols, seen)
    return max(found.score, 0.0) if found else 0.0


def _laid_on(examples: Sequence[Example], grounds: Sequence[Photo]) -> list[float]:
    """Scores of each example laid on catalog photos, looked for by the other examples."""
    scores = []
    for place, example in enumerate(examples):
        rest = [*examples[:place], *examples[place + 1 :]]
        others = symbols_of(rest)
        for number, ground in enumerate(grounds if rest else ()):
            whole = _with_example(ground, example, number)
            scores.append(_score(others, see(whole)))
    return scores


def _with_example(ground: Photo, example: Example, number: int) -> Photo:
    """A photo with an example's cut-out at one of nine places, by ``number``."""
    pixels, mask = cut_out(example.photo.pixels)
    whole = ground.pixels.copy()
    scale = (_TRY_SHARE * whole.width * whole.height / mask.size) ** 0.5
    size = (max(1, round(mask.shape[1] * scale)), max(1, round(mask.shape[0] * scale)))
    part = Image.fromarray(pixels.astype(np.uint8)).resize(size, Image.Resampling.BILINEAR)
    shape = Image.fromarray((mask * 255).astype(np.uint8)).resize(size, Image.Resampling.BILINEAR)
    across, down = max(0, whole.width - size[0]), max(0, whole.height - size[1])
    whole.paste(part, (across * (number % 3) // 2, down * (number // 3 % 3) // 2), shape)
    return Photo(whole, ground.format, whole.width, whole.height, ground.content_hash)
