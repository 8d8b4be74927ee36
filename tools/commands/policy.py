"""Command ``policy``: policy file of prohibited content."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tools.options import AnyPath, json_option
from tools.output import log, print_result, print_table

if TYPE_CHECKING:
    from indexer.moderation.alarm_budget import AlarmReport
    from indexer.moderation.policy import Policy


@click.group("policy")
def policy() -> None:
    """Check the file of prohibited content."""


@policy.command("check")
@click.argument("file", type=AnyPath)
@click.option(
    "--home",
    type=AnyPath,
    envvar="CATALENS_HOME",
    help="Say too whether this home is fitted to the file.",
)
@json_option
def check(file: Path, home: Path | None, as_json: bool) -> None:
    """Check FILE and the galleries it names.

    Prints what each policy is made of and which detectors can run here.
    """
    from indexer.moderation.detector import DETECTORS
    from indexer.moderation.policy import load_policies

    loaded = load_policies(file)
    document: dict[str, Any] = {
        "file": str(file),
        "policy_version": loaded.policy_version,
        "false_alarms": loaded.false_alarms,
        "policies": [_describe(one) for one in loaded.policies],
        "warnings": [warning for one in loaded.policies for warning in _warnings(one)],
        "limits": {one.name: one.limits for one in DETECTORS if one.limits},
        "missing": {one.name: reason for one in DETECTORS if (reason := one.missing())},
    }
    if home is not None:
        from indexer.core.home import Home
        from indexer.model.registry import by_version
        from indexer.moderation.gallery_store import read_fitted

        opened = Home(home)
        active = opened.active()
        bundle = by_version(opened, active.model_version) if active else None
        fitted = None if bundle is None else read_fitted(opened, loaded, bundle)
        document["fitted"] = fitted is not None
        document["alarms"] = None if fitted is None else _describe_alarms(fitted.alarms)
    print_result(document, as_json, _show)


def _describe(one: Policy) -> dict[str, Any]:
    from indexer.moderation.gallery import BannedGallery

    gallery = one.rules.get("gallery")
    return {
        "policy": one.name,
        "action": one.action,
        "detectors": list(one.detectors),
        "gallery": None
        if not isinstance(gallery, BannedGallery)
        else {
            "photos": [example.name for example in gallery.examples],
            "match": list(gallery.match),
        },
    }


def _describe_alarms(found: AlarmReport | None) -> dict[str, Any] | None:
    """What galleries ask about of the home's ordinary photos, and on how many photos that stands.

    None where the home has no photo to tell it, or was fitted by a release that did not count.
    """
    if found is None:
        return None
    return {
        "photos": found.photos,
        "asked": found.alarms,
        "interval": [found.lowest, found.highest],
        "finest": found.finest,
        "shown": found.shown,
        "text": found.describe(),
    }


def _warnings(one: Policy) -> list[str]:
    """Patterns that a text could be made for, so that they are stopped by their time limit, and
    galleries that keypoints cannot find."""
    from indexer.moderation.text_pattern import PATTERN_S

    return _keypoint_warnings(one) + [
        f"policy {one.name}, {name}: the pattern {pattern.pattern!r} {pattern.risk}: where a text "
        f"takes it more than {PATTERN_S} s it is stopped, and the photo is for a person to review"
        for name, rule in one.rules.items()
        for pattern in rule.patterns_used()
        if pattern.risk
    ]


def _keypoint_warnings(one: Policy) -> list[str]:
    """Whether keypoints can be found here, and whether the gallery's photos have enough of them."""
    from indexer.moderation.gallery import BannedGallery, prepare_keypoints
    from indexer.moderation.keypoint_matching import FEW_POINTS, find_library

    gallery = one.rules.get("gallery")
    if not isinstance(gallery, BannedGallery) or "keypoints" not in gallery.match:
        return []
    _, reason = find_library()
    if reason is not None:
        return [f"policy {one.name}, gallery: {reason} (the policy answers review)"]
    counts = [len(points.frames) for points in prepare_keypoints(gallery.examples).examples]
    few = [count for count in counts if count < FEW_POINTS]
    if 2 * len(few) <= len(counts):
        return []
    return [
        f"policy {one.name}, gallery: {len(few)} of {len(counts)} photos have fewer than "
        f"{FEW_POINTS} keypoints (the fewest: {min(few)}): marks with few corners are found by "
        "symbol, hardly by keypoints"
    ]


def _show(found: dict[str, Any]) -> None:
    rows = [
        (
            one["policy"],
            one["action"],
            ", ".join(one["detectors"]),
            len(one["gallery"]["photos"]) if one["gallery"] else 0,
        )
        for one in found["policies"]
    ]
    print_table(("policy", "at most", "detectors", "photos"), rows)
    for warning in found["warnings"]:
        log(warning)
    used = {name for one in found["policies"] for name in one["detectors"]}
    for name, limits in found["limits"].items():
        if name in used:
            log(f"{name}: {limits}")
    for name, reason in found["missing"].items():
        log(
            f"{reason} (policies that use it answer review)"
            if name in used
            else f"{reason} (no policy uses it)"
        )
    if "fitted" in found and any(
        one["gallery"] or "prompts" in one["detectors"] for one in found["policies"]
    ):
        log(
            "galleries are fitted to this home"
            if found["fitted"]
            else "galleries are not fitted to this home yet"
        )
        if found["alarms"]:
            log(found["alarms"]["text"])
