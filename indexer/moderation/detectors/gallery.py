"""Detector of a banned gallery: its kind, its symbols, their keypoints, and crops of its kind."""

from __future__ import annotations

from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Any

from indexer.imaging.decode import Photo
from indexer.imaging.geometry import Box, box_around
from indexer.moderation.detector import (
    DETECTORS,
    Detector,
    DetectorFailedError,
    Evidence,
    PhotoContext,
)
from indexer.moderation.gallery import BannedGallery, FittedGallery, prepare_for_symbols
from indexer.moderation.keypoint_matching import (
    Keypoints,
    detect_photo,
    find_keypoints,
    find_library,
)
from indexer.moderation.template_matching import PreparedPhoto, find_match
from indexer.moderation.thresholds import Bounds, logistic

# Nats of a row's score to a step of the logit: rows speak in nats of a sharp discriminant.
_UNIT = 4.0
# Agreeing keypoints to the same.
_POINTS = 1.0
# ways that look at the pixels themselves
_IN_PIXELS = frozenset(("symbol", "keypoints"))


@dataclass(frozen=True)
class GalleryPixels:
    """A photo ready to be searched for the symbols and the keypoints of any gallery.

    None of what no gallery asks for, and of keypoints that cannot be found here.
    """

    symbols: PreparedPhoto | None
    keypoints: Keypoints | None


class GalleryDetector(Detector[BannedGallery, GalleryPixels | None]):
    """Matches a photo with a gallery's examples, in the ways that the gallery names."""

    name = "gallery"
    config = BannedGallery
    place = 20
    limits = (
        "symbol finds emblems flat, upright and in the colours of the examples, keypoints those of "
        "many corners, turned, slanted and partly hidden too. Kinds are found where they fill the "
        "photo"
    )

    def reads_pixels(self, config: BannedGallery) -> bool:
        """Only symbols and keypoints are looked for in the pixels."""
        return bool(_IN_PIXELS & set(config.match))

    def prepare(self, config: BannedGallery) -> None:
        """Prepare the symbols ahead of the first photo."""
        if "symbol" in config.match:
            _ = config.symbols

    def run(self, photo: Photo) -> GalleryPixels:
        """The photo, ready to be searched for the symbols and keypoints of any gallery."""
        return _prepare(photo, _IN_PIXELS)

    def run_for(self, photo: Photo, configs: Sequence[BannedGallery]) -> GalleryPixels:
        """The same, as far as one of the galleries is matched so."""
        return _prepare(photo, {match for config in configs for match in config.match})

    def judge(
        self, config: BannedGallery, seen: GalleryPixels | None, context: PhotoContext
    ) -> list[Evidence]:
        """The best match of each way."""
        fitted = context.fitted
        if fitted is None:
            raise DetectorFailedError(
                "gallery has no thresholds yet: it was not fitted to this catalog and model"
            )
        return [_judge_match(match, config, fitted, seen, context) for match in config.match]


def _prepare(photo: Photo, matches: AbstractSet[str]) -> GalleryPixels:
    found = "keypoints" in matches and find_library()[1] is None
    return GalleryPixels(
        prepare_for_symbols(photo) if "symbol" in matches else None,
        detect_photo(photo.pixels) if found else None,
    )


def _judge_match(
    match: str,
    config: BannedGallery,
    fitted: FittedGallery,
    seen: GalleryPixels | None,
    context: PhotoContext,
) -> Evidence:
    if match == "keypoints" and (reason := find_library()[1]) is not None:
        return Evidence(reason=reason)
    bounds = fitted.bounds.get(match)
    if bounds is None:
        return Evidence(
            reason=f"gallery has no threshold for {match} yet: the catalog has no photos"
        )
    if match == "keypoints":
        return _judge_keypoints(config, fitted, bounds, seen, context)
    if match == "symbol" and seen is not None and seen.symbols is not None:
        place = find_match(config.symbols, seen.symbols)
        if place is None:
            return Evidence(0.0, bounds, _details(match, config, context, None, None))
        score = max(place.score, 0.0)
        return Evidence(score, bounds, _details(match, config, context, place.example, place.box))
    vectors, boxes = _whole(context) if match == "whole" else _crops(context)
    scores = fitted.scores(vectors)
    best = int(scores.argmax())
    example = int((fitted.examples @ vectors[best]).argmax())
    return _mapped(
        float(scores[best]),
        bounds,
        _UNIT,
        _details(match, config, context, example, boxes[best]),
    )


def _judge_keypoints(
    config: BannedGallery,
    fitted: FittedGallery,
    bounds: Bounds,
    seen: GalleryPixels | None,
    context: PhotoContext,
) -> Evidence:
    """The example whose points agree best, with its outline on the photo."""
    if seen is None or seen.keypoints is None or fitted.keypoints is None:
        return Evidence(reason="keypoints of the photo or of the gallery were not looked for")
    found = find_keypoints(fitted.keypoints, seen.keypoints)
    if found is None:
        nothing = _details("keypoints", config, context, None, None)
        return _mapped(0.0, bounds, _POINTS, {**nothing, "points": 0, "corners": None})
    scale = seen.keypoints.size[0] / context.photo.pixels.width
    box = box_around(found.corners, scale)
    details = {
        **_details("keypoints", config, context, found.example, box),
        "points": found.points,
        "corners": [context.upright_point(x / scale, y / scale) for x, y in found.corners],
    }
    return _mapped(found.score, bounds, _POINTS, details)


def _mapped(score: float, bounds: Bounds, unit: float, details: dict[str, Any]) -> Evidence:
    """Evidence whose score is mapped to (0, 1) with 0.5 at the threshold."""
    block = None if bounds.block is None else logistic(bounds.block, bounds.review, unit)
    return Evidence(logistic(score, bounds.review, unit), Bounds(0.5, block), details)


def _details(
    match: str,
    config: BannedGallery,
    context: PhotoContext,
    example: int | None,
    box: Box | None,
) -> dict[str, Any]:
    return {
        "match": match,
        "example": None if example is None else config.examples[example].name,
        "box": None if box is None else context.upright(box),
    }


def _whole(context: PhotoContext) -> tuple[Any, list[Box]]:
    """The photo's vectors, each of all of it."""
    if context.vectors is None:
        raise DetectorFailedError("gallery needs the photo's embedding, and there is none here")
    width, height = context.photo.pixels.size
    return context.vectors, [(0, 0, width, height)] * len(context.vectors)


def _crops(context: PhotoContext) -> tuple[Any, list[Box]]:
    """The vectors of the photo's crops, and their boxes."""
    if context.crops is None:
        raise DetectorFailedError("gallery needs the network for crops, and there is none here")
    return context.crops.embedded


DETECTORS.register(GalleryDetector())
