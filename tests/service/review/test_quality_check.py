"""Quality of photos by profile, beside what an audit measured of the shop's own."""

from __future__ import annotations

import io
import json
import os
from pathlib import Path

import structlog
from PIL import Image, PngImagePlugin

from indexer.core.home import Home
from indexer.quality.shop_percentiles import ShopQuality
from service.engine import Engine
from service.review.quality_check import SHOP_QUALITY, QualityCheck
from tests.indexer.imaging.marked_files import TERMS, xmp
from tests.service.conftest import photo


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


def test_a_photo_that_ai_made_is_noted_and_its_source_is_an_attribute(own: Engine) -> None:
    """A note with advice and no weight; the attribute holds of the listing, whichever photo it is
    of, and the score is that of the photo without its mark."""
    own.prepare_reviews()
    plain = photo("ring", "red", turn=3)
    term = TERMS + "compositeWithTrainedAlgorithmicMedia"
    image = Image.open(io.BytesIO(photo("ring", "red", turn=5)))
    info = PngImagePlugin.PngInfo()
    info.add_itxt("XML:com.adobe.xmp", xmp(term).decode())
    out = io.BytesIO()
    image.save(out, "PNG", pnginfo=info)
    found = own.review([plain, out.getvalue()]).content
    (made,) = [entry for entry in found.quality.findings if entry.code == "ai-made"]
    assert (made.level, made.score) == ("note", 0.5)
    assert made.evidence == {"photo": 1, "whole": 0.0, "part": 1.0, "iptc": 1.0, "c2pa": 0.0}
    assert "no signature was checked" in made.advice["en"]
    (told,) = [entry for entry in found.attributes if entry.name == "ai_made"]
    assert (told.value, told.probability) == ("compositeWithTrainedAlgorithmicMedia", 1.0)
    assert "quality:ai-made" not in found.reasons
    alone = own.review([plain]).content
    assert [entry for entry in alone.attributes if entry.name == "ai_made"] == []
    without = own.review([plain, photo("ring", "red", turn=5)]).content
    assert found.quality.score == without.quality.score
