"""Decoding of uploads and files to checked, upright, 8-bit sRGB photos, within limits."""

from __future__ import annotations

import hashlib
import os
import re
from dataclasses import dataclass
from typing import Any

from PIL import Image

from indexer.core.errors import (
    BadImageError,
    BadSettingsError,
    ImageTooLargeError,
    UnsupportedFormatError,
)
from indexer.imaging import jpeg, tiff
from indexer.imaging.file_format import MIME, open_heic, open_known, sniff_format
from indexer.imaging.orientation import UPRIGHT, read_orientation
from indexer.imaging.png import mend_transparency
from indexer.imaging.srgb import to_srgb

__all__ = [
    "MIME",
    "STORED_PHOTO_LIMITS",
    "ImageLimits",
    "Photo",
    "decode_photo",
    "file_limits",
    "hash_content",
]

# how Pillow says that a whole file is of a kind it does not read
_UNREAD = re.compile(
    r"unsupported|not supported|not implemented|unknown (raw )?mode", re.IGNORECASE
)


@dataclass(frozen=True)
class ImageLimits:
    """The limits on a photo: its bytes, and its pixels (width x height), 64 million by default.

    ``decode_photo`` refuses what is larger, by its header, before a pixel is decoded. A JPEG may
    have four times the pixels: it is decoded at half its size. The service takes them from its
    settings ``max_image_bytes`` and ``max_image_pixels``.
    """

    max_bytes: int = 128 * 2**20
    max_pixels: int = 64_000_000


# What a stored photo is refused for was settled when it was imported: limits of today must not drop
# it from the index.
STORED_PHOTO_LIMITS = ImageLimits(max_bytes=2**40, max_pixels=2**40)


def file_limits() -> ImageLimits:
    """Return the limits on photos of this machine's own files: imported, trained on, evaluated.

    From ``CATALENS_MAX_IMAGE_BYTES`` and ``CATALENS_MAX_IMAGE_PIXELS``, which set the service's
    limits too. Raises ``BadSettingsError``.
    """
    usual = ImageLimits()
    return ImageLimits(
        _from_environment("CATALENS_MAX_IMAGE_BYTES", usual.max_bytes),
        _from_environment("CATALENS_MAX_IMAGE_PIXELS", usual.max_pixels),
    )


def _from_environment(name: str, usual: int) -> int:
    text = os.environ.get(name, "").strip()
    if not text:
        return usual
    if not text.isascii() or not text.isdigit() or int(text) < 1:
        raise BadSettingsError(f"{name}={text!r} is not a number of at least 1")
    return int(text)


@dataclass(frozen=True)
class Photo:
    """A checked photo.

    ``pixels`` is mode RGB, sRGB, upright, and carries no metadata. ``width`` and ``height`` are
    those of the upright original in px; ``pixels`` may be smaller, never larger, after a reduced
    decode. ``content_hash`` is the SHA-256 (hex) of the file's bytes. ``lost``: the share of the
    photo, at its end, that the file does not hold.
    """

    pixels: Image.Image
    format: str
    width: int
    height: int
    content_hash: str
    lost: float = 0.0


@dataclass(frozen=True)
class _Loaded:
    """A loaded picture, as it is stored, and the size of its original."""

    image: Any
    size: tuple[int, int]
    lost: float = 0.0


def hash_content(data: bytes) -> str:
    """Hash the bytes with SHA-256 (hex): the identity of a photo."""
    return hashlib.sha256(data).hexdigest()


def decode_photo(
    data: bytes,
    *,
    limits: ImageLimits | None = None,
    shrink_to: int | None = None,
    hashed: str | None = None,
) -> Photo:
    """Decode the first frame of an image of any allowed format.

    The format is read from the bytes, never from a name. EXIF orientation is applied, an embedded
    ICC profile is converted to sRGB (a broken one is ignored), transparency is put on white (on
    grey where nothing would be seen), and all metadata is dropped. With ``shrink_to``, a JPEG may
    be decoded at the smallest of 1/1, 1/2, 1/4, 1/8 that leaves the short side at least ``2 *
    shrink_to`` px. A JPEG that lacks its end mark, or a few of its last blocks, is decoded as far
    as it goes. ``limits``: by default ``file_limits()``. ``hashed``: the bytes' content hash where
    it is known. Safe to call from several threads.

    Raises ``UnsupportedFormatError`` for a real image of a format or kind that is not read,
    ``ImageTooLargeError`` over a limit (known from the header, before pixels are allocated),
    ``BadImageError`` for everything else that is not a whole image.
    """
    limits = limits or file_limits()
    if not data:
        raise BadImageError("the image is empty (0 bytes)")
    if len(data) > limits.max_bytes:
        raise ImageTooLargeError(
            f"the image has {len(data):,} bytes, more than the limit of {limits.max_bytes:,} "
            "(max_image_bytes: --max-image-bytes or CATALENS_MAX_IMAGE_BYTES raises it)"
        )
    name = sniff_format(data)
    try:
        loaded = _load(name, data, limits, shrink_to)
        image = loaded.image
        width, height = loaded.size
        format_ = image.format or name
        orientation = read_orientation(image)
        pixels = to_srgb(image)
        if orientation in UPRIGHT:
            pixels = pixels.transpose(UPRIGHT[orientation])
    except BadImageError:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        # A GIF whose first frame is larger than its screen: Pillow checks again where it grows the
        # picture.
        raise ImageTooLargeError(f"the image is too large: {error}") from error
    except MemoryError as error:
        raise BadImageError(f"damaged {name}: decoding needs more memory than there is") from error
    # decoders raise whatever they like on hostile bytes: OSError, struct.error, KeyError...
    except Exception as error:
        raise _refusal(name, data, error) from error
    if orientation >= 5:
        width, height = height, width
    return Photo(pixels, format_, width, height, hashed or hash_content(data), loaded.lost)


def _load(name: str, data: bytes, limits: ImageLimits, shrink_to: int | None) -> _Loaded:
    """Open and load a file of a known format, within the limit on pixels."""
    if name == "TIFF":
        return _load_tiff(data, limits)
    image = open_heic(data) if name == "HEIC" else open_known(data, name)
    size = image.size
    if name == "JPEG":
        if min(size) < 1 or not jpeg.fits(data, size, limits.max_pixels):
            _check_pixels(name, size, limits)
        found = jpeg.load_jpeg(
            data,
            image,
            lambda bytes_: open_known(bytes_, name),
            max_pixels=limits.max_pixels,
            shrink_to=shrink_to,
        )
        return _Loaded(found.image, size, found.lost)
    _check_pixels(name, size, limits)
    if name == "HEIC":
        return _Loaded(image.to_pillow(), size)
    image.load()
    return _Loaded(mend_transparency(data, image) if name == "PNG" else image, size)


def _check_pixels(name: str, size: tuple[int, int], limits: ImageLimits) -> None:
    width, height = size
    if width < 1 or height < 1:
        raise BadImageError(f"damaged {name}: its size is {width} x {height} px")
    if width * height > limits.max_pixels:
        raise ImageTooLargeError(
            f"the image has {width} x {height} px = {width * height:,}, more than the limit of "
            f"{limits.max_pixels:,} (max_image_pixels: --max-image-pixels or "
            "CATALENS_MAX_IMAGE_PIXELS raises it; a JPEG that is not progressive may have "
            f"{jpeg.REDUCED} times as many)"
        )


def _load_tiff(data: bytes, limits: ImageLimits) -> _Loaded:
    """Load a TIFF by Pillow, or without it where it would give other pixels or none."""
    kind = tiff.read_kind(data)
    if kind is None:
        image = open_known(data, "TIFF")
        _check_pixels("TIFF", image.size, limits)
        image.load()
        return _Loaded(image, image.size)
    _check_pixels("TIFF", (kind.width, kind.height), limits)
    if tiff.misread(kind):
        image = tiff.load_samples(kind, data, limits.max_pixels)
        return _Loaded(image, image.size)
    try:
        image = open_known(data, "TIFF")
        _check_pixels("TIFF", image.size, limits)
        tiff.mend_opened(image, kind)
        image.load()
    except (OSError, ValueError, KeyError) as error:
        image = tiff.load_unread(kind, data, limits.max_pixels, error)
    return _Loaded(image, image.size)


def _refusal(name: str, data: bytes, error: Exception) -> BadImageError:
    """The error that says in one line how a file is broken, or that its kind is not read."""
    if name == "JPEG":
        try:
            jpeg.check_supported(data)
        except UnsupportedFormatError as unread:
            return unread
    text = " ".join(str(error).split()).replace("<_io.BytesIO object", "<bytes")
    if "truncated" in text.lower() or isinstance(error, EOFError):
        return BadImageError(f"truncated {name}: the file ends before the image does")
    if not text or "cannot identify" in text:
        return BadImageError(f"damaged {name}: its header cannot be read")
    if _UNREAD.search(text):
        return UnsupportedFormatError(f"this kind of {name} is not supported ({text[:160]})")
    return BadImageError(f"damaged {name}: {text[:160]}")
