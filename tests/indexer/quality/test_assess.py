"""Quality findings on drawn photos whose sharpness, noise, boxes and overlays are known."""

from __future__ import annotations

import io
import json
import math
import tracemalloc

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont
from scipy.ndimage import gaussian_filter

from indexer.imaging.analysis_view import view_photo
from indexer.quality.assess import assess_quality
from indexer.quality.findings import FINDINGS, Finding
from indexer.quality.profiles import STUDIO

GREY, WHITE = (225, 225, 225), (255, 255, 255)


def by_code(pixels: np.ndarray, **options: object) -> dict[str, Finding]:
    return {finding.code: finding for finding in assess_quality(pixels, **options)}  # type: ignore[arg-type]


def studio(
    box: tuple[int, int, int, int] = (120, 100, 280, 320), size: tuple[int, int] = (512, 512)
) -> np.ndarray:
    """A checked product of x, y, width, height before plain grey."""
    pixels = np.full((size[1], size[0], 3), GREY, np.uint8)
    x, y, w, h = box
    rows, columns = np.mgrid[0:h, 0:w]
    check = ((rows // 40 + columns // 40) % 2).astype(bool)
    product = np.where(check[..., None], np.array([150, 40, 40]), np.array([40, 60, 120])).astype(
        np.uint8
    )
    left, top, right, bottom = max(x, 0), max(y, 0), min(x + w, size[0]), min(y + h, size[1])
    pixels[top:bottom, left:right] = product[top - y : bottom - y, left - x : right - x]
    return pixels


def noised(pixels: np.ndarray, sigma: float) -> np.ndarray:
    rng = np.random.default_rng(0)
    return np.clip(np.rint(pixels + rng.normal(0, sigma, pixels.shape)), 0, 255).astype(np.uint8)


def blurred(pixels: np.ndarray, sigma: float) -> np.ndarray:
    return np.rint(gaussian_filter(pixels.astype(np.float32), (sigma, sigma, 0))).astype(np.uint8)


def as_jpeg(pixels: np.ndarray, quality: int) -> np.ndarray:
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "JPEG", quality=quality)
    return np.asarray(Image.open(io.BytesIO(stream.getvalue())).convert("RGB"))


def texture(seed: int = 3, shape: tuple[int, int] = (512, 512)) -> np.ndarray:
    """Smooth random colours: a subject with detail and no straight edge."""
    rng = np.random.default_rng(seed)
    values = gaussian_filter(rng.normal(0, 1, (*shape, 3)), (6, 6, 0))
    return np.clip(128 + values * 600, 20, 235).astype(np.uint8)


def test_a_clean_studio_photo_raises_nothing() -> None:
    """A sharp, well lit, centred product before plain grey has no warning in the studio profile but
    its px."""
    found = by_code(studio((106, 96, 300, 320)), size=(2048, 2048))
    assert [code for code, f in found.items() if f.level in ("warning", "fail")] == []


def test_every_code_is_answered_once_in_order() -> None:
    """All findings are given always, with finite numbers and one sentence in each language,
    JSON-ready."""
    findings = assess_quality(studio())
    assert [finding.code for finding in findings] == list(FINDINGS.names())
    for finding in findings:
        assert 0 <= finding.score <= 1
        assert all(math.isfinite(value) for value in finding.evidence.values())
        assert set(finding.advice) == {"en", "zh"}
        assert json.loads(json.dumps(finding.as_json()))["code"] == finding.code


@pytest.mark.parametrize("sigma", [2.0, 3.0, 5.0])
def test_blur_is_measured_in_px(sigma: float) -> None:
    """The sigma of a Gaussian blur over sharp edges is found within a fifth."""
    assert by_code(blurred(studio(), sigma))["blurred"].evidence["sigma"] == pytest.approx(
        sigma, rel=0.2
    )


def test_noise_does_not_look_sharp() -> None:
    """A blurred photo with noise on it is still told from a sharp one with the same noise."""
    soft, sharp = noised(blurred(studio(), 4), 12), noised(studio(), 12)
    assert by_code(soft)["blurred"].evidence["sigma"] == pytest.approx(4, rel=0.3)
    assert by_code(sharp)["blurred"].evidence["sigma"] < 1.2


def test_a_flat_product_is_not_blurred() -> None:
    """A product of one colour has sharp outlines: no warning; a photo without any edge says it has
    none."""
    pixels = np.full((512, 512, 3), GREY, np.uint8)
    pixels[150:380, 140:400] = (40, 90, 160)
    assert by_code(pixels)["blurred"].score < 0.25
    assert by_code(np.full((300, 300, 3), 90, np.uint8))["blurred"].evidence["edges"] == 0


@pytest.mark.parametrize("sigma", [4.0, 12.0, 25.0])
def test_noise_sigma_is_estimated(sigma: float) -> None:
    """The standard deviation of added noise is found within 15%, over fabric and plain ground."""
    assert by_code(noised(texture(), sigma))["noisy"].evidence["sigma"] == pytest.approx(
        sigma, rel=0.15
    )


@pytest.mark.parametrize("quality", [12, 25, 40])
def test_jpeg_quality_is_read_from_the_pixels(quality: int) -> None:
    """The quality of a JPEG is found within 15%, also after four px were cropped off; an original
    has none."""
    detailed = noised(texture(), 6)
    packed = as_jpeg(detailed, quality)
    for pixels in (packed, packed[4:, 3:]):
        assert by_code(pixels)["jpeg-blocking"].evidence["quality"] == pytest.approx(
            quality, rel=0.15
        )
    assert by_code(detailed)["jpeg-blocking"].evidence["coarseness"] == 0


def test_the_box_is_exact_and_in_px_of_the_original() -> None:
    """A drawn product's box is found to the px, and scaled when the pixels are a reduced copy."""
    assert by_code(studio((131, 97, 203, 305)))["product-too-small"].box == (131, 97, 203, 305)
    found = by_code(studio((131, 97, 203, 305)), size=(2048, 2048))["low-resolution"]
    assert found.box == (524, 388, 812, 1220)
    assert found.evidence["longer_side"] == 1220
    assert "1220 px" in found.advice["en"]
    assert "1220" in found.advice["zh"]


@pytest.mark.parametrize(
    ("box", "side"),
    [
        ((-60, 100, 300, 300), "left"),
        ((100, -60, 300, 300), "top"),
        ((300, 100, 300, 300), "right"),
        ((100, 300, 300, 300), "bottom"),
    ],
)
def test_the_cut_side_is_named(box: tuple[int, int, int, int], side: str) -> None:
    """Only the side where the product leaves the photo has contact, and all of the product's length
    there."""
    evidence = by_code(studio(box))["product-cut"].evidence
    assert evidence[side] == pytest.approx(1.0, abs=0.02)
    assert evidence["sides"] == 1
    assert by_code(studio(box))["product-cut"].score > by_code(studio())["product-cut"].score == 0


def test_small_and_off_centre_products_are_measured() -> None:
    """Share of the side and distance from the middle are the drawn ones; smaller scores worse."""
    small = by_code(studio((40, 60, 64, 96)))
    assert small["product-too-small"].evidence["share"] == pytest.approx(96 / 512, abs=0.002)
    assert small["product-too-small"].level in ("warning", "fail")
    assert small["off-centre"].evidence["x"] == pytest.approx((40 + 32) / 512 - 0.5, abs=0.002)
    assert small["off-centre"].level in ("warning", "fail")


def test_dark_and_bright_photos_are_told_apart() -> None:
    """Gamma 4 raises underexposed alone, gamma 1/6 overexposed alone."""
    original, levels = studio(), np.arange(256) / 255
    dark = np.rint(255 * levels**4).astype(np.uint8)[original]
    bright = np.rint(255 * levels ** (1 / 6)).astype(np.uint8)[original]
    before, under, over = by_code(original), by_code(dark), by_code(bright)
    assert under["underexposed"].level in ("warning", "fail")
    assert over["overexposed"].level != "ok"
    assert under["overexposed"].score < before["overexposed"].score < over["overexposed"].score
    assert over["underexposed"].score < before["underexposed"].score < under["underexposed"].score


def test_contrast_is_the_span_of_tones() -> None:
    """The span of a photo between two greys is their distance."""
    pixels = np.full((256, 256, 3), 120, np.uint8)
    pixels[60:200, 60:200] = 150
    assert by_code(pixels)["low-contrast"].evidence["span"] == pytest.approx(30, abs=1)
    assert by_code(pixels)["low-contrast"].level in ("warning", "fail")


def test_a_cast_is_seen_on_the_background() -> None:
    """A yellow light on a white background is a cast towards b*; grey has none."""
    yellow = studio().copy()
    yellow[np.all(yellow == GREY, axis=2)] = (250, 230, 160)
    assert by_code(yellow)["colour-cast"].evidence["b"] > 25
    assert by_code(yellow)["colour-cast"].level in ("warning", "fail")
    assert by_code(studio())["colour-cast"].evidence["chroma"] < 0.1


def test_a_busy_background_is_told_from_a_plain_one() -> None:
    """Coloured clutter behind the product fails a studio's floor; a gradient of light does not."""
    busy = texture(5).copy()
    busy[150:400, 150:400] = (20, 20, 20)
    assert by_code(busy)["busy-background"].level in ("warning", "fail")
    slope = studio().astype(np.float32) * np.linspace(0.85, 1.05, 512)[:, None, None]
    assert by_code(np.clip(slope, 0, 255).astype(np.uint8))["busy-background"].level == "ok"


def test_a_frame_is_measured_to_the_px() -> None:
    """A frame of 17 px is found as 17 px at all sides, and the product inside keeps its place."""
    pixels = studio((131, 97, 203, 305))
    for edge in (pixels[:17], pixels[-17:], pixels[:, :17], pixels[:, -17:]):
        edge[:] = (10, 10, 10)
    found = by_code(pixels)
    assert [found["border"].evidence[side] for side in ("left", "top", "right", "bottom")] == [
        17,
        17,
        17,
        17,
    ]
    assert found["border"].box == (17, 17, 478, 478)
    assert found["product-too-small"].box == (131, 97, 203, 305)
    assert by_code(studio())["border"].score == 0


def test_letterbox_bars_are_a_border() -> None:
    """Black bars above and below only are found to the px."""
    pixels = texture().copy()
    pixels[:40] = pixels[-31:] = 0
    evidence = by_code(pixels)["border"].evidence
    assert (evidence["top"], evidence["bottom"], evidence["left"], evidence["right"]) == (
        40,
        31,
        0,
        0,
    )


def with_band(opacity: float, ground: tuple[int, int, int] = (200, 30, 40)) -> np.ndarray:
    image = Image.fromarray(studio())
    layer = image.copy()
    draw = ImageDraw.Draw(layer)
    draw.rectangle((0, 330, 511, 389), fill=ground)
    draw.text(
        (256, 360),
        "BIG SUMMER SALE NOW",
        font=ImageFont.load_default(38),
        fill=(255, 255, 255),
        anchor="mm",
    )
    return np.asarray(Image.blend(image, layer, opacity))


def test_a_text_band_is_found_where_it_is() -> None:
    """The box is the band's rows; more opacity scores worse; without the band there is nothing."""
    found = by_code(with_band(0.6))["text-overlay"]
    assert found.box == (0, 330, 512, 60)
    assert found.level in ("warning", "fail")
    scores = [
        by_code(with_band(opacity))["text-overlay"].score for opacity in (0.2, 0.4, 0.6, 0.8, 1.0)
    ]
    assert scores == sorted(scores)
    assert by_code(studio())["text-overlay"].level == "ok"


def test_text_without_a_band_is_found() -> None:
    """A line of text right across is found near its rows."""
    image = Image.fromarray(studio())
    font = ImageFont.load_default(40)
    ImageDraw.Draw(image).text(
        (256, 60), "WATERMARK MY SHOP NAME", font=font, fill=(20, 20, 20), anchor="mm"
    )
    found = by_code(np.asarray(image))["text-overlay"]
    assert found.level in ("warning", "fail")
    assert found.box is not None
    assert 20 <= found.box[1] <= 60 <= found.box[1] + found.box[3] <= 100


def test_a_collage_is_found_and_its_seam() -> None:
    """Four pictures in a grid, or two side by side with white between; one picture is none."""
    grid = np.block([[[texture(1)], [texture(2)]], [[texture(3)], [texture(4)]]])[::2, ::2]
    found = by_code(np.ascontiguousarray(grid))["collage"]
    assert found.level in ("warning", "fail")
    assert min(found.evidence["horizontal"], found.evidence["vertical"]) > 0.7
    pair = texture().copy()
    pair[:, 250:262] = 255
    found = by_code(pair)["collage"]
    assert found.level in ("warning", "fail")
    assert found.box is not None
    assert 248 <= found.box[0] <= 262
    assert by_code(texture())["collage"].level == "ok"


@pytest.mark.parametrize(
    "pixels",
    [
        np.full((1, 1, 3), 200, np.uint8),
        np.full((2, 3, 3), 0, np.uint8),
        np.full((400, 300, 3), 255, np.uint8),
        np.full((400, 300, 3), 0, np.uint8),
        np.full((224, 224, 3), (90, 140, 30), np.uint8),
        np.random.default_rng(0).integers(0, 256, (8, 800, 3), np.uint8),
        np.random.default_rng(0).integers(0, 256, (3000, 30, 3), np.uint8),
    ],
    ids=["1x1", "3x2", "white", "black", "one colour", "1:100", "100:1"],
)
def test_odd_photos_give_findings(pixels: np.ndarray) -> None:
    """Whatever the photo shows, all findings come back, finite."""
    found = by_code(pixels)
    assert list(found) == list(FINDINGS.names())
    assert all(
        0 <= f.score <= 1 and all(map(math.isfinite, f.evidence.values())) for f in found.values()
    )
    if (pixels == pixels[0, 0]).all():
        assert found["no-product"].level == "fail"
        assert found["product-cut"].score == 0


def test_a_large_photo_is_measured_as_shoppers_see_it() -> None:
    """Pixels of 2048 px are reduced first: the same blur in shares of the photo, the box in px of
    the original."""
    large = np.asarray(
        Image.fromarray(blurred(studio(), 3)).resize((2048, 2048), Image.Resampling.BICUBIC)
    )
    found = by_code(large)
    assert found["blurred"].evidence["sigma"] == pytest.approx(3, rel=0.25)
    assert found["product-too-small"].evidence["share"] == pytest.approx(320 / 512, abs=0.03)


def test_other_arrays_are_refused() -> None:
    """A grey or float array is a programmer's error, named."""
    with pytest.raises(ValueError, match="uint8"):
        assess_quality(np.zeros((4, 4), np.uint8))
    assert STUDIO.name == "studio"


@pytest.mark.parametrize("side", [1031, 1535, 2047])
def test_no_box_reaches_beyond_the_photo(side: int) -> None:
    """Sides that the reduction does not divide: a product cut by the right and lower edge ends with
    the photo."""
    found = by_code(studio((side // 3, side // 3, side, side), size=(side, side)))
    boxes = [finding.box for finding in found.values() if finding.box is not None]
    x, y, width, height = found["product-cut"].box or (0, 0, 0, 0)
    assert (x + width, y + height) == (side, side)
    assert all(x + width <= side and y + height <= side for x, y, width, height in boxes)
    view = view_photo(studio(size=(side, side)), (side, side))
    assert view.original(0, 0, view.width, view.height) == (0, 0, side, side)
    assert view.original(view.width - 1, view.height - 1, 1, 1)[2:] == (1, 1)


@pytest.mark.parametrize("shape", [(1, 900_000), (900_000, 1), (7, 200_000)])
def test_a_thread_of_a_photo_takes_little_memory(shape: tuple[int, int]) -> None:
    """It is measured on at most 8192 px; boxes are in px of the original all the same."""
    pixels = np.random.default_rng(0).integers(0, 256, (*shape, 3), dtype=np.uint8)
    tracemalloc.start()
    found = assess_quality(pixels)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 4 * 2**20
    assert [finding.code for finding in found] == list(FINDINGS.names())
    view = view_photo(pixels, (shape[1], shape[0]))
    assert max(view.width, view.height) <= 8192
    assert view.original(0, 0, view.width, view.height) == (0, 0, shape[1], shape[0])


def test_a_long_photo_of_eight_to_one_is_not_reduced_further() -> None:
    """8184 x 1023 px, the longest that a short side below 1024 px allows, is looked at as it is."""
    view = view_photo(np.zeros((1023, 8184, 3), np.uint8), (8184, 1023))
    assert (view.width, view.height, view.scale) == (8184, 1023, 1.0)


def test_a_photo_whose_file_ends_early_is_told() -> None:
    """A lost strip is a warning with its place, and says how much; a whole photo has none."""
    pixels = studio()
    found = by_code(pixels, size=(1024, 1024), lost=0.02)["incomplete-file"]
    assert found.level == "warning"
    assert found.box == (0, 1004, 1024, 20)
    assert "2.0%" in found.advice["en"]
    assert "2.0%" in found.advice["zh"]
    assert by_code(pixels)["incomplete-file"].score == 0.0
