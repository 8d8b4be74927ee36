"""Promises of indexer.imaging.decode: what comes out of every kind of image file, and what is
refused with which reason."""

from __future__ import annotations

import hashlib
import io
import struct
import sys
import threading
import tracemalloc
import zlib
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageCms

from indexer.core.errors import BadImageError, ImageTooLargeError, UnsupportedFormatError
from indexer.imaging.decode import MIME, ImageLimits, decode_photo, hash_content

LOSSLESS = ("PNG", "BMP", "TIFF", "GIF")
ALL = ("JPEG", "MPO", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF")


def encode(image: Image.Image, format_: str, **options: Any) -> bytes:
    out = io.BytesIO()
    image.save(out, format_, **options)
    return out.getvalue()


def quadrants(width: int = 48, height: int = 32) -> Image.Image:
    """Red, green / blue, white: a picture whose every orientation looks different."""
    pixels = np.zeros((height, width, 3), np.uint8)
    pixels[: height // 2, : width // 2] = 220, 30, 40
    pixels[: height // 2, width // 2 :] = 30, 160, 60
    pixels[height // 2 :, : width // 2] = 40, 60, 200
    pixels[height // 2 :, width // 2 :] = 250, 250, 250
    return Image.fromarray(pixels)


def array(data: bytes, **options: Any) -> np.ndarray:
    return np.asarray(decode_photo(data, **options).pixels).astype(int)


def saved(format_: str) -> bytes:
    if format_ == "MPO":
        return encode(
            quadrants(),
            "MPO",
            save_all=True,
            append_images=[Image.new("RGB", (48, 32))],
            quality=95,
        )
    return encode(
        quadrants(), format_, **({"quality": 95} if format_ in ("JPEG", "WEBP", "AVIF") else {})
    )


@pytest.mark.parametrize("format_", ALL)
def test_every_allowed_format_gives_the_same_picture(format_: str) -> None:
    """Colours survive any allowed format (within its own loss), and the facts of the photo are
    right."""
    data = saved(format_)
    photo = decode_photo(data)
    assert (photo.format, photo.width, photo.height) == (format_, 48, 32)
    assert photo.pixels.mode == "RGB"
    assert photo.pixels.size == (48, 32)
    assert photo.content_hash == hashlib.sha256(data).hexdigest() == hash_content(data)
    assert format_ in MIME
    got, want = np.asarray(photo.pixels).astype(int), np.asarray(quadrants()).astype(int)
    if format_ in LOSSLESS:
        assert (got == want).all()
    else:
        for y, x in ((6, 8), (6, 40), (26, 8), (26, 40)):  # away from the edges
            assert np.abs(got[y, x] - want[y, x]).max() <= 12


@pytest.mark.parametrize("format_", ["GIF", "WEBP", "PNG", "AVIF", "TIFF"])
def test_an_animation_gives_its_first_frame(format_: str) -> None:
    """Only the first frame counts."""
    data = encode(
        Image.new("RGB", (20, 20), "red"),
        format_,
        save_all=True,
        append_images=[Image.new("RGB", (20, 20), "blue")],
    )
    red, green, blue = array(data)[10, 10]
    assert red > 230
    assert green < 30
    assert blue < 30


def test_heic_needs_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without pillow-heif the answer names the extra; with it, HEIC is read, and Pillow is left
    unchanged."""
    heif = pytest.importorskip("pillow_heif")
    out = io.BytesIO()
    heif.from_pillow(quadrants(64, 64)).save(out, quality=90)
    photo = decode_photo(out.getvalue())
    assert (photo.format, photo.width, photo.height) == ("HEIC", 64, 64)
    assert np.abs(np.asarray(photo.pixels).astype(int)[10, 10] - (220, 30, 40)).max() < 15
    assert "HEIF" not in Image.OPEN
    with pytest.raises(ImageTooLargeError):
        decode_photo(out.getvalue(), limits=ImageLimits(max_pixels=64 * 63))
    with pytest.raises(BadImageError, match="HEIC"):
        decode_photo(out.getvalue()[:200])
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    with pytest.raises(UnsupportedFormatError, match=r"catalens\[heic\]"):
        decode_photo(out.getvalue())


# --- orientation and metadata
# ---------------------------------------------------------------------------------------

# How the upright picture must be stored so that orientation N turns it upright (EXIF 2.32, tag
# 0x0112).
STORED = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.transpose(1, 0, 2),
    6: lambda a: np.rot90(a, 1),
    7: lambda a: a[::-1, ::-1].transpose(1, 0, 2),
    8: lambda a: np.rot90(a, -1),
}


@pytest.mark.parametrize("format_", ["PNG", "TIFF", "JPEG", "WEBP", "AVIF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_all_eight_orientations_come_out_upright(format_: str, orientation: int) -> None:
    """The same upright pixels and upright sizes, whichever way the camera was held; no metadata is
    left."""
    upright = np.asarray(quadrants())
    exif = Image.Exif()
    exif[0x0112] = orientation
    exif[0x010E] = "secret"
    stored = Image.fromarray(np.ascontiguousarray(STORED[orientation](upright)))
    options: dict[str, Any] = {"quality": 95} if format_ in ("JPEG", "AVIF") else {}
    if format_ == "WEBP":
        options = {"lossless": True}
    photo = decode_photo(encode(stored, format_, exif=exif, **options))
    assert (photo.width, photo.height) == photo.pixels.size == (48, 32)
    assert photo.pixels.info == {}
    assert len(photo.pixels.getexif()) == 0
    got = np.asarray(photo.pixels).astype(int)
    if format_ in ("PNG", "TIFF", "WEBP"):
        assert (got == upright).all()
    else:
        for y, x in ((6, 8), (6, 40), (26, 8), (26, 40)):
            assert np.abs(got[y, x] - upright[y, x]).max() <= 12


@pytest.mark.filterwarnings("ignore:Corrupt EXIF")
@pytest.mark.parametrize(
    "exif", [b"Exif\0\0MM\0*\0\0\0\x08\xff\xff garbage", b"Exif\0\0XX is no TIFF header"]
)
def test_broken_exif_is_no_reason_to_refuse(exif: bytes) -> None:
    """A damaged EXIF block leaves the picture as it is stored."""
    for format_ in ("JPEG", "PNG", "WEBP"):
        assert decode_photo(encode(quadrants(), format_, exif=exif)).pixels.size == (48, 32)


# --- shrink_to
# --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("shrink_to", "size"),
    [
        (None, (1600, 1000)),
        (400, (1600, 1000)),
        (224, (800, 500)),
        (100, (400, 250)),
        (10, (200, 125)),
    ],
)
def test_shrink_to_keeps_twice_the_short_side(shrink_to: int | None, size: tuple[int, int]) -> None:
    """A reduced JPEG never falls below 2 x shrink_to on the short side; the reported size stays the
    original's."""
    photo = decode_photo(encode(quadrants(1600, 1000), "JPEG"), shrink_to=shrink_to)
    assert photo.pixels.size == size
    assert (photo.width, photo.height) == (1600, 1000)
    assert shrink_to is None or min(size) >= min(2 * shrink_to, 1000)


def test_shrink_to_with_a_turned_photo() -> None:
    """The reported size is upright, and so are the reduced pixels."""
    exif = Image.Exif()
    exif[0x0112] = 6
    photo = decode_photo(encode(quadrants(1600, 1000), "JPEG", exif=exif), shrink_to=224)
    assert (photo.width, photo.height) == (1000, 1600)
    assert photo.pixels.size == (500, 800)


def test_shrink_to_leaves_other_formats_alone() -> None:
    """Only JPEG can be decoded smaller without a second resampling."""
    assert decode_photo(encode(quadrants(800, 600), "PNG"), shrink_to=10).pixels.size == (800, 600)


# --- colour
# --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("format_", ["JPEG", "TIFF"])
def test_cmyk_red_is_red(format_: str) -> None:
    """Ink values become light, also in JPEGs, whose CMYK is stored inverted (Adobe)."""
    inks = Image.new("CMYK", (32, 32), (0, 255, 255, 0))
    red, green, blue = array(encode(inks, format_))[16, 16]
    assert red > 240
    assert green < 25
    assert blue < 25
    assert array(encode(Image.new("CMYK", (32, 32), (0, 0, 0, 0)), format_))[16, 16].min() > 250
    assert array(encode(Image.new("CMYK", (32, 32), (0, 0, 0, 255)), format_))[16, 16].max() < 5


@pytest.mark.parametrize("format_", ["PNG", "TIFF"])
def test_sixteen_bit_grey_is_scaled_not_clipped(format_: str) -> None:
    """Half of 65535 is mid grey; the ends stay the ends."""
    values = np.array([[0, 32768, 65535, 257 * 10]], np.uint16).repeat(8, 0)
    got = array(encode(Image.fromarray(values), format_))[0]
    assert np.abs(got - np.array([[0], [128], [255], [10]])).max() <= 1


def test_other_deep_greys() -> None:
    """The other ways a TIFF stores deep grey: white is zero, 12 bits, big-endian."""
    data = bytearray(encode(Image.fromarray(np.full((4, 4), 65535 - 257 * 40, np.uint16)), "TIFF"))
    at = data.index(struct.pack("<HHI", 262, 3, 1)) + 8
    assert data[at] == 1
    data[at] = 0
    assert np.abs(array(bytes(data)) - 40).max() <= 1
    data = bytearray(encode(Image.frombytes("I;16", (4, 4), b"\x88" * 32), "TIFF"))
    data[data.index(struct.pack("<HHI", 258, 3, 1)) + 8] = 12  # 0x888 of 0xfff: 136 of 255
    assert np.abs(array(bytes(data)) - 136).max() <= 1
    big = Image.frombytes("I;16B", (4, 4), struct.pack(">16H", *[257 * 40] * 16))
    assert np.abs(array(encode(big, "TIFF")) - 40).max() <= 1


@pytest.mark.parametrize(
    ("values", "want"),
    [
        (np.array([[0.0, 0.5, 1.0]], np.float32), [0, 128, 255]),
        (np.array([[0.0, 100.0, 255.0]], np.float32), [0, 100, 255]),
        (np.array([[np.nan, 0.5, 1.0]], np.float32), [0, 128, 255]),
        (np.array([[0, 25700, 65535]], np.int32), [0, 100, 255]),
        (np.array([[-1000, 0, 1000]], np.int32), [0, 128, 255]),
    ],
)
def test_wide_grey(values: np.ndarray, want: list[int]) -> None:
    """Floats and 32-bit integers find their range; NaN is black."""
    got = array(encode(Image.fromarray(values), "TIFF"))[0, :, 0]
    assert np.abs(got - np.array(want)).max() <= 1


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_transparency_is_laid_on_white(mode: str) -> None:
    """Clear is white, half is half way, opaque is itself."""
    pixels = np.zeros((1, 3, 4), np.uint8)
    pixels[0, :, :3] = 100
    pixels[0, :, 3] = 0, 128, 255
    got = array(encode(Image.fromarray(pixels).convert(mode), "PNG"))[0]
    assert np.abs(got - np.array([[255], [177], [100]])).max() <= 1


@pytest.mark.parametrize("mode", ["P", "L", "RGB"])
def test_a_transparent_colour_is_laid_on_white(mode: str) -> None:
    """A palette entry or a single colour marked transparent (GIF, PNG) is white,
    the others stay."""
    if mode == "P":
        image = Image.new("P", (2, 1), 0)
        image.putpalette([200, 0, 0, 0, 0, 200])
        transparent: Any = 0
        want = [[255, 255, 255], [0, 0, 200]]
    else:
        image = Image.new(mode, (2, 1), 10 if mode == "L" else (10, 10, 10))
        transparent = 10 if mode == "L" else (10, 10, 10)
        want = [[255, 255, 255], [70, 70, 70]]
    image.putpixel((1, 0), 1 if mode == "P" else 70 if mode == "L" else (70, 70, 70))
    assert array(encode(image, "PNG", transparency=transparent))[0].tolist() == want


def test_palette_bilevel_grey_and_ycbcr() -> None:
    """The plain modes keep their colours."""
    assert (array(encode(quadrants().quantize(8), "GIF")) == np.asarray(quadrants())).all()
    assert array(encode(Image.new("1", (8, 8), 1), "PNG")).min() == 255
    assert array(encode(Image.new("L", (8, 8), 77), "JPEG"))[4, 4].tolist() == [77, 77, 77]
    assert (
        np.abs(array(encode(quadrants().convert("YCbCr"), "TIFF")) - np.asarray(quadrants())).max()
        <= 3
    )


def test_lab_tiff_is_converted_by_colour_science() -> None:
    """A Lab red (54, 81, 70) is sRGB red; a neutral L is a grey."""
    lab = Image.frombytes("LAB", (1, 1), bytes([round(53.2 * 2.55), 80 & 255, 67 & 255]))
    red, green, blue = array(encode(lab, "TIFF"))[0, 0]
    assert red > 235
    assert green < 40
    assert blue < 40


def swapped_profile() -> bytes:
    """sRGB's profile with the red and the blue colorant exchanged: its red is sRGB's blue."""
    data = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    entries = {
        bytes(data[at : at + 4]): at + 4
        for at in range(132, 132 + 12 * int.from_bytes(data[128:132], "big"), 12)
    }
    red, blue = entries[b"rXYZ"], entries[b"bXYZ"]
    data[red : red + 8], data[blue : blue + 8] = data[blue : blue + 8], data[red : red + 8]
    return bytes(data)


@pytest.mark.parametrize("format_", ["PNG", "JPEG", "WEBP", "TIFF", "AVIF"])
def test_an_embedded_profile_is_converted(format_: str) -> None:
    """What the profile calls red is shown as what it means (here: blue), and the profile is gone
    afterwards."""
    photo = decode_photo(
        encode(Image.new("RGB", (16, 16), (250, 10, 10)), format_, icc_profile=swapped_profile())
    )
    red, green, blue = np.asarray(photo.pixels).astype(int)[8, 8]
    assert blue > 235
    assert max(red, green) < 30
    assert photo.pixels.info == {}


def test_profile_and_transparency_together() -> None:
    """The colour is converted before it is laid on white."""
    data = encode(Image.new("RGBA", (4, 4), (255, 0, 0, 0)), "PNG", icc_profile=swapped_profile())
    assert array(data).min() == 255
    data = encode(Image.new("RGBA", (4, 4), (255, 0, 0, 255)), "PNG", icc_profile=swapped_profile())
    assert np.abs(array(data)[0, 0] - (0, 0, 255)).max() <= 3


@pytest.mark.parametrize("profile", [b"no profile at all", b"\0" * 200, swapped_profile()[:300]])
def test_a_broken_profile_is_ignored(profile: bytes) -> None:
    """The picture counts, not its damaged profile."""
    assert (array(encode(quadrants(), "PNG", icc_profile=profile)) == np.asarray(quadrants())).all()


def test_a_profile_for_another_colour_space_is_ignored() -> None:
    """An RGB profile on a grey or CMYK file (seen in the wild) does no harm."""
    assert (
        array(encode(Image.new("L", (4, 4), 90), "PNG", icc_profile=swapped_profile()))[
            0, 0
        ].tolist()
        == [90] * 3
    )
    red, _, blue = array(
        encode(Image.new("CMYK", (16, 16), (0, 255, 255, 0)), "JPEG", icc_profile=swapped_profile())
    )[8, 8]
    assert red > 240
    assert blue < 25


# --- refusals
# --------------------------------------------------------------------------------------------------


def png_header(width: int, height: int) -> bytes:
    def chunk(kind: bytes, body: bytes) -> bytes:
        return (
            struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        )

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(b"\0" * 1000))
        + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize(("width", "height"), [(30_000, 30_000), (9_000, 8_000), (12_000, 10_000)])
@pytest.mark.filterwarnings("error")
def test_a_huge_image_is_refused_from_its_header(width: int, height: int) -> None:
    """Below, inside and above Pillow's limits: refused by ours without a warning, and nothing so
    large is allocated."""
    tracemalloc.start()
    try:
        with pytest.raises(
            ImageTooLargeError, match=rf"{width} x {height} px .* more than the limit of 64,000,000"
        ):
            decode_photo(png_header(width, height))
        assert tracemalloc.get_traced_memory()[1] < 4 * 2**20
    finally:
        tracemalloc.stop()


def test_limits_are_inclusive() -> None:
    """Exactly at a limit passes, one over does not; the message names both numbers."""
    data = saved("PNG")
    decode_photo(data, limits=ImageLimits(max_bytes=len(data), max_pixels=48 * 32))
    with pytest.raises(ImageTooLargeError, match=rf"{len(data):,} bytes.*{len(data) - 1:,}"):
        decode_photo(data, limits=ImageLimits(max_bytes=len(data) - 1))
    with pytest.raises(ImageTooLargeError, match=r"48 x 32 px = 1,536.*1,535"):
        decode_photo(data, limits=ImageLimits(max_pixels=48 * 32 - 1))


def test_zero_bytes() -> None:
    """An empty upload says so."""
    with pytest.raises(BadImageError, match="empty"):
        decode_photo(b"")


@pytest.mark.parametrize(
    "data",
    [
        b"just some text, renamed to photo.jpg",
        b"\0" * 500,
        b"<!doctype html><p>404",
        b"B",
        b"\xff\xd8",
    ],
)
def test_what_is_no_image(data: bytes) -> None:
    """Text renamed .jpg and the like: BadImage, and not the 'format not allowed' kind."""
    with pytest.raises(BadImageError, match="not an image") as caught:
        decode_photo(data)
    assert not isinstance(caught.value, UnsupportedFormatError)


@pytest.mark.parametrize(
    ("data", "named"),
    [
        (b"8BPS\0\1" + b"\0" * 40, "Photoshop"),
        (b"%PDF-1.7 ...", "PDF"),
        (b'<?xml version="1.0"?>\n<svg xmlns="http://www.w3.org/2000/svg"/>', "SVG"),
        (b"%!PS-Adobe-3.0 EPSF-3.0", "PostScript"),
        (b"\0\0\0\x18ftypmp42\0\0\0\0mp42isom", "video"),
        (encode(quadrants(), "ICO"), "ICO"),
        (encode(quadrants(), "JPEG2000"), "JPEG 2000"),
    ],
)
def test_a_format_off_the_list_is_named(data: bytes, named: str) -> None:
    """Another kind of file is refused as such, and the allowed formats are listed."""
    with pytest.raises(UnsupportedFormatError, match=named):
        decode_photo(data)


@pytest.mark.parametrize("format_", ALL)
def test_half_a_file_is_refused(format_: str) -> None:
    """A truncated photo is never half a picture; the reason names the format and no Python type."""
    noise = Image.fromarray(np.random.default_rng(1).integers(0, 256, (60, 80, 3), np.uint8))
    data = encode(noise, "JPEG" if format_ == "MPO" else format_)
    for part in (0.1, 0.5, 0.9):
        with pytest.raises(BadImageError, match=r"(truncated|damaged) [A-Z]+: "):
            decode_photo(data[: int(len(data) * part)])


DAMAGE_LIMITS = ImageLimits(max_bytes=2**20, max_pixels=2**18)
SAMPLES = {name: saved(name) for name in ALL} | {
    "TIFF-lzw": encode(quadrants(), "TIFF", compression="tiff_lzw"),
    "TIFF-jpeg": encode(quadrants(), "TIFF", compression="jpeg"),
    "PNG-icc": encode(quadrants().convert("RGBA"), "PNG", icc_profile=swapped_profile()),
    "JPEG-exif": encode(
        quadrants(),
        "JPEG",
        progressive=True,
        exif=b"Exif\0\0MM\0*\0\0\0\x08\0\1\1\x12\0\3\0\0\0\1\0\6\0\0\0\0\0\0",
    ),
    "PNG-16": encode(Image.fromarray(np.arange(1024, dtype=np.uint16).reshape(32, 32) * 60), "PNG"),
}


@pytest.mark.filterwarnings("ignore")
@settings(max_examples=400, deadline=None)
@given(
    name=st.sampled_from(sorted(SAMPLES)),
    cut=st.one_of(st.none(), st.floats(0, 1)),
    flips=st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), max_size=6),
    in_header=st.booleans(),
    shrink_to=st.sampled_from([None, 4]),
)
def test_damage_decodes_or_is_a_bad_image(
    name: str,
    cut: float | None,
    flips: list[tuple[float, int]],
    in_header: bool,
    shrink_to: int | None,
) -> None:
    """Whatever happens to the bytes: a whole RGB picture or BadImage, never another exception."""
    data = bytearray(SAMPLES[name])
    if cut is not None:
        del data[int(len(data) * cut) :]
    for where, value in flips:
        if data:
            data[int(min(len(data), 120 if in_header else len(data)) * where)] = value
    reason = None
    try:
        photo = decode_photo(bytes(data), limits=DAMAGE_LIMITS, shrink_to=shrink_to)
    except BadImageError as error:
        reason = str(error)
    if reason is None:
        assert photo.pixels.mode == "RGB"
        photo.pixels.getpixel((photo.pixels.width - 1, photo.pixels.height - 1))
    else:
        assert reason
        assert "\n" not in reason


def test_threads_get_what_one_thread_gets() -> None:
    """Decoding the same files from eight threads at once changes no pixel (the profile's transform
    is shared)."""
    files = [*SAMPLES.values(), encode(quadrants(640, 480), "PNG", icc_profile=swapped_profile())]
    want = [decode_photo(data).pixels.tobytes() for data in files]
    wrong: list[int] = []

    def work() -> None:
        for _ in range(4):
            wrong.extend(
                n for n, data in enumerate(files) if decode_photo(data).pixels.tobytes() != want[n]
            )

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


@pytest.mark.parametrize("size", [(1, 2**18 + 1), (2**18 + 1, 1)])
def test_a_picture_of_an_endless_side_is_refused(size: tuple[int, int]) -> None:
    """124 KB of 64 million rows, each of one pixel, held the network for twenty seconds."""
    out = io.BytesIO()
    Image.new("L", size).save(out, "PNG")
    with pytest.raises(ImageTooLargeError, match="side of more than 262,144 px"):
        decode_photo(out.getvalue())
    out = io.BytesIO()
    Image.new("L", (1, 2**18)).save(out, "PNG")
    assert decode_photo(out.getvalue()).height == 2**18
