"""Photos in cells: several in one, with the separator in addresses and names."""

from __future__ import annotations

import re
from collections.abc import Sequence

from indexer.feeds.values.text_cells import trim

_URL = re.compile(r"\s*(?:https?:)?//", re.IGNORECASE)
_NO_SCHEME = re.compile(r"//[\w-]+(?:\.[\w-]+)+[/:]")
_SUFFIX = re.compile(
    r"\.(?:jpe?g?|jfif|mpo|png|webp|gif|bmp|tiff?|avifs?|heic|heif)\s*(?:[?#].*)?$",
    re.IGNORECASE | re.DOTALL,
)


def split_photos(cell: str, separators: Sequence[str]) -> list[str]:
    """The photos that a cell names, in order, each once.

    A separator inside an address or a file name parts nothing: a photo ends where another address
    begins, or behind a photo's suffix.

    >>> split_photos("https://x.example/w_2,h_3/a.jpg, https://x.example/b.jpg,", [","])
    ['https://x.example/w_2,h_3/a.jpg', 'https://x.example/b.jpg']
    >>> split_photos("tee, red.jpg,tee.jpg", [","])
    ['tee, red.jpg', 'tee.jpg']
    """
    parts = [cell]
    for separator in separators:
        if separator in cell:
            split: list[str] = []
            for part in parts:
                split += _split(part, separator)
            parts = split
    return list(dict.fromkeys(filter(None, map(_whole, parts))))


def _split(text: str, separator: str) -> list[str]:
    parts: list[str] = []
    for piece in text.split(separator):
        if parts and not _ends_before(parts[-1], piece):
            parts[-1] += separator + piece
        else:
            parts.append(piece)
    return parts


def _ends_before(photo: str, rest: str) -> bool:
    """Whether ``photo`` is whole where a separator and ``rest`` follow."""
    if _URL.match(rest) or not rest.strip() or not photo.strip():
        return True
    named = _SUFFIX.search(rest) is not None
    if _URL.match(photo):
        return named and _SUFFIX.search(photo) is not None
    return not named or _SUFFIX.search(photo) is not None


def _whole(text: str) -> str:
    """An address without its scheme gets one; a share (``//server/photos``) is none."""
    text = trim(text).strip('"')
    return "https:" + text if _NO_SCHEME.match(text) else text
