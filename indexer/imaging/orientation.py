"""EXIF orientation of a picture, and the turns that make it upright."""

from __future__ import annotations

from PIL import Image

from indexer.imaging.file_structure import is_bounded_directory

# EXIF orientation -> the turn that makes the picture upright.
UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
# Where ImageMagick keeps EXIF data in a PNG, as hexadecimal lines below three others.
_RAW = "Raw profile type exif"


def read_orientation(image: Image.Image) -> int:
    """EXIF orientation 1 to 8; 1 where there is none or the EXIF block is broken.

    Pillow itself turns TIFFs.
    """
    try:
        if not all(map(is_bounded_directory, _exif_blocks(image))):
            return 1
        value = image.getexif().get(0x0112, 1)
    except Exception:
        # A broken EXIF block is no reason to refuse a good picture.
        return 1
    return value if isinstance(value, int) and 1 <= value <= 8 else 1


def _exif_blocks(image: Image.Image) -> list[bytes]:
    """The EXIF data that Pillow would read."""
    blocks = [image.info.get("exif") or b""]
    if text := image.info.get(_RAW):
        blocks.append(bytes.fromhex("".join(str(text).split("\n")[3:])))
    return [block for block in blocks if isinstance(block, bytes)]
