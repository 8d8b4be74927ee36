"""One photo against a shop's policies: every detector's evidence, and what it comes to."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from indexer.imaging.decode import Photo
from indexer.moderation import detectors
from indexer.moderation.detectors import DetectorFailedError, ScannedCode, TextLine
from indexer.moderation.gallery import Box, Embed, FittedGallery, crops_of, see, symbols_of
from indexer.moderation.policy import Policy, PolicySet
from indexer.moderation.template_matching import PreparedPhoto, find_match
from indexer.moderation.thresholds import Bounds, Verdict, logistic, worst

PolicyEvidence = dict[str, Any]
_CODE_BOUNDS = Bounds(0.5, 0.9)
_SURE_CODE, _DOUBTFUL_CODE = (
    1.0,
    0.6,
)  # scores of formats that protect themselves against misreading, and of others
_UNIT = (
    4.0  # nats of a row's score to a step of the logit: rows speak in nats of a sharp discriminant
)


@dataclass(frozen=True)
class PolicyResult:
    """What one policy says of a photo. ``score`` in [0, 1] is that of the evidence that decided.

    Each piece of ``evidence`` holds ``detector``, ``verdict`` and, where the detector ran,
    ``score``, ``review`` and ``block`` (the thresholds in the score's unit; ``block`` null: it only
    asks for review). By detector there are ``example`` (file), ``box`` ([x, y, width, height] in px
    of the upright photo), ``name``, ``format``, ``text``, ``match``. One that could not run has
    ``reason`` instead, and the verdict ``review``.
    """

    policy: str
    decision: Verdict
    score: float
    evidence: list[PolicyEvidence]

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


class Checker:
    """Checks photos; safe to share between threads. ``fitted``: by policy, what fitting found for
    its gallery."""

    def __init__(
        self, policies: PolicySet, fitted: Mapping[str, FittedGallery] | None = None
    ) -> None:
        self.policies = policies
        self._fitted = dict(fitted or {})
        self._symbols = {
            policy.name: symbols_of(policy.gallery.examples)
            for policy in policies.policies
            if policy.gallery and "symbol" in policy.gallery.match
        }

    def glance(self, photo: Photo) -> DetectorResults:
        """What the policies' detectors that need a photo's pixels alone see in it: most of the work
        of ``check``."""
        glance = DetectorResults(photo)
        needed = {name for policy in self.policies.policies for name in policy.detectors}
        glance.ahead([name for name in ("codes", "nudity", "text") if name in needed])
        if self._symbols:
            glance.ahead(["symbol"])
        return glance

    def check(
        self,
        photo: Photo,
        vectors: np.ndarray | None,
        embed: Embed | None,
        categories: Sequence[tuple[str, float]] | None,
        tags: Sequence[tuple[str, float]] | None,
        *,
        glance: DetectorResults | None = None,
    ) -> list[PolicyResult]:
        """One result for each policy, in the file's order.

        ``vectors`` float32 [1, D] of the whole photo; ``embed`` for crops of it; ``categories``
        (label or path joined by `` > ``, probability) and ``tags`` (tag, confidence). None where it
        cannot be had: what needs it answers ``review``. A detector that several policies use runs
        once; one that ``glance`` has asked does not run again.
        """
        look = _PhotoContext(glance or DetectorResults(photo), vectors, embed)
        return [self._check(policy, look, categories, tags) for policy in self.policies.policies]

    def _check(
        self,
        policy: Policy,
        look: _PhotoContext,
        categories: Sequence[tuple[str, float]] | None,
        tags: Sequence[tuple[str, float]] | None,
    ) -> PolicyResult:
        ways: dict[str, Callable[[], list[PolicyEvidence]]] = {
            "nudity": lambda: _nudity(policy, look),
            "gallery": lambda: self._gallery(policy, look),
            "categories": lambda: _categories(policy, categories),
            "tags": lambda: _tags(policy, tags),
            "codes": lambda: _codes(policy, look),
            "text": lambda: _text(policy, look),
        }
        evidence: list[PolicyEvidence] = []
        for name in policy.detectors:
            try:
                evidence += ways[name]()
            except DetectorFailedError as error:
                evidence.append(_failure(name, str(error)))
            except Exception as error:  # a detector's own fault must not pass as "nothing found"
                evidence.append(
                    _failure(name, f"{name} failed: {type(error).__name__}: {error}"[:300])
                )
        decision = worst(piece["verdict"] for piece in evidence)
        deciding = [piece.get("score", 0.0) for piece in evidence if piece["verdict"] == decision]
        return PolicyResult(policy.name, decision, max(deciding, default=0.0), evidence)

    def _gallery(self, policy: Policy, look: _PhotoContext) -> list[PolicyEvidence]:
        gallery, fitted = policy.gallery, self._fitted.get(policy.name)
        if gallery is None:
            return []
        if fitted is None:
            raise DetectorFailedError(
                "gallery has no thresholds yet: it was not fitted to this catalog and model"
            )
        found = []
        for match in gallery.match:
            bounds = fitted.bounds.get(match)
            if bounds is None:
                found.append(
                    _failure(
                        "gallery",
                        f"gallery has no threshold for {match} yet: the catalog has no photos",
                    )
                )
                continue
            box: Box | None = None
            if match == "symbol":
                place = find_match(self._symbols[policy.name], look.glance.ask("symbol"))
                score, example = (max(place.score, 0.0), place.example) if place else (0.0, None)
                box = place.box if place else None
            else:
                vectors, boxes = look.whole() if match == "whole" else look.crops()
                raw = fitted.scores(vectors)
                best = int(raw.argmax())
                unit = bounds
                bounds = Bounds(
                    0.5, None if unit.block is None else logistic(unit.block, unit.review, _UNIT)
                )
                score, box = logistic(float(raw[best]), unit.review, _UNIT), boxes[best]
                example = int((fitted.examples @ vectors[best]).argmax())
            name = None if example is None else gallery.examples[example].name
            where = None if box is None else look.upright(box)
            found.append(
                _piece("gallery", score, bounds, policy, match=match, example=name, box=where)
            )
        return found


class DetectorResults:
    """One photo, with what detectors see in its pixels alone; for one thread at a time."""

    def __init__(self, photo: Photo) -> None:
        self.photo = photo
        self._found: dict[str, Any] = {}  # by detector what it saw, or the error that it raised

    def ahead(self, names: Sequence[str]) -> None:
        """Have these detectors look now. Raises nothing: ``ask`` does."""
        for name in names:
            if name not in self._found:
                try:
                    self._found[name] = self._look(name)
                except Exception as error:
                    self._found[name] = error

    def ask(self, name: str) -> Any:
        """What a detector sees; it looks once, when first asked or ``ahead``. Raises what it
        raised.

        ``nudity``: float, ``codes``: list of ``ScannedCode``, ``text``: list of ``TextLine``,
        ``symbol``: ``PreparedPhoto``.
        """
        self.ahead([name])
        found = self._found[name]
        if isinstance(found, Exception):
            raise found
        return found

    def _look(self, name: str) -> float | list[ScannedCode] | list[TextLine] | PreparedPhoto:
        if name == "nudity":
            return detectors.nudity_score(self.photo)
        if name == "codes":
            return detectors.read_codes(self.photo)
        return detectors.read_text(self.photo) if name == "text" else see(self.photo)


class _PhotoContext:
    """A glance at a photo, and its vectors: of the whole, and of crops once they are asked for."""

    def __init__(
        self, glance: DetectorResults, vectors: np.ndarray | None, embed: Embed | None
    ) -> None:
        self.glance, self.photo = glance, glance.photo
        self._vectors, self._embed = vectors, embed
        self._cropped: tuple[np.ndarray, list[Box]] | None = None

    def whole(self) -> tuple[np.ndarray, list[Box]]:
        if self._vectors is None:
            raise DetectorFailedError("gallery needs the photo's embedding, and there is none here")
        return self._vectors, [(0, 0, *self.photo.pixels.size)] * len(self._vectors)

    def crops(self) -> tuple[np.ndarray, list[Box]]:
        if self._embed is None:
            raise DetectorFailedError("gallery needs the network for crops, and there is none here")
        if self._cropped is None:
            parts = crops_of(self.photo)
            self._cropped = self._embed([part for _, part in parts]), [box for box, _ in parts]
        return self._cropped

    def upright(self, box: Box) -> list[int]:
        """A box on the decoded pixels as one on the upright original, cut to it."""
        across, down = (
            self.photo.width / self.photo.pixels.width,
            self.photo.height / self.photo.pixels.height,
        )
        x, y, width, height = box
        left, right = (
            min(max(round(side * across), 0), self.photo.width) for side in (x, x + width)
        )
        top, bottom = (
            min(max(round(side * down), 0), self.photo.height) for side in (y, y + height)
        )
        return [left, top, right - left, bottom - top]


def _piece(
    detector: str, score: float, bounds: Bounds, policy: Policy, **more: Any
) -> PolicyEvidence:
    # The verdict is of the exact score; what is shown is rounded.
    verdict = bounds.verdict(score, policy.action)
    block = None if bounds.block is None or policy.action == "review" else round(bounds.block, 6)
    shown = {"score": round(score, 6), "review": round(bounds.review, 6), "block": block}
    return {"detector": detector, "verdict": verdict, **shown, **more}


def _failure(detector: str, reason: str) -> PolicyEvidence:
    return {"detector": detector, "verdict": "review", "reason": " ".join(reason.split())}


def _nudity(policy: Policy, look: _PhotoContext) -> list[PolicyEvidence]:
    return (
        [_piece("nudity", look.glance.ask("nudity"), policy.nudity, policy)]
        if policy.nudity
        else []
    )


def _categories(
    policy: Policy, categories: Sequence[tuple[str, float]] | None
) -> list[PolicyEvidence]:
    banned = policy.categories
    if banned is None:
        return []
    if categories is None:
        raise DetectorFailedError(
            "categories need a model that tells categories, and there is none here"
        )
    found = []
    for name in banned.names:
        within = [float(probability) for label, probability in categories if _is_in(label, name)]
        if within:
            found.append(
                _piece("categories", min(sum(within), 1.0), banned.bounds, policy, name=name)
            )
    return found


def _is_in(label: str, banned: str) -> bool:
    """Whether a label or path is the banned one or lies below it; case and spaces at the ends do
    not count."""
    path, wanted = (
        [part.strip().casefold() for part in name.split(">")] for name in (label, banned)
    )
    if len(wanted) == 1:
        return wanted[0] in path
    return path[: len(wanted)] == wanted


def _tags(policy: Policy, tags: Sequence[tuple[str, float]] | None) -> list[PolicyEvidence]:
    banned = policy.tags
    if banned is None:
        return []
    if tags is None:
        raise DetectorFailedError(
            "tags need a model or an index that suggests tags, and there is none here"
        )
    names = {name.strip().casefold(): name for name in banned.names}
    return [
        _piece("tags", float(confidence), banned.bounds, policy, name=names[tag.strip().casefold()])
        for tag, confidence in tags
        if tag.strip().casefold() in names
    ]


def _codes(policy: Policy, look: _PhotoContext) -> list[PolicyEvidence]:
    rule, found = policy.codes, []
    for code in look.glance.ask("codes") if rule else ():
        if rule is None or code.format in rule.allow_formats:
            continue
        if any(pattern.fullmatch(code.text) for pattern in rule.allow_text):
            continue
        score = _SURE_CODE if code.sure else _DOUBTFUL_CODE
        more = {"format": code.format, "text": code.text, "box": look.upright(code.box)}
        found.append(_piece("codes", score, _CODE_BOUNDS, policy, **more))
    return found


def _text(policy: Policy, look: _PhotoContext) -> list[PolicyEvidence]:
    rule, found = policy.text, []
    for line in look.glance.ask("text") if rule else ():
        if rule is None:
            continue
        bare = "".join(line.text.split()).casefold()
        words = [word for word in rule.words if "".join(word.split()).casefold() in bare]
        matched = words or [
            one.pattern for one in rule.patterns if one.search(line.text) or one.search(bare)
        ]
        if matched:
            more = {"name": matched[0], "text": line.text, "box": look.upright(line.box)}
            found.append(_piece("text", line.confidence, rule.bounds, policy, **more))
    return found
