"""What lies under transparency: white, but for what white would swallow."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image, ImageCms, ImageDraw

from indexer.imaging.decode import decode_photo
from indexer.imaging.srgb import to_srgb


def drawn(colour: tuple[int, int, int], *, mark: tuple[int, int, int] | None = None) -> bytes:
    """A ring of one colour on nothing, with a patch of another."""
    picture = Image.new("RGBA", (120, 90), (0, 0, 0, 0))
    pen = ImageDraw.Draw(picture)
    pen.ellipse((20, 10, 100, 80), outline=(*colour, 255), width=12)
    if mark:
        pen.rectangle((30, 30, 60, 60), fill=(*mark, 255))
    out = io.BytesIO()
    picture.save(out, "PNG")
    return out.getvalue()


def pixels(data: bytes) -> np.ndarray:
    return np.asarray(decode_photo(data).pixels).astype(int)


@pytest.mark.parametrize("colour", [(255, 255, 255), (250, 248, 252), (240, 240, 240)])
def test_a_drawing_as_light_as_white_lies_on_grey(colour: tuple[int, int, int]) -> None:
    """It is seen, in its own colour."""
    found = pixels(drawn(colour))
    assert found[0, 0].tolist() == [128, 128, 128]
    assert found[45, 25].tolist() == list(colour)


@pytest.mark.parametrize(
    ("colour", "mark"),
    [
        ((0, 0, 0), None),
        ((200, 200, 200), None),
        ((255, 255, 160), None),
        ((255,) * 3, (20, 20, 90)),
    ],
)
def test_all_else_lies_on_white(
    colour: tuple[int, int, int], mark: tuple[int, int, int] | None
) -> None:
    """Also white things with something that is seen, such as shadows."""
    assert pixels(drawn(colour, mark=mark))[0, 0].tolist() == [255, 255, 255]


def test_two_white_drawings_are_two_pictures() -> None:
    """Other formats and half-clear edges too; nothing at all stays white."""
    ring = pixels(drawn((255, 255, 255)))
    other = Image.new("LA", (120, 90), (0, 0))
    ImageDraw.Draw(other).text((10, 10), "SALE", (255, 255), font_size=40)
    out = io.BytesIO()
    other.save(out, "WEBP", lossless=True)
    assert np.abs(pixels(out.getvalue()) - ring).mean() > 10
    empty = io.BytesIO()
    Image.new("RGBA", (20, 20), (255, 255, 255, 0)).save(empty, "PNG")
    assert pixels(empty.getvalue()).min() == 255


@pytest.mark.parametrize(
    "mode", ["1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "LAB", "F", "I", "I;16"]
)
def test_pictures_converted_in_strips_are_the_same(
    mode: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Range, ground and profile are of the whole picture, wherever it is cut."""
    ramp = np.linspace(0, 65000, 90 * 70).reshape(90, 70)
    if mode in ("F", "I", "I;16"):
        kind = {"F": np.float32, "I": np.int32, "I;16": np.uint16}[mode]
        picture = Image.fromarray(ramp.astype(kind))
    else:
        colours = np.stack([ramp % 251, ramp / 260, 255 - ramp / 255], -1).astype(np.uint8)
        picture = Image.fromarray(colours)
        if mode in ("LA", "PA", "RGBA"):
            picture = picture.convert("RGBA")
            picture.putalpha(Image.fromarray((ramp % 256).astype(np.uint8)))
        if mode == "PA":
            picture = picture.convert("RGB").convert("P").convert("PA")
        elif mode == "LAB":
            picture = Image.frombytes("LAB", picture.size, colours.tobytes())
        else:
            picture = picture.convert(mode)
        profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
        picture.info["icc_profile"] = profile
    whole = np.asarray(to_srgb(picture.copy()))
    for px in (70, 7 * 70, 64 * 70):
        monkeypatch.setattr("indexer.imaging.srgb._STRIP", px)
        assert np.array_equal(np.asarray(to_srgb(picture.copy())), whole)
