"""Quality profiles: the floors of each finding, and the overall score by them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any

from indexer.core.errors import BadSettingsError
from indexer.quality.findings import FINDINGS, Finding, FindingSpec, Floors


@dataclass(frozen=True)
class Profile:
    """Floors of every finding: the packaged ones of ``name``, or the shop's own in ``changes``."""

    name: str
    changes: Mapping[str, Floors] = field(default_factory=dict)

    def floors_of(self, finding: FindingSpec) -> Floors:
        """The floors of one finding."""
        return self.changes.get(finding.code) or finding.floors[self.name]

    @property
    def floors(self) -> dict[str, Floors]:
        """The floors of all findings by code, in the order of the registry."""
        return {finding.code: self.floors_of(finding) for finding in FINDINGS}


STUDIO = Profile("studio")
MARKETPLACE = Profile("marketplace")
PROFILES: Mapping[str, Profile] = {profile.name: profile for profile in (STUDIO, MARKETPLACE)}


def profile(name: str, changes: Mapping[str, Mapping[str, float]] | None = None) -> Profile:
    """Return the profile ``name``, with ``changes`` of some floors and weights by code.

    >>> profile("studio", {"blurred": {"warning": 0.6}}).floors["blurred"].warning
    0.6

    Raises ``BadSettingsError`` that names an unknown profile, code or key, a value that is no
    number, floors out of order.
    """
    if name not in PROFILES:
        raise BadSettingsError(f"no quality profile {name!r}; there are: {', '.join(PROFILES)}")
    changed = {}
    for code, given in (changes or {}).items():
        where = f"quality profile {name}: {code}"
        if code not in FINDINGS:
            known = ", ".join(FINDINGS.names())
            raise BadSettingsError(
                f"quality profile {name}: unknown finding {code!r} (known: {known})"
            )
        if not isinstance(given, Mapping):
            raise BadSettingsError(f"{where} must be a mapping of floors, not {given!r}")
        changed[code] = _change(where, FINDINGS[code].floors[name], given)
    return Profile(name, changed)


def _change(where: str, floors: Floors, given: Mapping[str, Any]) -> Floors:
    known = [field.name for field in fields(Floors)]
    for key, value in given.items():
        if key not in known:
            raise BadSettingsError(f"{where}: unknown key {key!r} (known: {', '.join(known)})")
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if not number or not math.isfinite(value) or value < 0:
            raise BadSettingsError(f"{where}: {key} must be a number of at least 0, not {value!r}")
    changed = replace(floors, **{key: float(value) for key, value in given.items()})
    if not changed.note <= changed.warning <= changed.fail:
        raise BadSettingsError(
            f"{where}: floors must rise: note {changed.note:g}, warning {changed.warning:g}, fail "
            f"{changed.fail:g}"
        )
    if changed.weight > 1:
        raise BadSettingsError(f"{where}: weight must be at most 1, not {changed.weight:g}")
    return changed


def overall(findings: list[Finding], asked: Profile) -> float:
    """Score how fit the photo is in [0, 1], 1 = nothing to mend.

    The product over findings of 1 - weight x excess; excess is 0 up to the note floor, 1 from the
    fail floor on (or from score 1, if that comes first), straight between.
    """
    fit = 1.0
    floors_by_code = asked.floors
    for finding in findings:
        floors = floors_by_code[finding.code]
        span = max(min(floors.fail, 1.0) - floors.note, 1e-6)
        fit *= 1 - floors.weight * min(max((finding.score - floors.note) / span, 0.0), 1.0)
    return fit
