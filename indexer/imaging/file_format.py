"""File formats of photos: how each is known by its first bytes, and opened."""

from __future__ import annotations

import io
import struct
from typing import Any

from PIL import Image, UnidentifiedImageError

from indexer.core.errors import BadImageError, UnsupportedFormatError

MIME: dict[str, str] = {
    "JPEG": "image/jpeg",
    # several JPEGs in a row; every viewer shows the first
    "MPO": "image/jpeg",
    "PNG": "image/png",
    "WEBP": "image/webp",
    "GIF": "image/gif",
    "BMP": "image/bmp",
    "TIFF": "image/tiff",
    "AVIF": "image/avif",
    "HEIC": "image/heic",
}

_SUPPORTED = "JPEG, PNG, WebP, GIF, BMP, TIFF and AVIF"

_MAGIC: tuple[tuple[bytes, str], ...] = (
    (b"\xff\xd8\xff", "JPEG"),
    (b"\x89PNG\r\n\x1a\n", "PNG"),
    (b"GIF87a", "GIF"),
    (b"GIF89a", "GIF"),
    (b"BM", "BMP"),
    (b"II*\0", "TIFF"),
    (b"MM\0*", "TIFF"),
    (b"II+\0", "TIFF"),
    (b"MM\0+", "TIFF"),
)
# Real images of formats that are not read: worth a better answer than "not an image".
_FOREIGN: tuple[tuple[bytes, str], ...] = (
    (b"8BPS", "Photoshop"),
    (b"%PDF", "PDF"),
    (b"%!PS", "PostScript"),
    (b"\0\0\1\0", "icon (ICO)"),
    (b"\xff\x0a", "JPEG XL"),
    (b"\0\0\0\x0cJXL ", "JPEG XL"),
    (b"\0\0\0\x0cjP  ", "JPEG 2000"),
    (b"\xff\x4f\xff\x51", "JPEG 2000"),
    (b"qoif", "QOI"),
    (b"<svg", "SVG"),
)
_HEIC_BRANDS = {
    b"heic",
    b"heix",
    b"heim",
    b"heis",
    b"hevc",
    b"hevx",
    b"hevm",
    b"hevs",
    b"mif1",
    b"msf1",
}


def sniff_format(data: bytes) -> str:
    """Name the allowed format that a file's first bytes announce, of at least 256.

    Raises ``UnsupportedFormatError`` for another one, ``BadImageError`` for what is no image.
    """
    for magic, name in _MAGIC:
        if data.startswith(magic):
            return name
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "WEBP"
    if data[4:8] == b"ftyp":
        # ISO media: the major brand, then (after a version) the compatible ones, four bytes each.
        end = min(max(int.from_bytes(data[:4], "big"), 16), 256)
        brands = {data[8:12]} | {data[at : at + 4] for at in range(16, end, 4)}
        if brands & {b"avif", b"avis"}:
            return "AVIF"
        if brands & _HEIC_BRANDS:
            return "HEIC"
        raise UnsupportedFormatError(
            f"this is a video or other media file, not one of {_SUPPORTED}"
        )
    head = data[:256].lstrip().lower()
    for magic, foreign in _FOREIGN:
        if data.startswith(magic) or (foreign == "SVG" and (b"<svg" in head)):
            raise UnsupportedFormatError(
                f"{foreign} images are not supported; use one of {_SUPPORTED}"
            )
    raise BadImageError("this is not an image (its first bytes belong to no image format)")


def open_known(data: bytes, name: str) -> Any:
    """Open a file of a known format as ``Image.open`` does, but for Pillow's own pixel limit.

    ``ImageLimits`` is checked right after. Pillow's limit differs from it, and answers with a
    Python warning in between, which threads cannot silence.
    """
    if name not in Image.OPEN:
        Image.init()
    factory, _ = Image.OPEN[name]
    try:
        return factory(io.BytesIO(data), "")
    except (SyntaxError, IndexError, TypeError, struct.error) as error:
        raise UnidentifiedImageError("cannot identify") from error


def open_heic(data: bytes) -> Any:
    """Open a HEIF file, decoded lazily.

    Its plugin is not registered, which would change Pillow for everyone.
    """
    try:
        import pillow_heif
    except ImportError:
        raise UnsupportedFormatError(
            "HEIC images need the optional extra: pip install 'catalens[heic]'"
        ) from None
    return pillow_heif.open_heif(io.BytesIO(data), convert_hdr_to_8bit=True)
