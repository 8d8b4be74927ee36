"""Bounds on the tables of an AVIF, which libavif searches from the start for each entry."""

from __future__ import annotations

from indexer.imaging.heif_items import boxes

# Bytes of all tables of a file: a picture of 250 tiles has some ten thousand. An item takes two of
# them at the least, and a search among all items before it, under Python's lock.
_MOST_BYTES = 32 * 2**10
# Boxes of all levels, and levels.
_MOST_BOXES = 4096
_MOST_LEVELS = 8
# Bytes that the items may have together: this, or all of the file four times.
_FREE_ITEMS = 2**20
# ISO 14496-12: boxes that hold boxes -> bytes before the first; none of the others does here.
_FILE = b""
_HOLDERS = {_FILE: 0, b"meta": 4, b"iprp": 0, b"ipco": 0}
_HOLDERS |= dict.fromkeys((b"moov", b"trak", b"mdia", b"minf", b"stbl"), 0)
# Bytes of the photo and its properties, which are not searched.
_CONTENT = (b"idat", b"colr", b"av1C", b"hvcC", b"mdat", b"free", b"skip", b"uuid")


def are_bounded(data: bytes) -> bool:
    """Whether reading the tables of an AVIF takes a moment, and its items no more than it holds.

    Items may all name the same bytes, each of which is copied where it has two parts. What cannot
    be read as boxes is bounded.
    """
    left_bytes, left_items = _MOST_BYTES, max(_FREE_ITEMS, 4 * len(data))
    left_boxes = _MOST_BOXES
    waiting = [(_FILE, 0, len(data), 0)]
    while waiting:
        kind, start, end, level = waiting.pop()
        for inner, at, stop in boxes(data, start + _HOLDERS[kind], end):
            left_boxes -= 1
            if inner in _HOLDERS and level < _MOST_LEVELS:
                waiting.append((inner, at, stop, level + 1))
            elif level > 0 and inner not in _CONTENT:
                left_bytes -= stop - at
            if left_boxes < 0 or left_bytes < 0:
                return False
            if inner == b"iloc":
                left_items -= _item_bytes(data[at:stop])
    return left_items >= 0


def _item_bytes(table: bytes) -> int:
    """Bytes of all items that an item location box names (ISO 14496-12, 8.11.3)."""
    if len(table) < 8:
        return 0
    version = table[0]
    offset, length, base = table[4] >> 4, table[4] & 15, table[5] >> 4
    index = table[5] & 15 if version in (1, 2) else 0
    wide = 4 if version == 2 else 2
    at = 6 + wide
    # number, (how it is meant,) where, base, count of parts
    head = wide + (2 if version in (1, 2) else 0) + 2 + base
    part = index + offset + length
    total = 0
    while at + head + 2 <= len(table):
        count = int.from_bytes(table[at + head : at + head + 2], "big")
        at += head + 2
        for place in range(at, min(at + count * part, len(table)), max(part, 1)):
            total += int.from_bytes(table[place + part - length : place + part], "big")
        at += count * part
    return total
