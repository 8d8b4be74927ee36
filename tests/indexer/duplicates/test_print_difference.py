"""Prints on mock-ups: other prints are told apart, copies of one photo are not."""

from __future__ import annotations

import io
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont

from indexer.core.home import Home
from indexer.duplicates.groups import find_groups
from indexer.duplicates.print_difference import fine_picture, print_difference
from indexer.duplicates.print_limit import PRINTS_DIFFER
from indexer.feeds.dataset import read_dataset
from indexer.feeds.importer import import_dataset
from tools.bench.data.photo_copies import KINDS, made

PRINTS = ("MOM", "DAD", "2024", "disc", "ring", "box")
GARMENTS = {
    "dark shirt": ((40, 40, 46), (240, 240, 240)),
    "white shirt": ((250, 250, 250), (25, 25, 25)),
    "sand mug": ((225, 205, 180), (190, 40, 50)),
    "blue mug": ((30, 60, 120), (250, 205, 60)),
}


def mock_up(garment: str, printed: str, side: int = 600) -> Image.Image:
    """A shirt or a mug before light grey, with a word or a shape on it."""
    cloth, ink = GARMENTS[garment]
    picture = Image.new("RGB", (600, 600), (244, 244, 246))
    pen = ImageDraw.Draw(picture)
    if garment.endswith("shirt"):
        pen.polygon(
            (
                *(90, 130, 220, 80, 380, 80, 510, 130, 480, 230, 430, 220, 430, 530),
                *(170, 530, 170, 220, 120, 230),
            ),
            fill=cloth,
        )
    else:
        pen.rectangle((150, 150, 420, 480), fill=cloth)
        pen.arc((370, 220, 510, 400), -90, 90, fill=cloth, width=22)
    middle, box = (300, 280), (250, 230, 350, 330)
    if printed == "disc":
        pen.ellipse(box, fill=ink)
    elif printed == "ring":
        pen.ellipse(box, outline=ink, width=16)
    elif printed == "box":
        pen.rectangle(box, fill=ink)
    else:
        pen.text(middle, printed, ink, font=ImageFont.load_default(56), anchor="mm")
    # weak light, so that nothing is perfectly flat
    pixels = np.asarray(picture, np.float32) * np.linspace(0.97, 1, 600)[:, None, None]
    return Image.fromarray(pixels.astype(np.uint8)).resize((side, side))


def compressed(picture: Image.Image, quality: int = 88) -> Image.Image:
    stream = io.BytesIO()
    picture.save(stream, "JPEG", quality=quality)
    return Image.open(io.BytesIO(stream.getvalue())).convert("RGB")


@pytest.mark.parametrize("garment", GARMENTS)
def test_other_prints_are_told_apart(garment: str) -> None:
    """Words and shapes, dark on light and light on dark, on shirts and mugs."""
    pictures = [fine_picture(compressed(mock_up(garment, printed))) for printed in PRINTS]
    for (one, first), (two, second) in combinations(zip(PRINTS, pictures, strict=True), 2):
        assert print_difference(first, second) >= PRINTS_DIFFER, (one, two)


@pytest.mark.parametrize("garment", GARMENTS)
def test_one_print_in_another_colour_is_another_print(garment: str) -> None:
    """The same words, small ones too."""
    for printed, height in (("MOM", 56), ("2024", 30)):
        pictures = []
        for ink in ((200, 60, 60), (60, 110, 200)):
            picture = mock_up(garment, "none")
            ImageDraw.Draw(picture).rectangle((180, 240, 420, 320), GARMENTS[garment][0])
            font = ImageFont.load_default(height)
            ImageDraw.Draw(picture).text((300, 280), printed, ink, font=font, anchor="mm")
            pictures.append(fine_picture(compressed(picture)))
        assert print_difference(*pictures) >= PRINTS_DIFFER, (garment, printed)


def marked(picture: Image.Image, opacity: float) -> Image.Image:
    """With a watermark across its middle."""
    over = picture.copy()
    font = ImageFont.load_default(picture.height * 0.1)
    ImageDraw.Draw(over).text((40, picture.height * 0.45), "© my shop", (255, 255, 255), font=font)
    return Image.blend(picture, over, opacity)


@pytest.mark.parametrize("garment", GARMENTS)
def test_copies_are_no_other_prints(garment: str) -> None:
    """Resized, recompressed, cropped, mirrored, with a band of text, with a watermark."""
    picture = mock_up(garment, "MOM")
    first = fine_picture(picture)
    assert print_difference(first, first) == 0
    for number, kind in enumerate(KINDS):
        for seed in range(3):
            copy = Image.open(io.BytesIO(made(picture, kind, [seed, number]))).convert("RGB")
            found = print_difference(first, fine_picture(copy), mirrored=kind == "mirror")
            assert found < PRINTS_DIFFER, (kind, seed)
    for opacity in (0.25, 0.5):
        copy = compressed(marked(picture, opacity))
        assert print_difference(first, fine_picture(copy)) < PRINTS_DIFFER


@pytest.mark.long
def test_a_print_on_demand_shop_has_no_groups(tmp_path: Path) -> None:
    """Every design of every mock-up is a product of its own, and its resized copy is found; the
    limit can be set."""
    for garment in GARMENTS:
        for printed in PRINTS:
            mock_up(garment, printed).save(tmp_path / f"{garment} {printed}.jpg", quality=88)
    mock_up("dark shirt", "DAD", 380).save(tmp_path / "copy.jpg", quality=70)
    home = Home.create(tmp_path / "home")
    import_dataset(home, read_dataset(tmp_path), photos="reference")
    kinds = ["near_same_photo"]
    assert [group.products for group in find_groups(home, kinds=kinds).groups] == [
        ["copy", "dark shirt DAD"]
    ]
    assert len(find_groups(home, kinds=kinds, print_limit=255).groups) >= 4
