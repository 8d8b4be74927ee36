"""Large photo files by their recipe."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from PIL import Image

from tools.bench.data.enlarged_photos import enlarged


def test_enlarged_photos_are_what_the_recipe_says(tmp_path: Path) -> None:
    """The size asked for, JPEG, the same bytes for the same seed, other grain for another."""
    source = tmp_path / "small.png"
    Image.new("RGB", (60, 80), (200, 30, 30)).save(source)
    one, again, other = (enlarged(source, (300, 200), seed) for seed in (1, 1, 2))
    assert one == again != other
    with Image.open(io.BytesIO(one)) as image:
        assert (image.format, image.size) == ("JPEG", (300, 200))
        assert np.asarray(image).std() > 2
