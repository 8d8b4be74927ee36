"""What is asked of a photo: floors and weights per finding, as data."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

from indexer.core.errors import BadSettingsError
from indexer.quality.findings import CODES, Finding, Level

NEVER = 2.0  # a floor that no score reaches


@dataclass(frozen=True)
class Demand:
    """Scores from which a finding is a note, a warning, a failure; ``weight`` in [0, 1] is its part
    in ``overall``."""

    note: float
    warning: float
    fail: float
    weight: float = 1.0

    def level(self, score: float) -> Level:
        if score >= self.fail:
            return "fail"
        if score >= self.warning:
            return "warning"
        return "note" if score >= self.note else "ok"


@dataclass(frozen=True)
class Profile:
    """A name and one demand for each code."""

    name: str
    demands: Mapping[str, Demand]


STUDIO = Profile(
    "studio",
    {
        "no-product": Demand(0.5, 0.8, 0.95),
        "low-resolution": Demand(0.333, 0.454, 0.625),  # below 1000, 600, 300 px
        "blurred": Demand(0.35, 0.45, 0.6),
        "underexposed": Demand(0.5, 0.57, 0.7, 0.8),
        "overexposed": Demand(0.65, 0.78, 0.85, 0.8),
        "low-contrast": Demand(0.5, 0.595, 0.62, 0.6),
        "noisy": Demand(0.4, 0.55, 0.65, 0.8),
        "jpeg-blocking": Demand(0.26, 0.3, 0.5, 0.8),
        "colour-cast": Demand(0.2, 0.35, 0.6, 0.6),
        "busy-background": Demand(0.4, 0.7, 0.85),
        "product-cut": Demand(0.4, 0.6, 0.75, 0.8),
        "product-too-small": Demand(0.4, 0.5, 0.8, 0.8),
        "off-centre": Demand(0.35, 0.57, 0.75, 0.4),
        "border": Demand(0.3, 0.5, 0.9, 0.6),
        "text-overlay": Demand(0.45, 0.58, 0.7),
        "collage": Demand(0.2, 0.3, 0.5),
    },
)
MARKETPLACE = Profile(
    "marketplace",
    {
        "no-product": Demand(0.5, 0.8, 0.95),
        "low-resolution": Demand(0.384, 0.5, 0.666),  # below 800, 500, 250 px
        "blurred": Demand(0.45, 0.55, 0.7),
        "underexposed": Demand(0.57, 0.65, 0.8, 0.6),
        "overexposed": Demand(0.75, 0.83, 0.9, 0.6),
        "low-contrast": Demand(0.58, 0.61, 0.65, 0.4),
        "noisy": Demand(0.5, 0.6, 0.7, 0.6),
        "jpeg-blocking": Demand(0.35, 0.42, 0.6, 0.6),
        "colour-cast": Demand(0.5, 0.65, NEVER, 0.3),
        "busy-background": Demand(0.7, NEVER, NEVER, 0.2),
        "product-cut": Demand(0.5, 0.72, NEVER, 0.5),
        "product-too-small": Demand(0.5, 0.64, 0.85, 0.8),
        "off-centre": Demand(0.55, 0.7, NEVER, 0.3),
        "border": Demand(0.5, 0.8, 0.95, 0.5),
        "text-overlay": Demand(0.5, 0.6, NEVER, 0.8),
        "collage": Demand(0.25, 0.35, NEVER, 0.6),
    },
)
PROFILES: Mapping[str, Profile] = {profile.name: profile for profile in (STUDIO, MARKETPLACE)}


def profile(name: str, changes: Mapping[str, Mapping[str, float]] | None = None) -> Profile:
    """The profile ``name`` with ``changes``: code -> some of ``note``, ``warning``, ``fail``,
    ``weight``.

    >>> profile("studio", {"blurred": {"warning": 0.6}}).demands["blurred"].warning
    0.6

    Raises ``BadSettingsError`` that names an unknown profile, code or key, a value that is no
    number, floors out of order.
    """
    if name not in PROFILES:
        raise BadSettingsError(f"no quality profile {name!r}; there are: {', '.join(PROFILES)}")
    demands = dict(PROFILES[name].demands)
    for code, given in (changes or {}).items():
        if code not in demands:
            raise BadSettingsError(
                f"quality profile {name}: unknown finding {code!r} (known: {', '.join(CODES)})"
            )
        if not isinstance(given, Mapping):
            raise BadSettingsError(
                f"quality profile {name}: {code} must be a mapping of floors, not {given!r}"
            )
        demands[code] = _changed(f"quality profile {name}: {code}", demands[code], given)
    return Profile(name, demands)


def _changed(where: str, demand: Demand, given: Mapping[str, Any]) -> Demand:
    known = [field.name for field in fields(Demand)]
    for key, value in given.items():
        if key not in known:
            raise BadSettingsError(f"{where}: unknown key {key!r} (known: {', '.join(known)})")
        if (
            isinstance(value, bool)
            or not isinstance(value, (int, float))
            or not math.isfinite(value)
            or value < 0
        ):
            raise BadSettingsError(f"{where}: {key} must be a number of at least 0, not {value!r}")
    changed = replace(demand, **{key: float(value) for key, value in given.items()})
    if not changed.note <= changed.warning <= changed.fail:
        raise BadSettingsError(
            f"{where}: floors must rise: note {changed.note:g}, warning {changed.warning:g}, fail "
            f"{changed.fail:g}"
        )
    if changed.weight > 1:
        raise BadSettingsError(f"{where}: weight must be at most 1, not {changed.weight:g}")
    return changed


def overall(findings: list[Finding], asked: Profile) -> float:
    """How fit the photo is in [0, 1], 1 = nothing to mend.

    The product over findings of 1 - weight x excess; excess is 0 up to the note floor, 1 from the
    fail floor on (or from score 1, if that comes first), straight between.
    """
    fit = 1.0
    for finding in findings:
        demand = asked.demands[finding.code]
        span = max(min(demand.fail, 1.0) - demand.note, 1e-6)
        fit *= 1 - demand.weight * min(max((finding.score - demand.note) / span, 0.0), 1.0)
    return fit
