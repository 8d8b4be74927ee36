"""Photos in cells: several in one, with the separator in addresses and names."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

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


def photo_requests(ask: Mapping[str, Mapping[str, str]]) -> Callable[[str], str | None]:
    """What gives the address to ask a CDN for, None where it is the photo's own.

    ``ask``: host to the parameters that say the size; what an address says itself stays.

    >>> photo_requests({"cdn.example": {"width": "1200"}})("https://cdn.example/a.jpg?v=1")
    'https://cdn.example/a.jpg?v=1&width=1200'
    """
    marks = tuple(f"//{host.lower()}/" for host in ask)

    def request(source: str) -> str | None:
        if not marks or not any(mark in source.lower() for mark in marks):
            return None
        try:
            parts = urlsplit(source)
            wanted = ask.get(parts.hostname or "", {})
        except ValueError:
            return None
        said = parse_qsl(parts.query, keep_blank_values=True)
        more = [pair for pair in wanted.items() if pair[0] not in dict(said)]
        if not more:
            return None
        query = "&".join(filter(None, [parts.query, urlencode(more)]))
        return urlunsplit(parts._replace(query=query))

    return request
