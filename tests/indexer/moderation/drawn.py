"""Drawn photos for the tests of prohibited content: an emblem, plain products, codes, and files of
policies."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from indexer.imaging.decode import Photo

EMBLEM = (200, 20, 30)


def photo(image: Image.Image) -> Photo:
    """A picture as a decoded photo."""
    return Photo(
        image.convert("RGB"), "PNG", image.width, image.height, f"{hash(image.tobytes()):x}"
    )


def emblem(side: int = 120, turn: float = 0.0) -> Image.Image:
    """RGBA: a red disc with a white cross and a dark bar, nothing around it."""
    image = Image.new("RGBA", (240, 240), (0, 0, 0, 0))
    pen = ImageDraw.Draw(image)
    pen.ellipse((0, 0, 239, 239), fill=EMBLEM)
    pen.rectangle((100, 30, 140, 210), fill="white")
    pen.rectangle((30, 100, 210, 140), fill="white")
    pen.rectangle((60, 160, 180, 185), fill=(20, 20, 60))
    return image.rotate(turn, Image.Resampling.BICUBIC, expand=True).resize(
        (side, side), Image.Resampling.BOX
    )


def example(number: int) -> Image.Image:
    """One gallery photo: the emblem on a plain ground."""
    ground = Image.new("RGB", (180, 180), (40 * number % 200 + 40, 160, 90 + 20 * number))
    part = emblem(120 + 8 * number, turn=3.0 * number - 6)
    ground.paste(part, (20, 15), part)
    return ground


def product(seed: int, size: tuple[int, int] = (200, 240)) -> Image.Image:
    """A catalog photo: stripes, discs and squares of some colours on white."""
    rng = np.random.default_rng(seed)
    image = Image.new("RGB", size, "white")
    pen = ImageDraw.Draw(image)
    for _ in range(4):
        x, y, side = rng.integers(10, 120), rng.integers(10, 150), rng.integers(20, 80)
        colour = tuple(int(value) for value in rng.integers(0, 220, 3))
        shape = pen.ellipse if rng.random() < 0.5 else pen.rectangle
        shape((int(x), int(y), int(x + side), int(y + side)), fill=colour)
    return image


def with_emblem(seed: int, at: tuple[int, int], side: int) -> Image.Image:
    """A catalog photo that bears the emblem."""
    image = product(seed)
    part = emblem(side, turn=4.0)
    image.paste(part, at, part)
    return image


def code(text: str, kind: str, size: int = 300) -> Image.Image:
    """A photo with a code in the middle."""
    import zxingcpp

    made = zxingcpp.create_barcode(text, getattr(zxingcpp.BarcodeFormat, kind))
    drawn = Image.fromarray(np.array(made.to_image(scale=3)))
    if drawn.width > size:
        drawn = Image.fromarray(np.array(made.to_image(scale=1)))
    image = Image.new("RGB", (size, size), (230, 225, 220))
    image.paste(drawn, ((size - drawn.width) // 2, (size - drawn.height) // 2))
    return image


def write(folder: Path, policies: str, photos: int = 0, *, version: str = "1") -> Path:
    """A policy file (the text under ``policies:``) with a gallery of ``photos`` examples in
    ``banned`` beside it."""
    if photos:
        (folder / "banned").mkdir(exist_ok=True)
        for number in range(photos):
            example(number).save(folder / "banned" / f"{number}.png")
    file = folder / "policy.yaml"
    file.write_text(f"version: {version}\npolicies:\n{policies}", encoding="utf-8")
    return file


def crest(side: int = 240, seed: int = 4) -> Image.Image:
    """RGBA: a dark disc full of small shapes, an emblem of many corners, nothing around it."""
    rng = np.random.default_rng(seed)
    image = Image.new("RGBA", (480, 480), (0, 0, 0, 0))
    pen = ImageDraw.Draw(image)
    pen.ellipse((0, 0, 479, 479), fill=(20, 40, 90))
    for _ in range(26):
        angle, reach = rng.uniform(0, 6.28), 180 * rng.uniform() ** 0.5
        x, y = 240 + reach * np.cos(angle), 240 + reach * np.sin(angle)
        corners = [(x + dx, y + dy) for dx, dy in rng.uniform(-48, 48, (3, 2)).tolist()]
        pen.polygon(corners, fill=tuple(int(value) for value in rng.integers(60, 255, 3)))
    return image.resize((side, side), Image.Resampling.BOX)


def crest_example(number: int) -> Image.Image:
    """One gallery photo: the crest on a plain ground."""
    ground = Image.new("RGB", (300, 300), (230, 225 - 5 * number, 215))
    part = crest(220 + 4 * number).rotate(4.0 * number - 6, Image.Resampling.BICUBIC, expand=True)
    ground.paste(part, (20, 15), part)
    return ground


def leaning(part: Image.Image) -> Image.Image:
    """A picture turned by 40 degrees and then a third narrower: as of cloth seen from the side."""
    turned = part.rotate(40, Image.Resampling.BICUBIC, expand=True)
    return turned.resize((round(turned.width * 0.66), turned.height), Image.Resampling.BICUBIC)


def with_crest(seed: int, at: tuple[int, int], part: Image.Image) -> Image.Image:
    """A catalog photo, twice as large as ``product``'s, that bears some part of the crest."""
    image = product(seed).resize((400, 480), Image.Resampling.BICUBIC)
    image.paste(part, at, part)
    return image


def write_crests(folder: Path, match: str, photos: int, *, version: str = "2") -> Path:
    """A policy file with one gallery of ``photos`` crests."""
    (folder / "banned").mkdir(exist_ok=True)
    for number in range(photos):
        crest_example(number).save(folder / "banned" / f"{number}.png")
    file = folder / "policy.yaml"
    rule = f"  crests:\n    gallery: {{photos: banned, match: [{match}]}}\n"
    file.write_text(f"version: {version}\npolicies:\n{rule}", encoding="utf-8")
    return file
