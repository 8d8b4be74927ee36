"""Conversion of decoded pictures of any mode to 8-bit sRGB without transparency."""

from __future__ import annotations

import functools
import io
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image, ImageCms

from indexer.imaging.color_profile import bounded_profile

# What lies under transparency: white, as on a shop's page, but grey under what white would swallow.
_WHITE = (255, 255, 255)
_GREY = (128, 128, 128)
# of 255: what differs from the ground by less is not seen
_UNSEEN = 24
# share of a drawing, by its opacity, that must be seen on white
_SEEN = 0.02
# px a side of the sample in which a drawing is looked at
_SAMPLE = 1024
# px that are converted at a time
_STRIP = 2**18


@dataclass(frozen=True)
class _Grey:
    """How numbers of a wide grey become eight bits: the span that is shown, and its sense."""

    low: float
    high: float
    # numbers without a sign, which Pillow keeps as signed ones
    unsigned: bool
    # TIFF "white is zero", which Pillow minds in 8 bits only
    inverted: bool


def to_srgb(image: Image.Image) -> Image.Image:
    """RGB in sRGB, as a new image without metadata, from a loaded image of any mode.

    Transparency is laid on white; a drawing of which nothing would be seen there, on mid grey.
    Large pictures are converted a strip at a time: more than the picture and what it becomes is
    never held.
    """
    grey = _grey_span(image)
    ground: tuple[int, int, int] | None = None
    strips = _strips(image)
    result = None if len(strips) == 1 or _is_plain(image) else Image.new("RGB", image.size)
    if result is None:
        strips = [(0, image.height)]
    for top, bottom in strips:
        whole = result is None
        strip = image if whole else image.crop((0, top, image.width, bottom))
        rgb, alpha = _colours(strip, grey)
        if alpha is not None and alpha.getextrema()[0] != 255:
            if ground is None:
                ground = _ground(*_sampled(image, grey))
            under = Image.new("RGB", rgb.size, ground)
            under.paste(rgb, mask=alpha)
            rgb = under
        if result is None:
            return _bare(rgb)
        result.paste(rgb, (0, top))
    assert result is not None
    return result


def _strips(image: Image.Image) -> list[tuple[int, int]]:
    """Top and bottom of the strips to convert one after another."""
    rows = max(_STRIP // max(image.width, 1), 1)
    return [(top, min(top + rows, image.height)) for top in range(0, image.height, rows)]


def _is_plain(image: Image.Image) -> bool:
    """Whether the picture is what it will be, so that nothing is copied."""
    return (
        image.mode == "RGB"
        and not image.has_transparency_data
        and _usable(image.info.get("icc_profile"), "RGB") is None
    )


def _bare(rgb: Image.Image) -> Image.Image:
    """The pixels without the file that they came from, and without metadata."""
    if type(rgb) is not Image.Image:
        # The file object itself: keep no hold on its bytes, only on its pixels.
        rgb = Image.Image()._new(rgb.im)
    rgb.info.clear()
    return rgb


def _colours(image: Image.Image, grey: _Grey | None) -> tuple[Image.Image, Image.Image | None]:
    """RGB in sRGB, and opacity where there is any, of a picture or of a strip of it."""
    profile = image.info.get("icc_profile")
    alpha = _transparent_grey(image)
    if grey is not None:
        image = _eight_bit(image, grey)
    if image.mode in ("La", "RGBa"):
        image = image.convert(image.mode[:-1] + "A")
    if alpha is None and (image.has_transparency_data or image.mode == "PA"):
        single = image.mode in ("1", "L", "LA")
        rgba = image.convert("RGBA")
        alpha = rgba.getchannel("A")
        image = rgba.getchannel("R") if single else rgba.convert("RGB")
    elif image.mode == "1":
        image = image.convert("L")
    elif image.mode not in ("L", "RGB", "CMYK", "LAB"):
        image = image.convert("RGB")
    return _through_profile(image, profile), alpha


def _sampled(image: Image.Image, grey: _Grey | None) -> tuple[Image.Image, Image.Image]:
    """Colours and opacity of every n-th pixel of a picture that has some opacity."""
    columns = np.linspace(0, image.width - 1, min(image.width, _SAMPLE)).round().astype(int)
    rows = np.linspace(0, image.height - 1, min(image.height, _SAMPLE)).round().astype(int)
    rgb = np.empty((len(rows), len(columns), 3), np.uint8)
    opacity = np.empty((len(rows), len(columns)), np.uint8)
    for place, row in enumerate(rows.tolist()):
        line, alpha = _colours(image.crop((0, row, image.width, row + 1)), grey)
        rgb[place] = np.asarray(line)[0, columns]
        opacity[place] = 255 if alpha is None else np.asarray(alpha)[0, columns]
    return Image.fromarray(rgb), Image.fromarray(opacity)


def _ground(rgb: Image.Image, alpha: Image.Image) -> tuple[int, int, int]:
    """The colour to lay a picture on: white, or grey where nearly all of it is as light as that."""
    opacity = np.asarray(alpha, np.float32) / 255
    drawn = float(opacity.sum())
    if drawn == 0:
        return _WHITE
    darkest = np.asarray(rgb).min(-1)
    seen = opacity * (255.0 - darkest) >= _UNSEEN
    return _WHITE if float(opacity[seen].sum()) >= _SEEN * drawn else _GREY


def _transparent_grey(image: Image.Image) -> Image.Image | None:
    """Opacity of a grey of 16 bits of which one value is transparent; None of any other picture."""
    value = image.info.get("transparency")
    if not (image.mode.startswith("I") and isinstance(value, int)):
        return None
    return Image.fromarray(np.where(np.asarray(image) == value, 0, 255).astype(np.uint8))


def _grey_span(image: Image.Image) -> _Grey | None:
    """How greys of 12, 16 or 32 bits or of floats become 8-bit; None of other modes.

    Sixteen bits are scaled by their full range. Wider files do not say their range: it is taken as
    0..1 (floats), 0..255, 0..32767 (signed numbers of 16 bits), 0..65535, or else the values' own
    span, whichever is the first to hold them all.
    """
    if not (image.mode.startswith("I") or image.mode == "F"):
        return None
    tags: Any = getattr(image, "tag_v2", {})
    bits, kind = tags.get(258), tags.get(339)
    unsigned = image.mode == "I" and bits == (32,) and kind in (None, (1,)) and bool(tags)
    low, high = 0.0, 65535.0
    if image.mode in ("I", "F"):
        spans = []
        for top, bottom in _strips(image):
            values = _numbers(image.crop((0, top, image.width, bottom)), unsigned)
            spans.append((float(values.min()), float(values.max())))
        least, most = min(span[0] for span in spans), max(span[1] for span in spans)
        ranges = ([1.0] if image.mode == "F" else []) + [255.0, 65535.0]
        if bits == (16,) and kind == (2,):
            ranges.insert(1, 32767.0)
        if least < 0 or most > 65535:
            low, high = least, most
        else:
            high = next(r for r in ranges if most <= r)
    if image.mode.startswith("I;16") and bits == (12,):
        high = 4095.0
    return _Grey(low, high, unsigned, tags.get(262) == 0)


def _numbers(image: Image.Image, unsigned: bool) -> np.ndarray:
    """The values float64 [H, W] of a wide grey; what is no number is 0."""
    values = np.asarray(image)
    if unsigned:
        values = values.astype(np.int32).view(np.uint32)
    return np.nan_to_num(values.astype(np.float64), posinf=0.0, neginf=0.0)


def _eight_bit(image: Image.Image, grey: _Grey) -> Image.Image:
    """A wide grey as 8-bit grey."""
    values = _numbers(image, grey.unsigned)
    scale = 255.0 / max(grey.high - grey.low, 1e-12)
    scaled = np.clip((values - grey.low) * scale + 0.5, 0, 255).astype(np.uint8)
    return Image.fromarray(255 - scaled if grey.inverted else scaled)


def _through_profile(image: Image.Image, profile: object) -> Image.Image:
    """L, RGB, CMYK or LAB as sRGB, by the embedded profile where it is usable.

    Else by Pillow's plain conversion.
    """
    transform = _usable(profile, image.mode)
    if transform is not None:
        return transform.apply(image)
    # Converting RGB to RGB would copy all pixels.
    return image if image.mode == "RGB" else image.convert("RGB")


def _usable(profile: object, mode: str) -> ImageCms.ImageCmsTransform | None:
    """The transform to apply to a picture of ``mode``, None where it changes nothing."""
    if mode == "LAB":
        return _transform(b"", "LAB")
    bounded = bounded_profile(profile)
    return None if bounded is None else _transform(bounded, mode)


@functools.lru_cache(maxsize=8)
def _transform(profile: bytes, mode: str) -> ImageCms.ImageCmsTransform | None:
    """Transform of a profile to sRGB (perceptual intent, as browsers do).

    ``None`` where the profile is broken, unfit, or changes nothing.

    Little CMS transforms are read-only while applied, so threads may share one.
    """
    try:
        transform = ImageCms.ImageCmsTransform(
            ImageCms.ImageCmsProfile(
                ImageCms.createProfile("LAB") if mode == "LAB" else io.BytesIO(profile)
            ),
            ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")),
            mode,
            "RGB",
            ImageCms.Intent.PERCEPTUAL,
        )
        if mode in ("L", "RGB"):
            # Most embedded profiles are sRGB itself: do not pay for moving nothing.
            ramp = np.arange(0, 256, 15, dtype=np.uint8)
            cube = np.stack(np.meshgrid(ramp, ramp, ramp), -1).reshape(-1, 18, 3)
            probe = Image.fromarray(cube if mode == "RGB" else cube[..., 0].copy())
            before = np.asarray(probe.convert("RGB"), np.int16)
            after = np.asarray(transform.apply(probe), np.int16)
            if np.abs(after - before).max() <= 2:
                return None
        return transform
    except Exception:
        # Any kind of broken profile: the picture itself is fine.
        return None
