"""Check of one photo against a shop's policies: evidence, scores and verdicts."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from indexer.imaging.decode import Photo
from indexer.moderation.described_kind import FittedWords
from indexer.moderation.detector import (
    DETECTORS,
    DetectorConfig,
    DetectorFailedError,
    Evidence,
    PhotoContext,
    run_detector,
)
from indexer.moderation.gallery import Embed, FittedGallery, PhotoCrops
from indexer.moderation.policy import Policy, PolicySet
from indexer.moderation.text_pattern import PATTERN_S, PatternTimeoutError
from indexer.moderation.thresholds import Verdict, worst

PolicyEvidence = dict[str, Any]


@dataclass(frozen=True)
class PolicyResult:
    """What one policy says of a photo; ``score`` in [0, 1] is that of the evidence that decided.

    Each piece of ``evidence`` holds ``detector``, ``verdict`` and, where the detector ran,
    ``score``, ``review`` and ``block`` (the thresholds in the score's unit; ``block`` null: it only
    asks for review). By detector there are ``example`` (file), ``box`` ([x, y, width, height] in px
    of the upright photo), ``name``, ``format``, ``text``, ``match``; of keypoints ``points`` and
    ``corners``. One that could not run has ``reason`` instead, and the verdict ``review``.
    """

    policy: str
    decision: Verdict
    score: float
    evidence: list[PolicyEvidence]

    def to_json(self) -> dict[str, Any]:
        """Plain values for ``json.dumps``."""
        return asdict(self)


class DetectorResults:
    """What detectors found in the pixels of one photo; for one thread at a time."""

    def __init__(
        self, photo: Photo, rules: Mapping[str, Sequence[DetectorConfig]] | None = None
    ) -> None:
        self.photo = photo
        # by detector the sections of the policies that use it
        self._rules = dict(rules or {})
        # by detector its result, or the error that it raised
        self._results: dict[str, Any] = {}

    def prefetch(self, names: Iterable[str]) -> None:
        """Run detectors that have not run yet. Raises nothing: ``get`` does."""
        for name in names:
            if name not in self._results:
                try:
                    self._results[name] = run_detector(
                        DETECTORS[name], self.photo, self._rules.get(name, ())
                    )
                except Exception as error:
                    self._results[name] = error

    def get(self, name: str) -> Any:
        """Return a detector's result, run at most once. Raises what the detector raised."""
        self.prefetch([name])
        result = self._results[name]
        if isinstance(result, Exception):
            raise result
        return result


class Checker:
    """Checks photos; safe to share between threads.

    ``fitted``: by policy, what fitting found for its gallery; ``words`` for its prompts.
    """

    def __init__(
        self,
        policies: PolicySet,
        fitted: Mapping[str, FittedGallery] | None = None,
        words: Mapping[str, FittedWords] | None = None,
    ) -> None:
        self.policies = policies
        self._fitted = dict(fitted or {})
        self._words = dict(words or {})
        # by detector that reads pixels its sections
        self._pixel_rules: dict[str, list[DetectorConfig]] = {}
        for policy in policies.policies:
            for name, rule in policy.rules.items():
                DETECTORS[name].prepare(rule)
                if DETECTORS[name].reads_pixels(rule):
                    self._pixel_rules.setdefault(name, []).append(rule)

    def detect(self, photo: Photo) -> DetectorResults:
        """Run the policies' detectors that need the pixels alone: most of the work of ``check``."""
        results = DetectorResults(photo, self._pixel_rules)
        results.prefetch(self._pixel_rules)
        return results

    def check(
        self,
        photo: Photo,
        vectors: np.ndarray | None,
        embed: Embed | None,
        categories: Sequence[tuple[str, float]] | None,
        tags: Sequence[tuple[str, float]] | None,
        *,
        results: DetectorResults | None = None,
    ) -> list[PolicyResult]:
        """Return one result for each policy, in the file's order.

        ``vectors`` float32 [1, D] of the whole photo; ``embed`` for crops of it; ``categories``
        (label or path joined by `` > ``, probability) and ``tags`` (tag, confidence). None where it
        cannot be had: what needs it answers ``review``. A detector that several policies use runs
        once; one that is in ``results`` does not run again.
        """
        results = results or DetectorResults(photo, self._pixel_rules)
        crops = None if embed is None else PhotoCrops(results.photo, embed)
        context = PhotoContext(results.photo, vectors, crops, categories, tags)
        return [
            self._check(policy, results, self._for_policy(context, policy))
            for policy in self.policies.policies
        ]

    def _for_policy(self, context: PhotoContext, policy: Policy) -> PhotoContext:
        fitted, words = self._fitted.get(policy.name), self._words.get(policy.name)
        return replace(context, fitted=fitted, words=words)

    def _check(
        self, policy: Policy, results: DetectorResults, context: PhotoContext
    ) -> PolicyResult:
        evidence: list[PolicyEvidence] = []
        for name, rule in policy.rules.items():
            detector = DETECTORS[name]
            try:
                seen = results.get(name) if detector.reads_pixels(rule) else None
                found = detector.judge(rule, seen, context)
            except DetectorFailedError as error:
                found = [Evidence(reason=str(error))]
            except PatternTimeoutError:
                reason = f"{name}: its patterns took more than {PATTERN_S} s on this photo's text"
                found = [Evidence(reason=reason)]
            except Exception as error:
                # A detector's own fault must not pass as "nothing found".
                reason = f"{name} failed: {type(error).__name__}: {error}"[:300]
                found = [Evidence(reason=reason)]
            evidence += [_to_json(name, piece, policy) for piece in found]
        decision = worst(piece["verdict"] for piece in evidence)
        deciding = [piece.get("score", 0.0) for piece in evidence if piece["verdict"] == decision]
        return PolicyResult(policy.name, decision, max(deciding, default=0.0), evidence)


def screen_of(policies: PolicySet) -> Callable[[Photo], bool] | None:
    """Tell whether quick detectors with thresholds of the file ask about a photo.

    None where the file has none that run here.
    """
    counted = []
    for policy in policies.policies:
        rules = {name: rule for name, rule in policy.rules.items() if _is_counted(name)}
        if rules:
            counted.append(replace(policy, rules=rules))
    if not counted:
        return None
    checker = Checker(replace(policies, policies=tuple(counted)))
    return lambda photo: any(
        result.decision != "allow" for result in checker.check(photo, None, None, None, None)
    )


def _is_counted(name: str) -> bool:
    detector = DETECTORS[name]
    return detector.counted and detector.missing() is None


def _to_json(detector: str, found: Evidence, policy: Policy) -> PolicyEvidence:
    """A piece of evidence; its verdict is of the exact score, what is shown is rounded."""
    if found.score is None:
        reason = " ".join((found.reason or "no reason given").split())
        return {"detector": detector, "verdict": "review", "reason": reason}
    block = found.bounds.block
    return {
        "detector": detector,
        "verdict": found.bounds.verdict(found.score, policy.action),
        "score": round(found.score, 6),
        "review": round(found.bounds.review, 6),
        "block": None if block is None or policy.action == "review" else round(block, 6),
        **found.details,
    }
