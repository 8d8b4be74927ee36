"""TIFFs of every layout: the right pixels, or refused as not supported; never others."""

from __future__ import annotations

import struct
import time
import zlib
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from indexer.core.errors import BadImageError, ImageTooLargeError, UnsupportedFormatError
from indexer.imaging.decode import decode_photo
from indexer.imaging.tiff import load_samples, read_kind
from tests.indexer.imaging.hostile_files import same_blocks, scans
from tests.indexer.imaging.made_files import tiff

HEIGHT, WIDTH = 37, 42
DOWN, ACROSS = np.mgrid[0:HEIGHT, 0:WIDTH]
# a ramp of its own in each channel, in [0, 1]
RAMPS = np.stack([ACROSS / WIDTH, DOWN / HEIGHT, (ACROSS + DOWN) / (HEIGHT + WIDTH)], -1)
GREY = np.round(RAMPS[..., :1] * 255)


def pixels(data: bytes) -> np.ndarray:
    return np.asarray(decode_photo(data).pixels).astype(int)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("deflate", [False, True])
@pytest.mark.parametrize("layout", [{}, {"rows": 16}, {"tile": 16}])
def test_planes_of_sixteen_bits_are_the_same_picture(
    order: str, deflate: bool, layout: dict[str, int]
) -> None:
    """Channels apart give what channels together give, to the last bit."""
    samples = np.random.default_rng(0).integers(0, 65536, (HEIGHT, WIDTH, 3))
    options: dict[str, Any] = {"order": order, "bits": 16, "deflate": deflate, **layout}
    together = pixels(tiff(samples, **options))
    assert (together == samples >> 8).all()
    assert (pixels(tiff(samples, planes=True, **options)) == together).all()


@pytest.mark.filterwarnings("ignore")
@settings(max_examples=150, deadline=None)
@given(
    bits=st.sampled_from([8, 16, 32]),
    numbers=st.sampled_from([1, 2, 3]),
    count=st.integers(1, 5),
    planes=st.booleans(),
    deflate=st.booleans(),
    order=st.sampled_from("<>"),
    layout=st.sampled_from([{}, {"rows": 16}, {"tile": 16}]),
)
def test_a_layout_is_right_or_refused(
    bits: int,
    numbers: int,
    count: int,
    planes: bool,
    deflate: bool,
    order: str,
    layout: dict[str, int],
) -> None:
    """Whatever flags are put together: the picture to a level of 255, or "not supported"."""
    if (bits, numbers) not in ((8, 1), (16, 1), (16, 2), (16, 3), (32, 1), (32, 3)) or count == 2:
        return
    colours = RAMPS if count >= 3 else RAMPS[..., :1]
    # Ends at the full range, so that a picture's own span is that range.
    colours = np.round(colours * 255) / 255
    colours[0, 0], colours[-1, -1] = 0, 1
    whole = np.concatenate([colours, np.ones((HEIGHT, WIDTH, max(count - 3, 0)))], -1)
    full = {1: 2**bits - 1, 2: 2 ** (bits - 1) - 1, 3: 1}[numbers]
    values = whole if numbers == 3 else np.round(whole * full)
    more = {338: [2, 0][: count - 3]} if count > 3 else {}
    data = tiff(
        values,
        bits=bits,
        numbers=numbers,
        planes=planes,
        deflate=deflate,
        order=order,
        photometric=2 if count >= 3 else 1,
        more=more,
        **layout,
    )
    reason = ""
    found = np.zeros((1, 1, 3), int)
    try:
        found = pixels(data)
    except UnsupportedFormatError as error:
        reason = str(error)
    if reason:
        assert "not supported" in reason
        assert (bits, numbers) not in ((8, 1), (16, 1))
    else:
        assert np.abs(found - np.round(colours * 255)).max() <= 1


@pytest.mark.parametrize("top", [255, 65535])
@pytest.mark.parametrize("deflate", [False, True])
def test_palettes_of_eight_and_sixteen_bits(top: int, deflate: bool) -> None:
    """Colour maps that some programs write with 8 bits are not black."""
    colours = np.stack([np.arange(256), 255 - np.arange(256), np.arange(256) // 2])
    more = {320: (colours * (top // 255)).ravel().tolist()}
    data = tiff(GREY, photometric=3, deflate=deflate, more=more)
    assert (pixels(data) == colours.T[GREY[..., 0].astype(int)]).all()


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("planes", [False, True])
@pytest.mark.parametrize("deflate", [False, True])
def test_inks_and_their_extra_channel(bits: int, planes: bool, deflate: bool) -> None:
    """CMYK of both depths in both layouts; a spot colour beyond it is left out."""
    inks = np.concatenate([1 - RAMPS, np.zeros((HEIGHT, WIDTH, 1))], -1)
    for extra in (0, 1):
        values = np.concatenate([inks, np.ones((HEIGHT, WIDTH, extra))], -1)
        data = tiff(
            np.round(values * (2**bits - 1)),
            bits=bits,
            planes=planes,
            deflate=deflate,
            photometric=5,
            more={338: [0]} if extra else {},
        )
        assert np.abs(pixels(data) - np.round(RAMPS * 255)).max() <= 1


def test_lab_in_planes_is_lab() -> None:
    """Lightness and the two signed axes, together or apart."""
    lab = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    lab[..., 0] = np.round(RAMPS[..., 0] * 255)
    lab[..., 1] = (np.round(RAMPS[..., 1] * 100) - 50).astype(np.int8).view(np.uint8)
    want = pixels(tiff(lab, photometric=8))
    assert (pixels(tiff(lab, photometric=8, planes=True)) == want).all()
    assert np.ptp(want.reshape(-1, 3), axis=0).min() > 100


def test_opacity_in_planes_and_premultiplied() -> None:
    """Half of everything on white, whether colours were multiplied before or not."""
    half = np.full((HEIGHT, WIDTH, 1), 0.5)
    want = np.round((RAMPS + 1) / 2 * 255)
    for kind, colours in ((1, RAMPS / 2), (2, RAMPS)):
        for planes in (False, True):
            for bits in (8, 16):
                values = np.round(np.concatenate([colours, half], -1) * (2**bits - 1))
                data = tiff(values, bits=bits, planes=planes, more={338: [kind]})
                assert np.abs(pixels(data) - want).max() <= 2


def test_white_is_zero_also_in_floats() -> None:
    """The direction of grey holds for every kind of number."""
    want = np.repeat(255 - GREY, 3, -1)
    assert (pixels(tiff(GREY, photometric=0)) == want).all()
    ramp = GREY / GREY.max()
    for order in "<>":
        for deflate in (False, True):
            data = tiff(ramp, bits=32, numbers=3, photometric=0, order=order, deflate=deflate)
            assert np.abs(pixels(data)[..., :1] - np.round(255 - ramp * 255)).max() <= 1


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"photometric": 32803}, "photometric 32803"),
        ({"photometric": 8, "bits": 16}, "Lab, 3 x 16 bits"),
        ({"bits": 32, "numbers": 3}, "RGB, 3 x 32 bits float"),
        ({"bits": 16, "numbers": 3}, "float"),
        ({"more": {259: [34712]}}, "compression 34712"),
        ({"photometric": 6, "deflate": True}, "YCbCr"),
    ],
)
def test_a_whole_file_is_never_called_damaged(options: dict[str, Any], named: str) -> None:
    """What is not read is named as its kind, with what to do."""
    with pytest.raises(UnsupportedFormatError, match="not supported") as caught:
        decode_photo(tiff(np.round(RAMPS * 255), **options))
    assert named in str(caught.value)
    assert "PNG or JPEG" in str(caught.value)


@pytest.mark.parametrize("options", [{"planes": True}, {"more": {259: [34712]}}, {}])
def test_half_a_file_is_truncated_whatever_its_kind(options: dict[str, Any]) -> None:
    """A cut is a cut, and no kind of file."""
    data = tiff(np.round(RAMPS * 65535), bits=16, **options)
    with pytest.raises(BadImageError, match="truncated TIFF") as caught:
        decode_photo(data[: len(data) // 2])
    assert not isinstance(caught.value, UnsupportedFormatError)


@pytest.mark.parametrize("deflate", [False, True])
@pytest.mark.parametrize("portion", [1, 100, 1 << 20])
def test_a_block_is_read_some_rows_at_a_time(
    deflate: bool, portion: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One strip of all of a picture, as one portion or as many: the same pixels."""
    samples = np.random.default_rng(1).integers(0, 65535, (37, 23, 3), np.uint16)
    monkeypatch.setattr("indexer.imaging.tiff._PORTION", portion)
    for planes in (False, True):
        data = tiff(samples, bits=16, planes=planes, deflate=deflate)
        found = load_samples(read_kind(data), data, 64_000_000)  # type: ignore[arg-type]
        assert np.array_equal(np.asarray(found), samples >> 8)
    with pytest.raises(BadImageError, match=r"ends early|ends before"):
        load_samples(read_kind(data), data[:-9], 64_000_000)  # type: ignore[arg-type]


def test_a_block_far_larger_than_its_picture_is_refused() -> None:
    """It is unpacked whole, and nobody asked for that memory; also where only Pillow understands
    the directory."""
    samples = np.zeros((64, 64, 3), np.uint8)
    kept = struct.pack("<HHII", 322, 4, 1, 64)
    large = struct.pack("<HHII", 322, 4, 1, 2**20)
    # As the type of a text, which is no number: "abc".
    colours = struct.pack("<HHII", 320, 4, 1, 0x636261), struct.pack("<HHII", 320, 2, 4, 0x636261)
    plain = tiff(samples, tile=64, deflate=True, more={320: [0x636261]})
    odd = plain.replace(*colours)
    assert read_kind(plain) is not None
    assert read_kind(odd) is None
    for data in (plain, odd):
        assert pixels(data).shape == (64, 64, 3)
        with pytest.raises(ImageTooLargeError, match="far larger than its picture"):
            decode_photo(data.replace(kept, large))


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (same_blocks((8000, 800), b"", 500, t259=8, t322=16, t323=262_144), "far more than"),
        (same_blocks((500, 400), bytes(200_000), 10_000, t278=399), "far more than"),
        (same_blocks((16, 60_000), bytes(20_000), 60_000, t278=1), "far more bytes"),
        (same_blocks((8192, 4096), scans(50), 8, t259=7, t322=2048, t323=2048), "scans"),
    ],
    ids=["large tiles", "strips too many", "same bytes", "scans"],
)
def test_blocks_are_counted_before_they_are_unpacked(data: bytes, reason: str) -> None:
    """Small blocks that are many, named beyond the picture, or of many scans took minutes."""
    began = time.process_time()
    with pytest.raises(BadImageError, match=reason):
        decode_photo(data)
    assert time.process_time() - began < 0.5


def test_blocks_of_honest_pictures_are_read() -> None:
    """One more strip than is needed, the same white tile for all, and progressive tiles."""
    white = zlib.compress(b"\xff" * 256 * 256)
    tiled = same_blocks((1000, 3000), white, 48, t259=8, t322=256, t323=256)
    assert (pixels(tiled) == 255).all()
    assert pixels(same_blocks((64, 64), bytes(64 * 16), 5, t278=16)).shape == (64, 64, 3)
    jpegs = same_blocks((256, 128), scans(3, side=128), 2, t259=7, t322=128, t323=128)
    assert pixels(jpegs).shape == (128, 256, 3)


def test_planes_that_show_nothing_are_not_read() -> None:
    """A picture of 64 planes is read as its three colours, of 64 channels together not at all
    where that would be more than the limit's pixels take."""
    samples = np.zeros((64, 64, 64), np.uint8)
    data = tiff(samples, bits=16, planes=True)
    kind = read_kind(data)
    assert kind is not None
    cut = replace(kind.blocks, lengths=(*kind.blocks.lengths[:3], *[0] * 61))
    assert load_samples(replace(kind, blocks=cut), data, 10**6).size == (64, 64)
    together = tiff(samples, bits=16, rows=1)
    with pytest.raises(ImageTooLargeError, match="64 x 16 bits"):
        load_samples(read_kind(together), together, 64 * 64)  # type: ignore[arg-type]
