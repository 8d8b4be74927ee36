"""Photo reviews combined to one verdict on the listing."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from indexer.duplicates.perceptual_hash import KINDS
from service.query.predictions import AttributePrediction
from service.query.response import SuggestedTag
from service.review.result import (
    AI_MADE,
    DuplicateProduct,
    ListingVerdict,
    PhotoReview,
    PolicyReport,
    QualityFinding,
    QualityReport,
    ReviewResult,
)

_ORDER = {"allow": 0, "review": 1, "block": 2}


def combine(
    parts: Sequence[PhotoReview],
    products: list[list[int]],
    *,
    policy_version: str | None,
    duplicates_complete: bool,
) -> ReviewResult:
    """One result for all photos: the surest category and tags, of everything else the worst.

    ``photo`` in its evidence is the place of the listing's photo that it was found on.
    ``products``: the photos that show one product each.
    """
    surest = max(parts, key=_best_probability)
    quality = QualityReport(
        parts[0].quality.profile,
        min(part.quality.score for part in parts),
        _worst_findings(parts),
    )
    prohibited = _worst_policies(parts)
    duplicates = _surest_duplicates([part.duplicates for part in parts])
    looked_alike = _surest_duplicates([part.possible_duplicates or [] for part in parts])
    named = {entry.product_id for entry in duplicates}
    possible = [entry for entry in looked_alike if entry.product_id not in named]
    same_product = None if len(parts) < 2 else len(products) == 1
    reasons = [
        *(f"prohibited:{entry.policy}" for entry in prohibited if entry.decision != "allow"),
        *(f"quality:{entry.code}" for entry in quality.findings if _is_poor(entry)),
        *sorted({f"duplicate:{entry.kind}" for entry in duplicates}),
    ]
    if same_product is False:
        reasons.append("photos:different-products")
    if surest.unknown:
        reasons.append("category:unknown")
    return ReviewResult(
        _verdict({entry.decision for entry in prohibited}, reasons),
        reasons,
        surest.categories[0] if surest.categories else None,
        surest.categories,
        surest.unknown,
        _attributes(surest, parts),
        _surest_tags(parts),
        quality,
        prohibited,
        duplicates,
        same_product,
        products,
        list(parts),
        policy_version,
        duplicates_complete,
        None,
        surest.nearest_kinds,
        possible or None,
    )


def _verdict(decisions: Iterable[str], reasons: Sequence[str]) -> ListingVerdict:
    if "block" in decisions:
        return "block"
    if "review" in decisions:
        return "review"
    return "improve" if reasons else "publish"


def _attributes(surest: PhotoReview, parts: Sequence[PhotoReview]) -> list[AttributePrediction]:
    """What the surest photo shows, and what the file of any photo says of its making."""
    told = {entry.value: entry for part in parts for entry in part.attributes if _is_told(entry)}
    return [entry for entry in surest.attributes if not _is_told(entry)] + list(told.values())


def _is_told(entry: AttributePrediction) -> bool:
    return entry.name == AI_MADE


def _is_poor(finding: QualityFinding) -> bool:
    return finding.level in ("warning", "fail")


def _best_probability(part: PhotoReview) -> float:
    return part.categories[0].probability if part.categories else 0.0


def _surest_tags(parts: Sequence[PhotoReview]) -> list[SuggestedTag]:
    tags: dict[str, SuggestedTag] = {}
    for part in parts:
        for tag in part.tags:
            known = tags.get(tag.tag)
            if known is None or tag.confidence > known.confidence:
                tags[tag.tag] = tag
    return sorted(tags.values(), key=lambda tag: -tag.confidence)


def _worst_findings(parts: Sequence[PhotoReview]) -> list[QualityFinding]:
    findings: dict[str, QualityFinding] = {}
    for place, part in enumerate(parts):
        for finding in part.quality.findings:
            known = findings.get(finding.code)
            if known is None or finding.score > known.score:
                evidence = {"photo": place, **finding.evidence}
                findings[finding.code] = replace(finding, evidence=evidence)
    return list(findings.values())


def _worst_policies(parts: Sequence[PhotoReview]) -> list[PolicyReport]:
    policies: dict[str, PolicyReport] = {}
    for place, part in enumerate(parts):
        for report in part.prohibited:
            evidence = [{"photo": place, **piece} for piece in report.evidence]
            here = replace(report, evidence=evidence)
            known = policies.get(report.policy)
            if known is None:
                policies[report.policy] = here
                continue
            worse = max(known, here, key=lambda entry: (_ORDER[entry.decision], entry.score))
            policies[report.policy] = replace(worse, evidence=known.evidence + evidence)
    return list(policies.values())


def _surest_duplicates(by_photo: Sequence[list[DuplicateProduct]]) -> list[DuplicateProduct]:
    duplicates: dict[str | None, DuplicateProduct] = {}
    for place, repeated in enumerate(by_photo):
        for found in repeated:
            known = duplicates.get(found.product_id)
            if known is None or _rank(found) < _rank(known):
                evidence = {"photo": place, **found.evidence}
                duplicates[found.product_id] = replace(found, evidence=evidence)
    return sorted(duplicates.values(), key=_rank)


def _rank(duplicate: DuplicateProduct) -> tuple[int, float]:
    """The surest kind first, then the highest score."""
    return KINDS.index(duplicate.kind), -duplicate.score
