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
    NoMemoryError,
    UnsupportedFormatError,
)
from indexer.core.memory_budget import MemoryBudget, decoding_budget
from indexer.imaging import jpeg, tiff
from indexer.imaging.ai_marks import AiMark, read_ai_mark
from indexer.imaging.decoding_cost import decoding_cost
from indexer.imaging.file_format import MIME, open_heic, open_known, sniff_format
from indexer.imaging.file_structure import check_structure
from indexer.imaging.heif_items import count_coded_pixels
from indexer.imaging.orientation import UPRIGHT, read_orientation
from indexer.imaging.png import mend_transparency
from indexer.imaging.srgb import to_srgb

__all__ = [
    "MIME",
    "STORED_PHOTO_LIMITS",
    "ImageLimits",
    "Photo",
    "decode_photo",
    "decoded_alike",
    "file_limits",
    "hash_content",
]

# how Pillow says that a whole file is of a kind it does not read
_UNREAD = re.compile(
    r"unsupported|not supported|not implemented|unknown (raw )?mode", re.IGNORECASE
)


# px: each row of a picture costs time and memory beside its pixels, and a photo one pixel wide has
# as many rows as pixels.
_MOST_SIDE = 2**18


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
    photo, at its end, that the file does not hold. ``ai_mark``: what the file says of AI that made
    it, read before its metadata are dropped.
    """

    pixels: Image.Image
    format: str
    width: int
    height: int
    content_hash: str
    lost: float = 0.0
    ai_mark: AiMark | None = None


@dataclass(frozen=True)
class _Wanted:
    """What ``decode_photo`` was asked for beside the bytes."""

    limits: ImageLimits
    shrink_to: int | None
    hashed: str | None
    memory: MemoryBudget | None
    within_s: float | None


@dataclass(frozen=True)
class _Opened:
    """A file whose header was read, and the size of its picture. A TIFF is opened later.

    ``coded``: pixels that are decoded for it, where they may be others than the picture's.
    """

    image: Any
    size: tuple[int, int]
    kind: tiff.TiffKind | None = None
    coded: int = 0


@dataclass
class _Loaded:
    """A loaded picture, as it is stored, and the share of it that is missing."""

    image: Any
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
    memory: MemoryBudget | None = None,
    within_s: float | None = None,
) -> Photo:
    """Decode the first frame of an image of any allowed format.

    The format is read from the bytes, never from a name. EXIF orientation is applied, an embedded
    ICC profile is converted to sRGB (a broken one is ignored), transparency is put on white (on
    grey where nothing would be seen), and all metadata is dropped. With ``shrink_to``, a JPEG may
    be decoded at the smallest of 1/1, 1/2, 1/4, 1/8 that leaves the short side at least ``2 *
    shrink_to`` px. A JPEG that lacks its end mark, or a few of its last blocks, is decoded as far
    as it goes. ``limits``: by default ``file_limits()``. ``hashed``: the bytes' content hash where
    it is known. Safe to call from several threads.

    What decoding takes is asked of ``decoding_budget()``, and what the photo takes as long as it is
    held of ``memory`` where one is given: both wait, ``within_s`` at most.

    Raises ``UnsupportedFormatError`` for a real image of a format or kind that is not read,
    ``ImageTooLargeError`` over a limit (known from the header, before pixels are allocated),
    ``BadImageError`` for everything else that is not a whole image, and ``NoMemoryError``.
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
        check_structure(name, data)
        return _decode(name, data, _Wanted(limits, shrink_to, hashed, memory, within_s))
    except (BadImageError, NoMemoryError):
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


def decoded_alike(
    photo: Photo, one: int | None, other: int | None, *, limits: ImageLimits | None = None
) -> bool:
    """Tell whether ``decode_photo`` gives ``photo`` alike with ``one`` and ``other`` as
    ``shrink_to``."""
    most = (limits or ImageLimits()).max_pixels
    scales = {
        jpeg.choose_scale(photo.width, photo.height, max_pixels=most, shrink_to=size)
        for size in (one, other)
    }
    return len(scales) == 1


def _decode(name: str, data: bytes, wanted: _Wanted) -> Photo:
    """Open a file of a known format, ask for the memory that its header speaks of, decode it."""
    opened = _open(name, data, wanted.limits)
    cost = decoding_cost(
        name,
        data,
        opened.size,
        max_pixels=wanted.limits.max_pixels,
        shrink_to=wanted.shrink_to,
        coded=opened.coded,
    )
    if wanted.memory is None:
        with decoding_budget().hold(cost.peak, within_s=wanted.within_s):
            return _finish(name, data, opened, wanted)
    # In this order: who decodes waits for nobody who holds a photo.
    lease = wanted.memory.take(cost.decoded, within_s=wanted.within_s)
    try:
        with decoding_budget().hold(cost.peak, within_s=wanted.within_s):
            photo = _finish(name, data, opened, wanted)
    except BaseException:
        lease.release()
        raise
    lease.follow(photo.pixels)
    return photo


def _finish(name: str, data: bytes, opened: _Opened, wanted: _Wanted) -> Photo:
    """The upright photo in sRGB of an opened file."""
    loaded = _load(name, data, opened, wanted)
    format_ = loaded.image.format or name
    orientation = read_orientation(loaded.image)
    # TIFFs are turned while they are loaded.
    width, height = loaded.image.size if name == "TIFF" else opened.size
    pixels = to_srgb(loaded.image)
    # Not held beside the turned copy.
    loaded.image = None
    if orientation in UPRIGHT:
        pixels = pixels.transpose(UPRIGHT[orientation])
    if orientation >= 5:
        width, height = height, width
    return Photo(
        pixels,
        format_,
        width,
        height,
        wanted.hashed or hash_content(data),
        loaded.lost,
        read_ai_mark(name, data),
    )


def _open(name: str, data: bytes, limits: ImageLimits) -> _Opened:
    """Read the header of a file of a known format. Raises for more pixels than the limit."""
    kind = tiff.read_kind(data) if name == "TIFF" else None
    if kind is not None:
        _check_pixels(name, (kind.width, kind.height), limits)
        tiff.check_blocks(kind.blocks, (kind.width, kind.height), data)
        return _Opened(None, (kind.width, kind.height), kind)
    image = open_heic(data) if name == "HEIC" else open_known(data, name)
    if name == "TIFF":
        # One whose directory says what Pillow does not ask for.
        tiff.check_blocks(tiff.blocks_of(image.tag_v2, image.size), image.size, data)
    reducible = (
        name == "JPEG" and min(image.size) > 0 and jpeg.fits(data, image.size, limits.max_pixels)
    )
    if not reducible:
        _check_pixels(name, image.size, limits)
    if name in ("AVIF", "HEIC"):
        return _Opened(image, image.size, coded=count_coded_pixels(name, data, image.size))
    return _Opened(image, image.size)


def _load(name: str, data: bytes, opened: _Opened, wanted: _Wanted) -> _Loaded:
    """Load the picture of an opened file, which may hold it too."""
    if opened.kind is not None:
        return _Loaded(_load_tiff(opened.kind, data, wanted.limits))
    image = opened.image
    if name == "JPEG":
        found = jpeg.load_jpeg(
            data,
            image,
            lambda bytes_: open_known(bytes_, name),
            max_pixels=wanted.limits.max_pixels,
            shrink_to=wanted.shrink_to,
        )
        return _Loaded(found.image, found.lost)
    if name == "HEIC":
        return _Loaded(image.to_pillow())
    image.load()
    return _Loaded(mend_transparency(data, image) if name == "PNG" else image)


def _check_pixels(name: str, size: tuple[int, int], limits: ImageLimits) -> None:
    width, height = size
    if width < 1 or height < 1:
        raise BadImageError(f"damaged {name}: its size is {width} x {height} px")
    if max(width, height) > _MOST_SIDE:
        raise ImageTooLargeError(
            f"the image has {width} x {height} px, and a side of more than {_MOST_SIDE:,} px is no "
            "photo's: cut it"
        )
    if width * height > limits.max_pixels:
        raise ImageTooLargeError(
            f"the image has {width} x {height} px = {width * height:,}, more than the limit of "
            f"{limits.max_pixels:,} (max_image_pixels: --max-image-pixels or "
            "CATALENS_MAX_IMAGE_PIXELS raises it; a JPEG that is not progressive may have "
            f"{jpeg.REDUCED} times as many)"
        )


def _load_tiff(kind: tiff.TiffKind, data: bytes, limits: ImageLimits) -> Any:
    """Load a TIFF by Pillow, or without it where it would give other pixels or none."""
    if tiff.misread(kind):
        return tiff.load_samples(kind, data, limits.max_pixels)
    try:
        image = open_known(data, "TIFF")
        _check_pixels("TIFF", image.size, limits)
        tiff.mend_opened(image, kind)
        image.load()
    except (OSError, ValueError, KeyError) as error:
        return tiff.load_unread(kind, data, limits.max_pixels, error)
    return image


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
