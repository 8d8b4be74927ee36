"""Quality of photos by profile, beside what an audit measured of the shop's own."""

from __future__ import annotations

import json
import os
from pathlib import Path

import structlog

from indexer.core.home import Home
from indexer.quality.shop_percentiles import ShopQuality
from service.review.quality_check import SHOP_QUALITY, QualityCheck


def test_a_replaced_measurement_of_the_same_age_is_read(tmp_path: Path) -> None:
    """An audit's file copied into place keeps its modification time; it is read all the same."""
    home = Home.create(tmp_path / "home")
    file = home.path / SHOP_QUALITY
    check = QualityCheck(home, "studio", {}, structlog.get_logger())
    for number, photos in enumerate((10, 20)):
        aside = tmp_path / f"{number}.json"
        aside.write_text(json.dumps(ShopQuality(photos, {}).as_json()))
        os.utime(aside, ns=(10**18, 10**18))
        os.replace(aside, file)
        assert check._measured() == ShopQuality(photos, {})
