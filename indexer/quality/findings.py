"""What examining a photo yields: one finding per code."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from indexer.imaging.geometry import Box

Level = Literal["ok", "note", "warning", "fail"]
LEVELS: tuple[Level, ...] = ("ok", "note", "warning", "fail")

# Stable, in the order in which findings are given.
CODES: tuple[str, ...] = (
    "no-product",
    "low-resolution",
    "blurred",
    "underexposed",
    "overexposed",
    "low-contrast",
    "noisy",
    "jpeg-blocking",
    "colour-cast",
    "busy-background",
    "product-cut",
    "product-too-small",
    "off-centre",
    "border",
    "text-overlay",
    "collage",
)


@dataclass(frozen=True)
class Measure:
    """One thing measured: ``score`` in [0, 1], 1 = worst, the numbers behind it, and where
    (``None``: everywhere).

    ``box`` is in px of the upright original photo.
    """

    score: float
    evidence: dict[str, float]
    box: Box | None = None


@dataclass(frozen=True)
class Finding:
    """One thing looked for in a photo, whether it is there or not.

    ``score`` in [0, 1], 1 = worst; ``level`` by the profile's floors. ``evidence``: finite numbers
    by name. ``box``: ``(x, y, width, height)`` in px of the upright original photo, or ``None``.
    ``advice``: one sentence each in "en" and "zh". ``percentile``: share in [0, 1] of the shop's
    photos that score less, where the shop's own scores are known.
    """

    code: str
    score: float
    level: Level
    evidence: dict[str, float]
    box: Box | None
    advice: dict[str, str]
    percentile: float | None = None

    def as_json(self) -> dict[str, Any]:
        """Plain values that ``json.dumps`` takes."""
        return {
            "code": self.code,
            "score": self.score,
            "level": self.level,
            "evidence": dict(self.evidence),
            "box": None if self.box is None else list(self.box),
            "advice": dict(self.advice),
            "percentile": self.percentile,
        }


def rising(value: float, half: float) -> float:
    """A measure >= 0 as a score: 0 at 0, 0.5 at ``half``, 1 never reached, so that worse is always
    a higher score."""
    value = max(float(value), 0.0)
    return value / (value + half)
