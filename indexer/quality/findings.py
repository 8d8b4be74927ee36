"""Quality findings: their description, registry and result."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Literal

from indexer.core.registry import LAST, Registry
from indexer.imaging.geometry import Box
from indexer.quality.advice_template import Advice

if TYPE_CHECKING:
    from indexer.quality.analyzed_photo import AnalyzedPhoto

Level = Literal["ok", "note", "warning", "fail"]
LEVELS: tuple[Level, ...] = ("ok", "note", "warning", "fail")

# Profiles that every finding has floors for; ``quality.profiles`` says what they are.
PROFILE_NAMES = ("studio", "marketplace")
# a floor that no score reaches
NEVER = 2.0


@dataclass(frozen=True)
class Floors:
    """Scores from which a finding is a note, a warning, a failure.

    ``weight`` in [0, 1] is its part in the photo's overall score.
    """

    note: float
    warning: float
    fail: float
    weight: float = 1.0

    def level(self, score: float) -> Level:
        """The level that a score reaches."""
        if score >= self.fail:
            return "fail"
        if score >= self.warning:
            return "warning"
        return "note" if score >= self.note else "ok"


@dataclass(frozen=True)
class Measure:
    """One measurement of a photo: ``score`` in [0, 1], 1 = worst, and the numbers behind it.

    ``box`` is in px of the upright original photo, ``None`` for all of it.
    """

    score: float
    evidence: dict[str, float]
    box: Box | None = None


@dataclass(frozen=True)
class FindingSpec:
    """All that defines one finding: add it to a module of ``quality.checks``, or to a new one.

    ``code`` is its stable name, ``check`` measures it, ``floors`` by profile say from which score
    it counts, ``advice`` tells the merchant what to do. ``place``: its rank among the findings.
    """

    code: str
    check: Callable[[AnalyzedPhoto], Measure]
    floors: Mapping[str, Floors]
    advice: Advice
    place: int = LAST

    def __post_init__(self) -> None:
        if set(self.floors) != set(PROFILE_NAMES):
            raise ValueError(f"{self.code} needs floors for {', '.join(PROFILE_NAMES)}")


FINDINGS: Registry[FindingSpec] = Registry(
    "indexer.quality.checks", name=attrgetter("code"), place=attrgetter("place")
)


@dataclass(frozen=True)
class Finding:
    """The result of one check of a photo, also where nothing is wrong.

    ``score`` in [0, 1], 1 = worst; ``level`` by the profile's floors. ``evidence``: finite numbers
    by name. ``box``: x, y, width, height in px of the upright original photo, or ``None``.
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


def saturate(value: float, half: float) -> float:
    """Map a measure >= 0 to a score: 0 at 0, 0.5 at ``half``, rising, 1 never reached."""
    value = max(float(value), 0.0)
    return value / (value + half)
