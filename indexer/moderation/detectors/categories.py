"""Detector of banned categories among the model's predictions."""

from __future__ import annotations

from indexer.imaging.decode import Photo
from indexer.moderation.detector import (
    DETECTORS,
    Detector,
    DetectorFailedError,
    Evidence,
    PhotoContext,
)
from indexer.moderation.named_rule import NamedRule


class CategoriesDetector(Detector[NamedRule, None]):
    """Sums the probabilities of the banned categories under one name."""

    name = "categories"
    config = NamedRule
    place = 30

    def run(self, photo: Photo) -> None:
        """Nothing: the predictions are made anyway."""

    def judge(self, config: NamedRule, seen: None, context: PhotoContext) -> list[Evidence]:
        """Each banned label or path that some predicted category lies in."""
        if context.categories is None:
            raise DetectorFailedError(
                "categories need a model that predicts categories, and there is none here"
            )
        found = []
        for name in config.names:
            within = [
                float(probability)
                for label, probability in context.categories
                if _is_in(label, name)
            ]
            if within:
                found.append(Evidence(min(sum(within), 1.0), config.bounds, {"name": name}))
        return found


def _is_in(label: str, banned: str) -> bool:
    """Whether a label or path is the banned one or lies below it.

    Case and spaces at the ends do not count.
    """
    path = _parts(label)
    wanted = _parts(banned)
    return wanted[0] in path if len(wanted) == 1 else path[: len(wanted)] == wanted


def _parts(name: str) -> list[str]:
    return [part.strip().casefold() for part in name.split(">")]


DETECTORS.register(CategoriesDetector())
