"""Detector of a banned gallery: photos of its kind, its symbols, and crops of its kind."""

from __future__ import annotations

from typing import Any

from indexer.imaging.decode import Photo
from indexer.imaging.geometry import Box
from indexer.moderation.detector import (
    DETECTORS,
    Detector,
    DetectorFailedError,
    Evidence,
    PhotoContext,
)
from indexer.moderation.gallery import BannedGallery, FittedGallery, prepare_for_symbols
from indexer.moderation.template_matching import PreparedPhoto, find_match
from indexer.moderation.thresholds import Bounds, logistic

# Nats of a row's score to a step of the logit: rows speak in nats of a sharp discriminant.
_UNIT = 4.0


class GalleryDetector(Detector[BannedGallery, PreparedPhoto | None]):
    """Matches a photo with a gallery's examples, in the ways that the gallery names."""

    name = "gallery"
    config = BannedGallery
    place = 20
    limits = (
        "emblems are found flat, upright and in the colours of the examples; of turned, slanted or "
        "half hidden ones few are. Kinds are found where they fill the photo"
    )

    def reads_pixels(self, config: BannedGallery) -> bool:
        """Only symbols are looked for in the pixels."""
        return "symbol" in config.match

    def prepare(self, config: BannedGallery) -> None:
        """Prepare the symbols ahead of the first photo."""
        if self.reads_pixels(config):
            _ = config.symbols

    def run(self, photo: Photo) -> PreparedPhoto:
        """The photo, ready to be searched for the symbols of any gallery."""
        return prepare_for_symbols(photo)

    def judge(
        self, config: BannedGallery, seen: PreparedPhoto | None, context: PhotoContext
    ) -> list[Evidence]:
        """The best match of each way."""
        fitted = context.fitted
        if fitted is None:
            raise DetectorFailedError(
                "gallery has no thresholds yet: it was not fitted to this catalog and model"
            )
        return [_judge_match(match, config, fitted, seen, context) for match in config.match]


def _judge_match(
    match: str,
    config: BannedGallery,
    fitted: FittedGallery,
    seen: PreparedPhoto | None,
    context: PhotoContext,
) -> Evidence:
    bounds = fitted.bounds.get(match)
    if bounds is None:
        return Evidence(
            reason=f"gallery has no threshold for {match} yet: the catalog has no photos"
        )
    if match == "symbol" and seen is not None:
        place = find_match(config.symbols, seen)
        if place is None:
            return Evidence(0.0, bounds, _details(match, config, context, None, None))
        score = max(place.score, 0.0)
        return Evidence(score, bounds, _details(match, config, context, place.example, place.box))
    vectors, boxes = _whole(context) if match == "whole" else _crops(context)
    scores = fitted.scores(vectors)
    best = int(scores.argmax())
    block = None if bounds.block is None else logistic(bounds.block, bounds.review, _UNIT)
    example = int((fitted.examples @ vectors[best]).argmax())
    return Evidence(
        logistic(float(scores[best]), bounds.review, _UNIT),
        Bounds(0.5, block),
        _details(match, config, context, example, boxes[best]),
    )


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
