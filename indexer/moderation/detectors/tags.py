"""Detector of banned tags among the suggested ones."""

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


class TagsDetector(Detector[NamedRule, None]):
    """Finds banned tags by name, in any case."""

    name = "tags"
    config = NamedRule
    place = 40

    def run(self, photo: Photo) -> None:
        """Nothing: the suggestions are made anyway."""

    def judge(self, config: NamedRule, seen: None, context: PhotoContext) -> list[Evidence]:
        """Each suggested tag that is banned."""
        if context.tags is None:
            raise DetectorFailedError(
                "tags need a model or an index that suggests tags, and there is none here"
            )
        banned = {name.strip().casefold(): name for name in config.names}
        found = []
        for tag, confidence in context.tags:
            name = banned.get(tag.strip().casefold())
            if name is not None:
                found.append(Evidence(float(confidence), config.bounds, {"name": name}))
        return found


DETECTORS.register(TagsDetector())
