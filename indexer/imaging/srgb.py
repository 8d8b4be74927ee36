"""Conversion of decoded pictures of any mode to 8-bit sRGB without transparency."""

from __future__ import annotations

import functools
import io
from typing import Any

import numpy as np
from PIL import Image, ImageCms

_MAX_PROFILE_BYTES = 8 * 2**20
# What lies under transparency: white, as on a shop's page, but grey under what white would swallow.
_WHITE = (255, 255, 255)
_GREY = (128, 128, 128)
# of 255: what differs from the ground by less is not seen
_UNSEEN = 24
# share of a drawing, by its opacity, that must be seen on white
_SEEN = 0.02
# px a side of the sample in which a drawing is looked at
_SAMPLE = 1024


def to_srgb(image: Image.Image) -> Image.Image:
    """RGB in sRGB, as a new image without metadata, from a loaded image of any mode.

    Transparency is laid on white; a drawing of which nothing would be seen there, on mid grey.
    """
    profile = image.info.get("icc_profile")
    alpha = _transparent_grey(image)
    image = _eight_bit(image)
    if image.mode in ("La", "RGBa"):
        image = image.convert(image.mode[:-1] + "A")
    if alpha is None and (image.has_transparency_data or image.mode == "PA"):
        grey = image.mode in ("1", "L", "LA")
        rgba = image.convert("RGBA")
        alpha = rgba.getchannel("A")
        image = rgba.getchannel("R") if grey else rgba.convert("RGB")
    elif image.mode == "1":
        image = image.convert("L")
    elif image.mode not in ("L", "RGB", "CMYK", "LAB"):
        image = image.convert("RGB")
    rgb = _through_profile(image, profile)
    if alpha is not None and alpha.getextrema()[0] != 255:
        under = Image.new("RGB", rgb.size, _ground(rgb, alpha))
        under.paste(rgb, mask=alpha)
        rgb = under
    if type(rgb) is not Image.Image:
        # The file object itself: keep no hold on its bytes, only on its pixels.
        rgb = Image.Image()._new(rgb.im)
    rgb.info.clear()
    return rgb


def _ground(rgb: Image.Image, alpha: Image.Image) -> tuple[int, int, int]:
    """The colour to lay a picture on: white, or grey where nearly all of it is as light as that."""
    size = min(rgb.width, _SAMPLE), min(rgb.height, _SAMPLE)
    nearest = Image.Resampling.NEAREST
    opacity = np.asarray(alpha.resize(size, nearest), np.float32) / 255
    drawn = float(opacity.sum())
    if drawn == 0:
        return _WHITE
    darkest = np.asarray(rgb.resize(size, nearest)).min(-1)
    seen = opacity * (255.0 - darkest) >= _UNSEEN
    return _WHITE if float(opacity[seen].sum()) >= _SEEN * drawn else _GREY


def _transparent_grey(image: Image.Image) -> Image.Image | None:
    """Opacity of a grey of 16 bits of which one value is transparent; None of any other picture."""
    value = image.info.get("transparency")
    if not (image.mode.startswith("I") and isinstance(value, int)):
        return None
    return Image.fromarray(np.where(np.asarray(image) == value, 0, 255).astype(np.uint8))


def _eight_bit(image: Image.Image) -> Image.Image:
    """Grey of 12, 16 or 32 bits or of floats as 8-bit grey; other modes as they are.

    Sixteen bits are scaled by their full range. Wider files do not say their range: it is taken as
    0..1 (floats), 0..255, 0..32767 (signed numbers of 16 bits), 0..65535, or else the values' own
    span, whichever is the first to hold them all.
    """
    if not (image.mode.startswith("I") or image.mode == "F"):
        return image
    tags: Any = getattr(image, "tag_v2", {})
    bits, kind = tags.get(258), tags.get(339)
    values = np.asarray(image)
    if image.mode == "I" and bits == (32,) and kind in (None, (1,)) and tags:
        # Pillow keeps unsigned numbers as signed ones.
        values = values.astype(np.int32).view(np.uint32)
    values = np.nan_to_num(values.astype(np.float64), posinf=0.0, neginf=0.0)
    low, high = 0.0, 65535.0
    if image.mode in ("I", "F"):
        least, most = float(values.min()), float(values.max())
        ranges = ([1.0] if image.mode == "F" else []) + [255.0, 65535.0]
        if bits == (16,) and kind == (2,):
            ranges.insert(1, 32767.0)
        if least < 0 or most > 65535:
            low, high = least, most
        else:
            high = next(r for r in ranges if most <= r)
    if image.mode.startswith("I;16") and bits == (12,):
        high = 4095.0
    scaled = np.clip((values - low) * (255.0 / max(high - low, 1e-12)) + 0.5, 0, 255).astype(
        np.uint8
    )
    if tags.get(262) == 0:
        # TIFF "white is zero", which Pillow minds in 8 bits only.
        scaled = 255 - scaled
    return Image.fromarray(scaled)


def _through_profile(image: Image.Image, profile: object) -> Image.Image:
    """L, RGB, CMYK or LAB as sRGB, by the embedded profile where it is usable.

    Else by Pillow's plain conversion.
    """
    if image.mode == "LAB":
        transform = _transform(b"", "LAB")
    elif isinstance(profile, bytes) and 128 <= len(profile) <= _MAX_PROFILE_BYTES:
        transform = _transform(profile, image.mode)
    else:
        transform = None
    if transform is not None:
        return transform.apply(image)
    # Converting RGB to RGB would copy all pixels.
    return image if image.mode == "RGB" else image.convert("RGB")


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
