"""Quality check of photos by a profile and the shop's own percentiles."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from indexer.core.atomic_files import file_stamp, read_sealed_json
from indexer.core.errors import BadDataError, BadRequestError, BadSettingsError
from indexer.core.home import Home
from indexer.imaging.decode import Photo
from indexer.quality.assess import assess_quality
from indexer.quality.profiles import Profile, overall, profile
from indexer.quality.shop_percentiles import ShopQuality
from service.review.result import QualityFinding, QualityReport

SHOP_QUALITY = "quality.json"  # in the home: how the shop's own photos score, written by an audit


class QualityCheck:
    """Examines photos by a profile, beside the shop's own percentiles where an audit has measured
    them."""

    def __init__(
        self, home: Home, name: str, changes: Mapping[str, Mapping[str, float]], log: Any
    ) -> None:
        self._changes = dict(changes)
        self._default = profile(name, self._changes)
        self._file = home.path / SHOP_QUALITY
        self._log = log
        self._stamp: tuple[int, int, int] | None = None
        self._shop: ShopQuality | None = None

    def examine(self, photo: Photo, name: str | None) -> QualityReport:
        """Examine by the profile ``name``, None for the default one. Raises ``BadRequestError``:
        no such profile."""
        asked = self._profile(name)
        pixels = np.asarray(photo.pixels, np.uint8)
        findings = assess_quality(
            pixels,
            size=(photo.width, photo.height),
            lost=photo.lost,
            ai_mark=photo.ai_mark,
            profile=asked,
            shop=self._measured(),
        )
        return QualityReport(
            asked.name,
            round(overall(findings, asked), 6),
            [QualityFinding(**finding.as_json()) for finding in findings],
        )

    def _profile(self, name: str | None) -> Profile:
        if name is None or name == self._default.name:
            return self._default
        try:
            return profile(name)
        except BadSettingsError as error:
            raise BadRequestError(str(error)) from error

    def _measured(self) -> ShopQuality | None:
        stamp = file_stamp(self._file)
        if stamp is None:
            return None
        if stamp != self._stamp:
            try:
                self._shop = ShopQuality.from_json(read_sealed_json(self._file))
            except OSError as error:  # the next look may read it
                self._log.warning("the shop's own quality cannot be read now", error=str(error))
                return self._shop
            except (ValueError, BadDataError) as error:
                self._log.warning("the shop's own quality cannot be read", error=str(error))
                self._shop = None
            self._stamp = stamp
        return self._shop
