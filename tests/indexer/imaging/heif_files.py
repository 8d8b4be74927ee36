"""HEIF and AVIF files, written item by item."""

from __future__ import annotations

import io
import struct
from collections.abc import Sequence
from dataclasses import dataclass, field

from PIL import Image


@dataclass
class Item:
    """An item: its kind, its parts in ``data`` (or in ``inside``), and what it is made of."""

    kind: bytes
    parts: Sequence[tuple[int, int]]
    properties: Sequence[int] = ()
    made_of: Sequence[int] = ()
    inside: bool = False


@dataclass
class Tables:
    """All of a file: items by number, properties, other references, and contents."""

    items: dict[int, Item]
    properties: Sequence[bytes]
    data: bytes = b""
    inside: bytes = b""
    # kind, from, to
    references: Sequence[tuple[bytes, int, Sequence[int]]] = ()
    more: Sequence[bytes] = field(default_factory=tuple)


def box(kind: bytes, body: bytes) -> bytes:
    """A box."""
    return struct.pack(">I4s", 8 + len(body), kind) + body


def full(kind: bytes, body: bytes, version: int = 0) -> bytes:
    """A box with a version."""
    return box(kind, struct.pack(">I", version << 24) + body)


def extent(width: int, height: int) -> bytes:
    """The property that says a picture's size."""
    return full(b"ispe", struct.pack(">II", width, height))


def grid(rows: int, columns: int, width: int, height: int) -> bytes:
    """The content of a picture of tiles."""
    return struct.pack(">BBBBHH", 0, 0, rows - 1, columns - 1, width, height)


def write(brand: bytes, tables: Tables) -> bytes:
    """A file whose photo is item 1."""
    items = tables.items
    head = box(b"ftyp", brand + b"\0\0\0\0mif1" + brand)
    handler = full(b"hdlr", bytes(4) + b"pict" + bytes(13))
    primary = full(b"pitm", struct.pack(">H", 1))
    entries = b"".join(
        full(b"infe", struct.pack(">HH4s", number, 0, item.kind) + b"\0", 2)
        for number, item in items.items()
    )
    infos = full(b"iinf", struct.pack(">H", len(items)) + entries)
    named = b"".join(
        struct.pack(">HB", number, len(item.properties)) + bytes(item.properties)
        for number, item in items.items()
    )
    uses = full(b"ipma", struct.pack(">I", len(items)) + named)
    properties = box(b"iprp", box(b"ipco", b"".join(tables.properties)) + uses)
    made = [(b"dimg", number, item.made_of) for number, item in items.items() if item.made_of]
    references = b"".join(
        box(kind, struct.pack(f">HH{len(to)}H", source, len(to), *to))
        for kind, source, to in (*made, *tables.references)
    )
    rest = [full(b"iref", references)] if references else []
    rest += [box(b"idat", tables.inside)] if tables.inside else []
    rest += tables.more
    start = 0
    for _ in range(2):
        # once to learn how long it is, once with the places
        places = b"".join(_places(number, item, start) for number, item in items.items())
        table = full(b"iloc", b"\x44\0" + struct.pack(">H", len(items)) + places, 1)
        body = handler + primary + table + infos + properties + b"".join(rest)
        meta = full(b"meta", body)
        start = len(head) + len(meta) + 8
    return head + meta + box(b"mdat", tables.data)


def _places(number: int, item: Item, start: int) -> bytes:
    begin = 0 if item.inside else start
    parts = b"".join(struct.pack(">II", begin + at, length) for at, length in item.parts)
    return struct.pack(">HHHH", number, int(item.inside), 0, len(item.parts)) + parts


def av1(width: int, height: int, *, frames: int = 1) -> tuple[bytes, bytes]:
    """A picture as AV1, and the property that describes it; ``frames``: as often in a row."""
    out = io.BytesIO()
    Image.new("RGB", (width, height), (9, 99, 200)).save(out, "AVIF", speed=10)
    data = out.getvalue()
    config = data.index(b"av1C") - 4
    size = int.from_bytes(data[config : config + 4], "big")
    coded = data[data.index(b"mdat") + 4 :]
    return coded * frames, data[config : config + size]


def avif(size: tuple[int, int], coded: tuple[bytes, bytes]) -> bytes:
    """An AVIF that says ``size``, width and height, of a coded picture."""
    data, config = coded
    channels = full(b"pixi", b"\3\x08\x08\x08")
    properties = (extent(*size), config, channels)
    item = Item(b"av01", [(0, len(data))], (1, 0x82, 3))
    return write(b"avif", Tables({1: item}, properties, data))
