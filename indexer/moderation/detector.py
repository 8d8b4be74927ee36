"""Detector interface: a policy's section, a pass over the pixels, and its evidence."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from operator import attrgetter
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Generic, Self, TypeVar

import numpy as np
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from indexer.core.registry import LAST, Registry
from indexer.imaging.decode import Photo
from indexer.imaging.geometry import Box
from indexer.moderation.located_yaml import YamlScalar
from indexer.moderation.text_pattern import TextPattern
from indexer.moderation.thresholds import Bounds

if TYPE_CHECKING:
    from indexer.moderation.described_kind import FittedWords
    from indexer.moderation.gallery import FittedGallery, PhotoCrops

DEFAULT_BOUNDS = Bounds(0.5, 0.9)


class DetectorFailedError(Exception):
    """A detector cannot run here; the reason is one line."""


def _require_text(value: Any) -> str:
    if not isinstance(value, str) or not value.strip():
        raise ValueError("must be a text")
    return str(value)


def _parse_share(value: Any) -> Any:
    given = value.value if isinstance(value, YamlScalar) else value
    if isinstance(given, bool) or not isinstance(given, int | float) or not 0 <= given <= 1:
        if not isinstance(value, str | int | float):
            raise ValueError("must be a single value")
        raise ValueError(f"must be a number from 0 to 1, not {str(value)!r}")
    return float(given)


def _compile(value: Any) -> TextPattern:
    text = _require_text(value)
    try:
        return TextPattern(text)
    except re.error as error:
        raise ValueError(f"{text!r} is no regular expression: {error}") from error


# Types of the values in a policy file.
Text = Annotated[str, BeforeValidator(_require_text)]
TextList = Annotated[tuple[Text, ...], Field(min_length=1)]
Pattern = Annotated[TextPattern, BeforeValidator(_compile)]
PatternList = Annotated[tuple[Pattern, ...], Field(min_length=1)]
Share = Annotated[float, BeforeValidator(_parse_share)]


class DetectorConfig(BaseModel):
    """A detector's section of a policy, checked when the file is loaded.

    Values arrive as the file has them (``YamlScalar``, lists, dicts). A validator that raises
    ``ValueError`` says what is wrong; file, line and key are added.
    """

    model_config = ConfigDict(
        frozen=True, extra="forbid", populate_by_name=True, arbitrary_types_allowed=True
    )

    def files(self) -> Iterable[tuple[str, str]]:
        """Name and content hash of each file that the section refers to."""
        return ()

    def patterns_used(self) -> Iterable[TextPattern]:
        """The regular expressions of the section."""
        return ()


class BoundedConfig(DetectorConfig):
    """A section with the scores from which a person is asked and from which a listing is blocked.

    Without ``block`` it is 0.9, or ``review`` if that is higher.
    """

    review: Share = 0.5
    block: Share | None = None

    @model_validator(mode="after")
    def _check_order(self) -> Self:
        bounds = self.bounds
        if not 0 < bounds.review <= (bounds.block or 0.0):
            raise ValueError(
                "review must be above 0 and at most block: they are "
                f"{bounds.review:g} and {bounds.block:g}"
            )
        return self

    @property
    def bounds(self) -> Bounds:
        """The two as thresholds of a score."""
        default = max(DEFAULT_BOUNDS.block or 1.0, self.review)
        return Bounds(self.review, default if self.block is None else self.block)


@dataclass(frozen=True)
class Evidence:
    """One thing a detector found: its score, the bounds that make it a verdict, and details.

    ``details`` are fields of the answer, such as ``name`` or ``box``. ``reason`` instead of a score
    says why this part could not be judged: the verdict is then ``review``.
    """

    score: float | None = None
    bounds: Bounds = DEFAULT_BOUNDS
    details: Mapping[str, Any] = field(default_factory=dict)
    reason: str | None = None


@dataclass(frozen=True)
class PhotoContext:
    """One photo with all that a detector may ask about it, for one policy.

    ``vectors`` float32 [1, D] of the whole photo; ``crops`` of it; ``categories`` (label or path
    joined by `` > ``, probability) and ``tags`` (tag, confidence); ``fitted``: what fitting found
    for the policy's gallery, ``words`` for its prompts. None where it cannot be had.
    """

    photo: Photo
    vectors: np.ndarray | None = None
    crops: PhotoCrops | None = None
    categories: Sequence[tuple[str, float]] | None = None
    tags: Sequence[tuple[str, float]] | None = None
    fitted: FittedGallery | None = None
    words: FittedWords | None = None

    def upright(self, box: Box) -> list[int]:
        """A box on the decoded pixels as one on the upright original, cut to it."""
        photo = self.photo
        x, y, width, height = box
        across = photo.width / photo.pixels.width
        down = photo.height / photo.pixels.height
        left, right = (_clip(side * across, photo.width) for side in (x, x + width))
        top, bottom = (_clip(side * down, photo.height) for side in (y, y + height))
        return [left, top, right - left, bottom - top]

    def upright_point(self, x: float, y: float) -> list[int]:
        """A point on the decoded pixels as one on the upright original, which may lie beside it."""
        photo = self.photo
        across, down = photo.width / photo.pixels.width, photo.height / photo.pixels.height
        return [round(x * across), round(y * down)]


def _clip(value: float, limit: int) -> int:
    return min(max(round(value), 0), limit)


ConfigT = TypeVar("ConfigT", bound=DetectorConfig)
SeenT = TypeVar("SeenT")


class Detector(ABC, Generic[ConfigT, SeenT]):
    """One way to find prohibited content.

    ``name`` is its key in the policy file, ``config`` the model of what stands there. ``package``
    is a module that must be installed for it to run, ``extra`` the extra of this package that
    brings it. ``place``: its rank among the detectors. ``counted``: what it asks about on catalog
    photos goes off the budget that all galleries share; only what takes a few ms a photo.
    ``limits``: what it was not made for, or never measured on, in one line for a shop.
    """

    name: ClassVar[str]
    config: type[ConfigT]
    package: ClassVar[str | None] = None
    extra: ClassVar[str | None] = None
    place: ClassVar[int] = LAST
    counted: ClassVar[bool] = False
    limits: ClassVar[str] = ""

    def missing(self) -> str | None:
        """Say why it cannot run on this machine; None where its package is installed."""
        if self.package is None or find_spec(self.package) is not None:
            return None
        return f"{self.name} needs the package {self.package}: pip install 'catalens[{self.extra}]'"

    def reads_pixels(self, config: ConfigT) -> bool:
        """Whether ``run`` is needed for a policy with this section."""
        return True

    def prepare(self, config: ConfigT) -> None:
        """Do what must be done once for a policy, ahead of the first photo."""

    @abstractmethod
    def run(self, photo: Photo) -> SeenT:
        """Look at the pixels, once for all policies; ``judge`` gets what it returns."""

    def run_for(self, photo: Photo, configs: Sequence[ConfigT]) -> SeenT:
        """``run``, less what none of the policies' sections asks for."""
        return self.run(photo)

    @abstractmethod
    def judge(self, config: ConfigT, seen: SeenT, context: PhotoContext) -> list[Evidence]:
        """Compare with one policy."""


DETECTORS: Registry[Detector[Any, Any]] = Registry(
    "indexer.moderation.detectors", name=attrgetter("name"), place=attrgetter("place")
)


def run_detector(
    detector: Detector[Any, SeenT], photo: Photo, configs: Sequence[DetectorConfig]
) -> SeenT:
    """Run a detector on the pixels. Raises ``DetectorFailedError`` where it cannot."""
    reason = detector.missing()
    if reason:
        raise DetectorFailedError(reason)
    try:
        return detector.run_for(photo, configs)
    except DetectorFailedError:
        raise
    except Exception as error:
        # Whatever a package raises, the photo was not examined.
        line = (str(error).strip().splitlines() or [""])[0]
        raise DetectorFailedError(
            f"{detector.name} failed: {type(error).__name__}: {line[:200]}"
        ) from error
