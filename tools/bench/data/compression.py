"""Compressions that are not Pillow's plain JPEG: tables of other encoders, WebP, saved twice."""

from __future__ import annotations

import io
from collections.abc import Callable

from PIL import Image

# Quantisation of luminance and chrominance at quality 50, as flat lists of 8 x 8 in natural order.
# The table tuned for perception by N. Robidoux, which mozjpeg and ImageMagick offer (its number 3).
_ROBIDOUX = (
    *(16, 16, 16, 18, 25, 37, 56, 85),
    *(16, 17, 20, 27, 34, 40, 53, 75),
    *(16, 20, 24, 31, 43, 62, 91, 135),
    *(18, 27, 31, 40, 53, 74, 106, 156),
    *(25, 34, 43, 53, 69, 94, 131, 189),
    *(37, 40, 62, 74, 94, 124, 169, 238),
    *(56, 53, 91, 106, 131, 169, 226, 311),
    *(85, 75, 135, 156, 189, 238, 311, 418),
)
# A camera's own: nearly flat, with a slope along the sum of the two frequencies.
_CAMERA = tuple(22 + 5 * (across + down) for down in range(8) for across in range(8))
_CHROMA = tuple(26 + 9 * (across + down) for down in range(8) for across in range(8))
# of the longer side, as a messenger scales a photo before it is saved again
_SMALLER = 0.77


def _tables(base: tuple[int, ...], quality: int) -> list[int]:
    """Scale a table to ``quality`` 1 to 100, as libjpeg scales its own."""
    factor = 50 / quality if quality < 50 else 2 - quality / 50
    return [min(255, max(1, round(value * factor))) for value in base]


def _jpeg(picture: Image.Image, luma: tuple[int, ...], quality: int) -> bytes:
    """Encode with tables of one's own, colours at half the size."""
    stream = io.BytesIO()
    tables = [_tables(luma, quality), _tables(_CHROMA, quality)]
    picture.save(stream, "JPEG", qtables=tables, subsampling="4:2:0")
    return stream.getvalue()


def _webp(picture: Image.Image, quality: int) -> bytes:
    stream = io.BytesIO()
    picture.save(stream, "WEBP", quality=quality, method=4)
    return stream.getvalue()


def _forwarded(picture: Image.Image, quality: int) -> bytes:
    """Save as JPEG, scale to .77 of the sides, save again at a high quality: no grid remains."""
    first = _decoded(_jpeg(picture, _CAMERA, quality))
    size = tuple(max(1, round(side * _SMALLER)) for side in picture.size)
    return _jpeg(first.resize((size[0], size[1]), Image.Resampling.BICUBIC), _CAMERA, 90)


def _decoded(data: bytes) -> Image.Image:
    with Image.open(io.BytesIO(data)) as image:
        return image.convert("RGB")


_WAYS: dict[str, Callable[[Image.Image, int], bytes]] = {
    "jpeg of mozjpeg's table": lambda picture, quality: _jpeg(picture, _ROBIDOUX, quality),
    "jpeg of a camera's table": lambda picture, quality: _jpeg(picture, _CAMERA, quality),
    "webp": _webp,
    "jpeg, scaled, jpeg": _forwarded,
}
COMPRESSIONS = tuple(_WAYS)


def compressed(picture: Image.Image, way: str, quality: int) -> bytes:
    """Encode an RGB picture by ``way`` (one of ``COMPRESSIONS``) at ``quality`` 1 to 100."""
    return _WAYS[way](picture, quality)


def recompressed(picture: Image.Image, way: str, quality: int) -> Image.Image:
    """Encode by ``way`` and decode again."""
    return _decoded(compressed(picture, way, quality))
