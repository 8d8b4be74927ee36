"""Decoding of uploads and files to checked, upright, 8-bit sRGB photos, within limits."""

from __future__ import annotations

import functools
import hashlib
import io
import struct
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image, ImageCms, UnidentifiedImageError

from indexer.core.errors import BadImageError, ImageTooLargeError, UnsupportedFormatError

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
# EXIF orientation -> the turn that makes the picture upright.
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_MAX_PROFILE_BYTES = 8 * 2**20


@dataclass(frozen=True)
class ImageLimits:
    """The limits on an upload: its bytes, and its pixels (width x height), 64 million by default.

    ``decode_photo`` refuses what is larger, by its header, before a pixel is decoded. The service
    takes them from its settings ``max_image_bytes`` and ``max_image_pixels``.
    """

    max_bytes: int = 32 * 2**20
    max_pixels: int = 64_000_000


DEFAULT_LIMITS = ImageLimits()
# What a stored photo is refused for was settled when it was imported: limits of today must not drop
# it from the index.
STORED_PHOTO_LIMITS = ImageLimits(max_bytes=2**40, max_pixels=2**40)


@dataclass(frozen=True)
class Photo:
    """A checked photo.

    ``pixels`` is mode RGB, sRGB, upright, and carries no metadata. ``width`` and ``height`` are
    those of the upright original in px; ``pixels`` may be smaller, never larger, after a reduced
    decode. ``content_hash`` is the SHA-256 (hex) of the file's bytes.
    """

    pixels: Image.Image
    format: str
    width: int
    height: int
    content_hash: str


def hash_content(data: bytes) -> str:
    """Hash the bytes with SHA-256 (hex): the identity of a photo."""
    return hashlib.sha256(data).hexdigest()


def decode_photo(
    data: bytes,
    *,
    limits: ImageLimits = DEFAULT_LIMITS,
    shrink_to: int | None = None,
    hashed: str | None = None,
) -> Photo:
    """Decode the first frame of an image of any allowed format.

    The format is read from the bytes, never from a name. EXIF orientation is applied, an embedded
    ICC profile is converted to sRGB (a broken one is ignored), transparency is put on white, and
    all metadata is dropped. With ``shrink_to``, a JPEG may be decoded at the smallest of 1/1, 1/2,
    1/4, 1/8 that leaves the short side at least ``2 * shrink_to`` px. ``hashed``: the bytes'
    content hash where it is known. Safe to call from several threads.

    Raises ``UnsupportedFormatError`` for a real image of a format that is not allowed,
    ``ImageTooLargeError`` over a limit (known from the header, before pixels are allocated),
    ``BadImageError`` for everything else that is not a whole image.
    """
    if not data:
        raise BadImageError("the image is empty (0 bytes)")
    if len(data) > limits.max_bytes:
        raise ImageTooLargeError(
            f"the image has {len(data):,} bytes, more than the limit of {limits.max_bytes:,}"
        )
    name = sniff_format(data)
    try:
        image: Any = _open_heic(data) if name == "HEIC" else _open(data, name)
        width, height = image.size
        if width < 1 or height < 1:
            raise BadImageError(f"damaged {name}: its size is {width} x {height} px")
        if width * height > limits.max_pixels:
            raise ImageTooLargeError(
                f"the image has {width} x {height} px = {width * height:,}, "
                f"more than the limit of {limits.max_pixels:,}"
            )
        if name == "HEIC":
            image = image.to_pillow()
        elif shrink_to is not None and name == "JPEG":
            image.draft(None, (2 * shrink_to, 2 * shrink_to))
        image.load()
        format_ = image.format or name
        orientation = _orientation(image)
        pixels = _to_srgb(image)
        if orientation in _UPRIGHT:
            pixels = pixels.transpose(_UPRIGHT[orientation])
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
        raise BadImageError(_reason(name, error)) from error
    if orientation >= 5:
        width, height = height, width
    return Photo(pixels, format_, width, height, hashed or hash_content(data))


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


def _open(data: bytes, name: str) -> Any:
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


def _open_heic(data: bytes) -> Any:
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


def _reason(name: str, error: Exception) -> str:
    """One line that says how a file is broken."""
    text = " ".join(str(error).split()).replace("<_io.BytesIO object", "<bytes")
    if "truncated" in text.lower() or isinstance(error, EOFError):
        return f"truncated {name}: the file ends before the image does"
    if not text or "cannot identify" in text:
        return f"damaged {name}: its header cannot be read"
    return f"damaged {name}: {text[:160]}"


def _orientation(image: Image.Image) -> int:
    """EXIF orientation 1 to 8; 1 where there is none or the EXIF block is broken.

    Pillow itself turns TIFFs.
    """
    try:
        value = image.getexif().get(0x0112, 1)
    except Exception:
        # A broken EXIF block is no reason to refuse a good picture.
        return 1
    return value if isinstance(value, int) and 1 <= value <= 8 else 1


def _to_srgb(image: Image.Image) -> Image.Image:
    """RGB on white in sRGB, as a new image without metadata, from a loaded image of any mode."""
    profile = image.info.get("icc_profile")
    image = _eight_bit(image)
    if image.mode in ("La", "RGBa"):
        image = image.convert(image.mode[:-1] + "A")
    alpha = None
    if image.has_transparency_data or image.mode == "PA":
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
        on_white = Image.new("RGB", rgb.size, "white")
        on_white.paste(rgb, mask=alpha)
        rgb = on_white
    if type(rgb) is not Image.Image:
        # The file object itself: keep no hold on its bytes, only on its pixels.
        rgb = Image.Image()._new(rgb.im)
    rgb.info.clear()
    return rgb


def _eight_bit(image: Image.Image) -> Image.Image:
    """Grey of 12, 16 or 32 bits or of floats as 8-bit grey; other modes as they are.

    Sixteen bits are scaled by their full range. Wider files do not say their range: it is taken as
    0..1 (floats), 0..255, 0..65535, or else the values' own span, whichever is the first to hold
    them all.
    """
    if not (image.mode.startswith("I") or image.mode == "F"):
        return image
    values = np.nan_to_num(np.asarray(image).astype(np.float64), posinf=0.0, neginf=0.0)
    low, high = 0.0, 65535.0
    if image.mode in ("I", "F"):
        least, most = float(values.min()), float(values.max())
        ranges = ([1.0] if image.mode == "F" else []) + [255.0, 65535.0]
        if least < 0 or most > 65535:
            low, high = least, most
        else:
            high = next(r for r in ranges if most <= r)
    tags = getattr(image, "tag_v2", {})
    if image.mode.startswith("I;16") and tags.get(258) == (12,):
        high = 4095.0
    scaled = np.clip((values - low) * (255.0 / max(high - low, 1e-12)) + 0.5, 0, 255).astype(
        np.uint8
    )
    if image.mode.startswith("I;16") and tags.get(262) == 0:
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
