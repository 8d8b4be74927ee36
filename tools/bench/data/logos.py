"""Drawn logos for ``bench prohibited``: example photos, and photos that bear them."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageEnhance, ImageFont

_SIDE = 512  # px, drawn large and scaled down
_COLOURS = (
    "#c8102e",
    "#00205b",
    "#ffd100",
    "#007a33",
    "#111111",
    "#ffffff",
    "#f26522",
    "#6f2c91",
    "#00a3e0",
)
KINDS = ("badge", "shield", "word", "flag with an emblem", "cross flag", "monogram")
PLAIN_KINDS = ("ring", "star", "stripes", "cross")

RECIPE = (
    "a logo or flag drawn from its seed; five example photos: the logo on a plain ground, turned "
    "within 8 degrees, "
    "filling 60 to 95% of it, JPEG 80; test photos: its upright rectangle covers the stated share "
    "of the photo's area, "
    "random place inside the photo, the area within 10%, turned within 8 degrees, brightness "
    "within 10%, JPEG 75"
)


def draw_logo(seed: int) -> Image.Image:
    """RGBA; the kind goes round by seed, colours, shapes and letters are drawn from it."""
    rng = np.random.default_rng([7, seed])
    kind = KINDS[seed % len(KINDS)]
    colours = [str(name) for name in rng.permutation(_COLOURS)[:4]]
    wide = kind in ("flag with an emblem", "cross flag", "word")
    width, height = _SIDE, round(_SIDE * (rng.uniform(0.5, 0.7) if wide else 1.0))
    image = Image.new("RGBA", (width, height), (0, 0, 0, 0))
    pen = ImageDraw.Draw(image)
    if kind == "badge":
        pen.ellipse((0, 0, width - 1, height - 1), fill=colours[0])
        pen.ellipse((40, 40, width - 41, height - 41), outline=colours[1], width=18)
        _star(
            pen,
            (width / 2, height / 2),
            190,
            80 + 40 * rng.random(),
            int(rng.integers(4, 9)),
            colours[1],
        )
        _text(pen, (width / 2, height / 2), _letters(rng, 2), 120, colours[0])
    elif kind == "shield":
        points = [(0, 0), (511, 0), (511, 280), (430, 420), (256, 511), (82, 420), (0, 280)]
        pen.polygon(points, fill=colours[0], outline=colours[1], width=24)
        for number in range(int(rng.integers(2, 5))):
            top = 90 + 95 * number
            pen.line(
                (60, top + 60, 256, top, 452, top + 60), fill=colours[1 + number % 2], width=34
            )
        _star(pen, (256, 70), 60, 26, 5, colours[2])
    elif kind == "word":
        pen.rounded_rectangle(
            (0, 0, width - 1, height - 1), int(rng.integers(20, 120)), fill=colours[0]
        )
        _text(
            pen, (width / 2, height * 0.42), _letters(rng, int(rng.integers(4, 6))), 150, colours[1]
        )
        pen.arc((40, height * 0.35, width - 40, height * 0.95), 10, 170, fill=colours[2], width=20)
    elif kind == "flag with an emblem":
        bands = [colours[0], colours[1], colours[0 if rng.random() < 0.5 else 3]]
        for number, colour in enumerate(bands):
            pen.rectangle((0, number * height / 3, width, (number + 1) * height / 3), fill=colour)
        _star(
            pen,
            (width / 2, height / 2),
            height * 0.36,
            height * 0.14,
            int(rng.integers(5, 9)),
            colours[2],
        )
    elif kind == "cross flag":
        pen.rectangle((0, 0, width, height), fill=colours[0])
        for wideness, colour in ((110, colours[1]), (54, colours[2])):
            pen.rectangle(
                (width * 0.36 - wideness / 2, 0, width * 0.36 + wideness / 2, height), fill=colour
            )
            pen.rectangle(
                (0, height / 2 - wideness / 2, width, height / 2 + wideness / 2), fill=colour
            )
    else:
        pen.rectangle((0, 0, width, height), fill=colours[0])
        for number in range(int(rng.integers(3, 6))):
            x, y, size = rng.integers(40, 330), rng.integers(40, 330), rng.integers(90, 170)
            shape = pen.ellipse if rng.random() < 0.5 else pen.rectangle
            shape(
                (int(x), int(y), int(x + size), int(y + size)),
                outline=colours[1 + number % 3],
                width=26,
            )
        _text(pen, (width / 2, height / 2), _letters(rng, 1), 330, colours[1])
    return image


def draw_plain_mark(kind: str) -> Image.Image:
    """RGBA; a mark of ``PLAIN_KINDS``, which has hardly a corner."""
    image = Image.new("RGBA", (_SIDE, _SIDE), (0, 0, 0, 0))
    pen = ImageDraw.Draw(image)
    if kind == "ring":
        pen.ellipse((20, 20, _SIDE - 21, _SIDE - 21), outline="#c8102e", width=80)
    elif kind == "star":
        _star(pen, (_SIDE / 2, _SIDE / 2 + 20), 250, 100, 5, "#00205b")
    elif kind == "stripes":
        for number, colour in enumerate(("#007a33", "#ffffff", "#f26522")):
            top = 86 + 113 * number
            pen.rectangle((0, top, _SIDE, top + 113), fill=colour)
    else:
        pen.rectangle((190, 0, 322, _SIDE), fill="#111111")
        pen.rectangle((0, 190, _SIDE, 322), fill="#111111")
    return image


def examples(logo: Image.Image, seed: int, count: int = 5) -> list[bytes]:
    """JPEG files of ``count`` photos that a shop would put into its gallery (``RECIPE``)."""
    rng = np.random.default_rng([11, seed])
    found = []
    for _ in range(count):
        side = int(rng.integers(160, 320))
        ground = Image.new(
            "RGB", (side, side), tuple(int(value) for value in rng.integers(0, 256, 3))
        )
        turned = _changed(logo, side * rng.uniform(0.6, 0.95), rng)
        place = ((side - turned.width) // 2, (side - turned.height) // 2)
        ground.paste(turned, place, turned)
        found.append(_jpeg(ground, 80))
    return found


def pasted(
    photo: Image.Image, logo: Image.Image, share: float, seed: int
) -> tuple[bytes, list[int]]:
    """A JPEG file of the photo with the logo on ``share`` of its area, and the box [x, y, width,
    height] px of it."""
    rng = np.random.default_rng([13, seed])
    area = photo.width * photo.height * share * rng.uniform(0.9, 1.1)
    width = math.sqrt(area * logo.width / logo.height)
    width *= min(
        1.0, 0.95 * photo.width / width, 0.95 * photo.height / (width * logo.height / logo.width)
    )
    turned = _changed(logo, width * max(1.0, logo.height / logo.width), rng)
    left = int(rng.integers(0, max(1, photo.width - turned.width + 1)))
    top = int(rng.integers(0, max(1, photo.height - turned.height + 1)))
    whole = photo.copy()
    whole.paste(turned, (left, top), turned)
    return _jpeg(whole, 75), [left, top, turned.width, turned.height]


def _changed(logo: Image.Image, longest: float, rng: np.random.Generator) -> Image.Image:
    """The logo with its long side at ``longest`` px, turned and a little brighter or darker."""
    scale = longest / max(logo.size)
    small = logo.resize(
        (max(1, round(logo.width * scale)), max(1, round(logo.height * scale))),
        Image.Resampling.BOX,
    )
    alpha = small.getchannel("A")
    small = ImageEnhance.Brightness(small.convert("RGB")).enhance(rng.uniform(0.9, 1.1))
    small.putalpha(alpha)
    return small.rotate(rng.uniform(-8, 8), Image.Resampling.BICUBIC, expand=True)


def _jpeg(image: Image.Image, quality: int) -> bytes:
    stream = io.BytesIO()
    image.save(stream, "JPEG", quality=quality)
    return stream.getvalue()


def _letters(rng: np.random.Generator, count: int) -> str:
    return "".join(
        str(letter) for letter in rng.choice(list("ABDEGHKMNPRSTVXYZ"), count, replace=False)
    )


def _text(
    pen: ImageDraw.ImageDraw, centre: Sequence[float], text: str, size: int, colour: str
) -> None:
    font = ImageFont.load_default(size)
    pen.text(
        (centre[0], centre[1]), text, fill=colour, font=font, anchor="mm", stroke_width=size // 25
    )


def _star(
    pen: ImageDraw.ImageDraw,
    centre: Sequence[float],
    outer: float,
    inner: float,
    points: int,
    colour: str,
) -> None:
    corners = []
    for number in range(2 * points):
        radius, angle = (outer, inner)[number % 2], math.pi * number / points - math.pi / 2
        corners.append((centre[0] + radius * math.cos(angle), centre[1] + radius * math.sin(angle)))
    pen.polygon(corners, fill=colour)
