"""Percentiles of one shop's own quality scores, per finding."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from indexer.core.errors import BadDataError
from indexer.quality.findings import FINDINGS, Finding

_POINTS = 101


@dataclass(frozen=True)
class ShopQuality:
    """Quantiles 0, 1, ... 100% (101 rising numbers) of the shop's scores by code.

    ``photos``: how many they were read on.
    """

    photos: int
    quantiles: Mapping[str, Sequence[float]]

    @classmethod
    def measured(cls, photos: Iterable[Iterable[Finding]]) -> ShopQuality:
        """Measure the findings of many photos. Raises ``BadDataError`` if there are none."""
        scores: dict[str, list[float]] = {code: [] for code in FINDINGS.names()}
        count = 0
        for findings in photos:
            count += 1
            for finding in findings:
                scores[finding.code].append(finding.score)
        if count == 0:
            raise BadDataError("no photos: a shop's own percentiles need at least one")
        points = np.linspace(0, 1, _POINTS)
        quantiles = {
            code: np.quantile(found, points).tolist() for code, found in scores.items() if found
        }
        return cls(count, quantiles)

    def percentile(self, code: str, score: float) -> float | None:
        """Share in [0, 1] of the shop's photos that score less, ties counting half.

        None for a code without numbers.
        """
        known = self.quantiles.get(code)
        if known is None:
            return None
        below = np.searchsorted(known, score, "left")
        upto = np.searchsorted(known, score, "right")
        return float(below + upto) / (2 * _POINTS)

    def as_json(self) -> dict[str, Any]:
        """Plain values for ``json.dumps``; ``from_json`` reads them back the same."""
        return {
            "photos": self.photos,
            "quantiles": {code: list(known) for code, known in self.quantiles.items()},
        }

    @classmethod
    def from_json(cls, stored: Any) -> ShopQuality:
        """Read what ``as_json`` gave; codes of another version are left out.

        Raises ``BadDataError`` that names what is wrong.
        """
        try:
            photos = int(stored["photos"])
            quantiles = dict(stored["quantiles"])
        except (KeyError, TypeError, ValueError) as error:
            raise BadDataError(f"a shop's quality needs photos and quantiles: {error!r}") from None
        kept: dict[str, list[float]] = {}
        for code in FINDINGS.names():
            if code not in quantiles:
                continue
            try:
                known = [float(value) for value in quantiles[code]]
            except (TypeError, ValueError):
                raise BadDataError(f"a shop's quality: {code} must be a list of numbers") from None
            if (
                len(known) != _POINTS
                or known != sorted(known)
                or not all(map(math.isfinite, known))
            ):
                raise BadDataError(f"a shop's quality: {code} must be {_POINTS} rising numbers")
            kept[code] = known
        return cls(photos, kept)
