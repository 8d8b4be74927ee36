"""Detector of kinds that a policy describes in words, by an image and text pair."""

from __future__ import annotations

from indexer.imaging.decode import Photo
from indexer.moderation.described_kind import BannedWords
from indexer.moderation.detector import (
    DETECTORS,
    Detector,
    DetectorFailedError,
    Evidence,
    PhotoContext,
)
from indexer.moderation.thresholds import Bounds, logistic

# Nats of a prompt's score to a step of the logit.
_UNIT = 4.0


class PromptsDetector(Detector[BannedWords, None]):
    """Compares the photo's block t with the prompts; it asks a person and never blocks."""

    name = "prompts"
    config = BannedWords
    place = 25
    limits = (
        "kinds that words describe, by the text tower of the model's pair; how many are found was "
        "never measured"
    )

    def reads_pixels(self, config: BannedWords) -> bool:
        """The embedding is enough."""
        return False

    def run(self, photo: Photo) -> None:
        """Nothing: the photo is embedded anyway."""

    def judge(self, config: BannedWords, seen: None, context: PhotoContext) -> list[Evidence]:
        """The prompt that tells most of the photo."""
        words = context.words
        if words is None:
            raise DetectorFailedError(
                "prompts have no thresholds yet: they were not fitted to this catalog and model"
            )
        if words.reason is not None:
            raise DetectorFailedError(words.reason)
        if words.bounds is None:
            raise DetectorFailedError("prompts have no threshold yet: the catalog has no photos")
        if context.vectors is None:
            raise DetectorFailedError("prompts need the photo's embedding, and there is none here")
        scores = words.scores(context.vectors).max(axis=0)
        best = int(scores.argmax())
        score = logistic(float(scores[best]), words.bounds.review, _UNIT)
        return [Evidence(score, Bounds(0.5, None), {"text": config.prompts[best]})]


DETECTORS.register(PromptsDetector())
