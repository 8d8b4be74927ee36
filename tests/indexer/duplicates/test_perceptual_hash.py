"""Perceptual codes: copies are near, pairs are exact, plain pictures are recognised."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image, ImageDraw

from indexer.duplicates.alignment import SAME, aligned_similarity, compare
from indexer.duplicates.perceptual_hash import (
    NEAR_BITS,
    coarse_match,
    coarse_thumbnails,
    is_uniform,
    near_pairs,
    perceptual_codes,
    thumbnail,
)


def drawn(seed: int, side: int = 240) -> Image.Image:
    """A product on a plain ground: one of a kind by its seed, with patches of colour large and
    small."""
    rng = np.random.default_rng(seed)
    picture = Image.new("RGB", (side, side), "white")
    pen = ImageDraw.Draw(picture)
    for size in (110, 90, 70, 60, 50, 40, 40, 30, 30, 20, 20, 20):
        x, y = rng.integers(10, side - size - 10, 2).tolist()
        shape = pen.ellipse if rng.random() < 0.5 else pen.rectangle
        shape(
            (x, y, x + size, y + int(size * rng.uniform(0.5, 1))),
            fill=tuple(rng.integers(0, 256, 3).tolist()),
        )
    return picture


def again(picture: Image.Image, quality: int) -> Image.Image:
    stream = io.BytesIO()
    picture.save(stream, "JPEG", quality=quality)
    return Image.open(io.BytesIO(stream.getvalue())).convert("RGB")


def banded(picture: Image.Image) -> Image.Image:
    copy = picture.copy()
    pen = ImageDraw.Draw(copy)
    pen.rectangle((0, 100, 240, 130), fill=(200, 20, 20))
    pen.text((20, 104), "SALE 50% OFF", fill="white", font_size=24)
    return copy


COPIES = {
    "resized": lambda picture: picture.resize((90, 90)),
    "recompressed": lambda picture: again(picture, 30),
    "mirrored": lambda picture: picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT),
    "text": banded,
    "cropped": lambda picture: picture.crop((30, 12, 236, 216)),
    "crop of the mirrored": lambda picture: picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT).crop(
        (10, 20, 220, 235)
    ),
}


def thumbs(*pictures: Image.Image) -> np.ndarray:
    return np.stack([thumbnail(picture) for picture in pictures])


@pytest.mark.parametrize("kind", ["resized", "recompressed", "text", "mirrored"])
def test_codes_of_uncropped_copies_are_near(kind: str) -> None:
    """But for crops a copy's code is within the radius, so that the search finds it; other
    pictures' are not."""
    pictures = [drawn(seed) for seed in range(12)]
    originals, copied = thumbs(*pictures), thumbs(*map(COPIES[kind], pictures))
    turned = copied[:, :, ::-1] if kind == "mirrored" else copied
    far = np.bitwise_count(
        perceptual_codes(turned)[:, None] ^ perceptual_codes(originals)[None]
    ).sum(2)
    assert np.diag(far).max() <= NEAR_BITS
    assert far[~np.eye(12, dtype=bool)].min() > NEAR_BITS
    assert coarse_match(coarse_thumbnails(turned), coarse_thumbnails(originals)).all()
    assert aligned_similarity(turned, originals).min() >= SAME


def test_all_pairs_are_those_of_brute_force() -> None:
    """On random bits, at several radii and widths, each pair is found once with its distance, and
    no other."""
    rng = np.random.default_rng(0)
    for width, radius in ((8, 0), (8, 22), (32, 100), (32, 64)):
        rows = rng.integers(0, 256, (300, width), dtype=np.uint8)
        rows[150:170] = rows[:20]
        rows[170:190] = rows[:20]
        rows[170:190, 0] ^= 7  # three bits
        far = np.bitwise_count(rows[:, None] ^ rows[None]).sum(2, dtype=np.int64)
        expected = {
            (a, b, int(far[a, b]))
            for a in range(300)
            for b in range(a + 1, 300)
            if far[a, b] <= radius
        }
        parts = [np.stack(part, 1) for part in near_pairs(rows, radius, portion=64)]
        found = [tuple(row) for row in np.concatenate(parts).tolist()]
        assert len(found) == len(set(found))
        assert set(found) == expected
        assert len(expected) >= 20
        asked = np.concatenate(
            [np.stack(part, 1) for part in near_pairs(rows, radius, queries=rows[:30])]
        )
        assert len(asked) == (far[:30] <= radius).sum()


def test_pictures_of_one_colour_are_flat() -> None:
    """White, black and a soft shade are flat; a small product on white is not."""
    small = Image.new("RGB", (200, 200), "white")
    small.paste(drawn(1).resize((40, 40)), (80, 80))
    pictures = [Image.new("RGB", (50, 80), colour) for colour in ("white", "black", (200, 180, 20))]
    assert is_uniform(thumbs(*pictures, small, drawn(2))).tolist() == [
        True,
        True,
        True,
        False,
        False,
    ]


def ring(radius: int, width: int, side: int = 1000, *, gem: int = 0) -> Image.Image:
    """A small ring before white, perhaps with a stone."""
    picture = Image.new("RGB", (side, side), (254, 254, 254))
    pen = ImageDraw.Draw(picture)
    x, y = side // 2, side * 2 // 5
    box = (x - radius, y - radius, x + radius, y + radius)
    pen.ellipse(box, outline=(190, 160, 90), width=width)
    if gem:
        pen.rectangle((x - gem, y - radius - gem, x + gem, y - radius + gem), fill=(60, 90, 200))
    return picture


def test_small_things_on_white_are_known_by_the_thing() -> None:
    """They are not "of one colour", their copies agree and other things do not; white stays
    white."""
    first, second = ring(45, 5), ring(40, 5, gem=14)
    copies = [first.resize((500, 500)), again(first, 60), first.crop((60, 40, 960, 980))]
    made = thumbs(first, *copies)
    assert not is_uniform(made).any()
    same = compare(np.broadcast_to(made[0], made[1:].shape), made[1:])
    assert same.agreement.min() >= SAME
    assert compare(made[:1], thumbs(second)).agreement[0] < SAME
    dusty = Image.new("RGB", (600, 600), "white")
    dusty.putpixel((300, 300), (0, 0, 0))
    assert is_uniform(thumbs(dusty, Image.new("RGB", (64, 64), "white"))).all()
