"""Thumbnails inside a page: JPEG data URIs, and one sheet of many photos."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from indexer.imaging.decode import Photo
from indexer.imaging.parallel import decode_all
from indexer.imaging.photo_file import read_photo

_QUALITY = 70


@dataclass(frozen=True)
class PhotoSheet:
    """Square thumbnails side by side in one picture, row by row."""

    uri: str
    columns: int
    rows: int
    side: int  # of one thumbnail, px


def data_uri(image: Image.Image, quality: int = _QUALITY) -> str:
    """``image`` as a JPEG inside a URI."""
    stream = io.BytesIO()
    image.save(stream, "JPEG", quality=quality, optimize=True)
    return "data:image/jpeg;base64," + base64.b64encode(stream.getvalue()).decode("ascii")


def small_photos(files: Sequence[Path], side: int) -> dict[Path, str]:
    """File -> data URI of at most ``side`` px; a photo that is gone or unreadable by now is left
    out."""
    found: dict[Path, str] = {}
    for file, photo in decode_all(list(dict.fromkeys(files)), read_photo, shrink_to=side // 2):
        if isinstance(photo, Photo):
            picture = photo.pixels.copy()
            picture.thumbnail((side, side), Image.Resampling.LANCZOS)
            found[file] = data_uri(picture)
    return found


def photo_sheet(files: Sequence[Path], side: int) -> PhotoSheet:
    """All ``files`` in order as squares of ``side`` px; an unreadable one stays grey."""
    columns = max(1, int(np.ceil(len(files) ** 0.5)))
    rows = max(1, -(-len(files) // columns))
    sheet = Image.new("RGB", (columns * side, rows * side), (200, 200, 200))
    for number, photo in decode_all(
        range(len(files)), lambda n: read_photo(files[n]), shrink_to=side // 2
    ):
        if isinstance(photo, Photo):
            square = ImageOps.pad(
                photo.pixels, (side, side), Image.Resampling.LANCZOS, color=(255, 255, 255)
            )
            sheet.paste(square, (number % columns * side, number // columns * side))
    return PhotoSheet(data_uri(sheet, 62), columns, rows, side)
