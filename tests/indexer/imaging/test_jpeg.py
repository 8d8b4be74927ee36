"""JPEGs that are huge, and JPEGs that end early: as much as is there, and no other pixels."""

from __future__ import annotations

import io
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from indexer.core.errors import BadImageError, ImageTooLargeError, UnsupportedFormatError
from indexer.imaging.decode import ImageLimits, Photo, decode_photo

HEIGHT, WIDTH = 480, 320


def picture(height: int = HEIGHT, width: int = WIDTH, *, lower: int = 128) -> np.ndarray:
    """Noise on a ramp; the lower third is of the very grey that libjpeg fills with."""
    noise = np.random.default_rng(3).integers(0, 60, (height, width, 3))
    pixels = noise + (np.arange(width) * 190 // width)[None, :, None]
    pixels[height * 2 // 3 :] = lower
    return pixels.astype(np.uint8)


def encoded(pixels: np.ndarray, **options: Any) -> bytes:
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "JPEG", **{"quality": 90, **options})
    return out.getvalue()


def array(photo: Photo) -> np.ndarray:
    return np.asarray(photo.pixels).astype(int)


KINDS: dict[str, dict[str, Any]] = {
    "baseline": {},
    "fine": {"subsampling": 0},
    "wide": {"subsampling": 1},
    "progressive": {"progressive": True},
    "restarts": {"restart_marker_blocks": 7},
}
FILES = {name: encoded(picture(), **options) for name, options in KINDS.items()}
# the entropy-coded noise ends here; the plain grey below it takes but a few bytes
NOISY = {name: encoded(picture()[: HEIGHT * 2 // 3], **options) for name, options in KINDS.items()}
GREY = encoded(np.full((64, 64), 128, np.uint8))


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("shrink_to", [None, 60])
@pytest.mark.parametrize("cut", [1, 2])
def test_without_its_end_mark_a_photo_is_whole(name: str, shrink_to: int | None, cut: int) -> None:
    """Every pixel is there, also where the photo is of the colour that stands for missing data."""
    for data in (FILES[name], NOISY[name], GREY):
        want = decode_photo(data, shrink_to=shrink_to)
        found = decode_photo(data[:-cut], shrink_to=shrink_to)
        assert found.lost == 0.0
        assert (array(found) == array(want)).all()


@pytest.mark.parametrize("name", ["baseline", "fine", "wide", "restarts"])
@pytest.mark.parametrize("shrink_to", [None, 60])
def test_lost_last_blocks_are_counted_and_filled(name: str, shrink_to: int | None) -> None:
    """A photo that lost 3% says so; what is there is untouched, the rest continues from above."""
    data = NOISY[name]
    want = array(decode_photo(data, shrink_to=shrink_to))
    photo = decode_photo(data[: len(data) * 97 // 100], shrink_to=shrink_to)
    assert 0.01 < photo.lost < 1 / 16
    found = array(photo)
    # two rows of blocks at most are touched, and a pixel of the chroma above them
    kept = want.shape[0] - 2 * 16 * want.shape[0] // (HEIGHT * 2 // 3) - 2
    assert (found[:kept] == want[:kept]).all()
    last = found[-1]
    assert np.abs(np.diff(last.mean(-1))).max() < 120
    assert last.mean() == pytest.approx(want[-20:].mean(), abs=25)


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("part", [0.5, 0.9])
def test_a_file_cut_in_half_is_truncated(name: str, part: float) -> None:
    """More than a sixteenth is missing: that is no photo, and the reason says what it is."""
    data = NOISY[name]
    with pytest.raises(BadImageError, match="truncated JPEG: the file ends before the image does"):
        decode_photo(data[: int(len(data) * part)])


@settings(max_examples=40, deadline=None)
@given(
    name=st.sampled_from(sorted(KINDS)),
    cut=st.integers(0, 4000),
    shrink_to=st.sampled_from([None, 60]),
)
def test_no_cut_gives_other_pixels_in_silence(name: str, cut: int, shrink_to: int | None) -> None:
    """Wherever a file ends: the same pixels, or a loss that covers what differs, or a refusal."""
    data = NOISY[name]
    want = array(decode_photo(data, shrink_to=shrink_to))
    try:
        photo = decode_photo(data[: len(data) - cut], shrink_to=shrink_to)
    except BadImageError:
        assert cut > 2
        return
    apart = np.abs(array(photo) - want)
    differs = np.flatnonzero(apart.any((1, 2)))
    if photo.lost == 0:
        # the last bit of a coefficient of a progressive photo's last block may be guessed right
        assert apart.max() <= (4 if name == "progressive" else 0)
    elif len(differs):
        lost_rows = photo.lost * want.shape[0]
        block = 16 * want.shape[0] / (HEIGHT * 2 // 3)
        assert want.shape[0] - differs[0] <= lost_rows + 2 * block + 2


@pytest.mark.parametrize("progressive", [False, True])
def test_up_to_four_times_the_limit_is_decoded_reduced(progressive: bool) -> None:
    """The photo has its own size; its pixels are half of it or less, whatever was asked for.

    Of a progressive one the coefficients have to fit too: 4:2:0 up to 3.3 times the limit.
    """
    pixels = picture(lower=90)
    data = encoded(pixels, progressive=progressive)
    most = HEIGHT * WIDTH // (3 if progressive else 4)
    limits = ImageLimits(max_pixels=most)
    photo = decode_photo(data, limits=limits)
    assert (photo.width, photo.height) == (WIDTH, HEIGHT)
    assert photo.pixels.size == (WIDTH // 2, HEIGHT // 2)
    small = np.asarray(Image.fromarray(pixels).reduce(2)).astype(int)
    assert np.abs(array(photo) - small).mean() < 8
    assert decode_photo(data, limits=limits, shrink_to=40).pixels.size == (WIDTH // 4, HEIGHT // 4)
    with pytest.raises(ImageTooLargeError, match=r"max_image_pixels.*CATALENS_MAX_IMAGE_PIXELS"):
        decode_photo(data, limits=ImageLimits(max_pixels=HEIGHT * WIDTH // 4 - 1))


def test_other_formats_name_the_option(monkeypatch: pytest.MonkeyPatch) -> None:
    """A PNG over the limit is refused, and let in by the variable that the refusal names."""
    out = io.BytesIO()
    Image.fromarray(picture()).save(out, "PNG")
    monkeypatch.setenv("CATALENS_MAX_IMAGE_PIXELS", str(HEIGHT * WIDTH - 1))
    with pytest.raises(ImageTooLargeError, match="CATALENS_MAX_IMAGE_PIXELS"):
        decode_photo(out.getvalue())
    monkeypatch.setenv("CATALENS_MAX_IMAGE_PIXELS", str(HEIGHT * WIDTH))
    assert decode_photo(out.getvalue()).pixels.size == (WIDTH, HEIGHT)


def test_memory_of_a_hundred_megapixels_is_bounded() -> None:
    """A photo of 100 megapixels takes a quarter of its own pixels' 400 MB at most."""
    code = (
        "import io, resource\n"
        "from PIL import Image\n"
        "out = io.BytesIO()\n"
        "Image.new('L', (12_000, 9_000), 90).save(out, 'JPEG')\n"
        "from indexer.imaging.decode import decode_photo\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "photo = decode_photo(out.getvalue(), shrink_to=256)\n"
        "after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "print(photo.width, photo.height, *photo.pixels.size, (after - before) // 1024)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    *sizes, grown = map(int, done.stdout.split())
    assert sizes == [12_000, 9_000, 1_500, 1_125]
    assert grown < 100


@pytest.mark.parametrize(
    ("place", "value", "named"), [("bits", 12, "12 bits"), ("kind", 0xC3, "lossless")]
)
def test_kinds_that_are_not_read_are_named(place: str, value: int, named: str) -> None:
    """A JPEG of another kind is no damaged one."""
    data = bytearray(FILES["baseline"])
    at = data.index(b"\xff\xc0")
    data[at + (4 if place == "bits" else 1)] = value
    with pytest.raises(UnsupportedFormatError, match=named):
        decode_photo(bytes(data))
