"""Photos to inputs: what a network is shown, and where in the photo that lies."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from PIL import Image

from indexer.imaging.decode import Photo
from indexer.model import backbones
from indexer.model.preprocessing import (
    QUICK,
    frame_part,
    group_pixels,
    inner_share,
    input_size,
    input_sizes,
    rectangles,
    to_pixels,
    to_views,
    visible_box,
    with_look,
)
from indexer.model.spec import Preprocess

PLAIN = backbones.find("efficientnet_lite0").preprocess
RECT = with_look(PLAIN, "rect")


def ramp(width: int, height: int) -> Image.Image:
    """Red grows from left to right, green from top to bottom; 0 and 255 at the edges' middle."""
    red, green = (np.linspace(0, 255, side) for side in (width, height))
    pixels = np.zeros((height, width, 3))
    pixels[..., 0], pixels[..., 1] = red[None], green[:, None]
    return Image.fromarray(pixels.round().astype(np.uint8))


def quick(preprocess: Preprocess) -> Preprocess:
    from dataclasses import replace

    return replace(preprocess, interpolation=QUICK[preprocess.interpolation])


@pytest.mark.parametrize("crop", [224, 240, 260, 299])
def test_rectangles_cost_about_what_the_square_costs(crop: int) -> None:
    """Within a tenth of its area; strides of 32 px divide what is no square."""
    square, *others = rectangles(with_look(backbones.preprocessing(crop, crop), "whole"))
    assert square == (crop, crop)
    assert [tall > wide for wide, tall in others] == [True, False]
    for wide, tall in others:
        assert wide % 32 == tall % 32 == 0
        assert 0.88 <= wide * tall / crop**2 <= 1.1


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        ((400, 400), (224, 224)),
        ((360, 400), (224, 224)),
        ((300, 400), (192, 256)),
        ((1080, 1920), (192, 256)),
        ((1920, 1080), (256, 192)),
        ((30, 900), (192, 256)),
        ((900, 1), (256, 192)),
    ],
)
def test_a_photo_takes_the_nearest_form(size: tuple[int, int], expected: tuple[int, int]) -> None:
    assert input_size(size, RECT) == expected
    assert to_pixels(Image.new("RGB", size), RECT).shape == (*expected[::-1], 3)
    assert input_size(size, PLAIN) == (224, 224)


@pytest.mark.parametrize("preprocess", [RECT, quick(RECT)], ids=["plain", "quick"])
@pytest.mark.parametrize("size", [(400, 400), (360, 640), (640, 400), (501, 667)])
def test_all_of_a_photo_is_seen(size: tuple[int, int], preprocess: Preprocess) -> None:
    """From edge to edge, up to a phone's 9:16; today's look loses both ends of a long side."""
    assert visible_box(size, preprocess) == (0, 0, *size)
    seen = to_pixels(ramp(*size), preprocess).astype(int)
    for channel, axis in ((0, 1), (1, 0)):
        ends = seen[..., channel].mean(axis=1 - axis)
        assert ends[0] < 4
        assert ends[-1] > 251
    lost = to_pixels(ramp(*size), PLAIN)[..., int(size[1] > size[0])]
    assert lost.min() > 10


@pytest.mark.parametrize(("size", "box"), [((40, 800), (-205, 0, 245, 800))])
def test_a_strip_gets_margins_in_the_color_of_its_edge(
    size: tuple[int, int], box: tuple[float, ...]
) -> None:
    """It is not drawn out without bound: its form changes by a third, the rest is margin, and the
    box says how far that reaches beyond the photo."""
    strip = Image.new("RGB", size, (200, 40, 60))
    assert visible_box(size, RECT) == pytest.approx(box)
    for picture in (strip, strip.transpose(Image.Transpose.ROTATE_90)):
        seen = to_pixels(picture, RECT)
        assert np.abs(seen.astype(int) - (200, 40, 60)).max() <= 1
    inked = Image.new("RGB", size, (255, 255, 255))
    inked.paste((0, 0, 0), (10, 100, 30, 700))
    seen = to_pixels(inked, RECT)[..., 0] < 128
    columns, rows = np.flatnonzero(seen.any(0)), np.flatnonzero(seen.any(1))
    across = 192 / 450
    assert len(columns) == pytest.approx(20 * across, abs=2)
    assert columns.mean() == pytest.approx(95.5, abs=1)
    assert (rows[0], rows[-1]) == pytest.approx((32, 223), abs=1)


def test_looks_of_squares_are_as_they_were() -> None:
    """``crop`` is the backbone's own; ``whole`` is the middle square to its edge."""
    assert with_look(PLAIN, "crop") == PLAIN
    assert visible_box((400, 640), PLAIN) == pytest.approx((25, 145, 375, 495))
    assert visible_box((400, 640), with_look(PLAIN, "whole")) == (0, 120, 400, 520)


def test_photos_of_one_form_go_together_and_none_is_asked_for_twice() -> None:
    sizes = [(400, 400), (300, 400), (380, 400), (400, 300), (30, 40)]
    asked = []

    def photos() -> object:
        for width, height in sizes:
            asked.append((width, height))
            yield Photo(ramp(width, height), "PNG", width, height, "")

    groups = group_pixels(photos(), RECT)  # type: ignore[arg-type]
    assert asked == sizes
    assert [places.tolist() for places, _ in groups] == [[0, 2], [1, 4], [3]]
    for places, pixels in groups:
        for place, seen in zip(places, pixels, strict=True):
            np.testing.assert_array_equal(seen, to_pixels(ramp(*sizes[place]), RECT))
    assert input_sizes(PLAIN) == ((224, 224),)


def test_a_part_is_seen_as_a_whole_photo_is() -> None:
    """With rectangles as it is; where only squares are read, in the middle of one."""
    part = ramp(60, 200)
    assert frame_part(part, RECT) is part
    assert frame_part(part, PLAIN).size == (200, 200)


def test_a_photo_seen_twice_gives_two_inputs() -> None:
    """First the middle square as it always was, then all of it; the box is of the second."""
    both = with_look(PLAIN, "both")
    picture = ramp(300, 480)
    first, second = to_views(picture, both)
    np.testing.assert_array_equal(first, to_pixels(picture, PLAIN))
    assert visible_box((300, 480), both) == (-90, 0, 390, 480)
    assert inner_share((300, 480), both) == pytest.approx([0.875 * 300 / 480] * 2)
    squash = dataclasses.replace(both, keep_aspect=False)
    assert inner_share((300, 480), squash) == pytest.approx([0.875 * 300 / 480, 0.875])
    assert inner_share((300, 480), PLAIN) == (1, 1)
    rows = second[:, 112, 1].astype(int)
    assert rows[0] < 4
    assert rows[-1] > 251
    assert (second[:, :40] == second[0, 0]).all()
    assert frame_part(picture, both) is picture
    [(places, pixels)] = group_pixels([Photo(picture, "PNG", 300, 480, "")] * 2, both)
    assert places.tolist() == [0, 1]
    assert pixels.shape == (4, 224, 224, 3)
