"""Items of a HEIF or AVIF file (ISO 23008-12): what its photo is put together from, how often."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import chain

from indexer.core.errors import BadImageError, ImageTooLargeError
from indexer.imaging import av1_frames, hevc_frames

# Pixels that are decoded for a photo: this, or of its own four times.
_FREE_PIXELS = 2**25
_MOST_TIMES = 4
# Bytes of metadata that are copied, for each picture of its own: this, or of the file four times.
_FREE_BYTES = 2**24
# Boxes of one, bytes of its table, and levels of pictures in pictures.
_MOST_BOXES = 4096
_MOST_TABLE = 2**18
_MOST_LEVELS = 8
# Of two, libraries take the first, or the last, or both.
_ONCE = frozenset(
    (
        *(b"meta", b"iprp", b"ipco", b"iloc", b"iinf", b"iref", b"pitm", b"idat"),
        *(b"moov", b"mdia", b"minf", b"stbl", b"stsz", b"stco", b"co64"),
    )
)
_TABLES = (b"iloc", b"iinf", b"iref", b"ipma")
_AV1, _HEVC = b"av01", b"hvc1"
# of the configuration of HEVC: where it says how many bytes a length has; libheif takes it for four
_LENGTH_AT, _LENGTH = 21, 4

_Span = tuple[int, int]


@dataclass
class HeifItem:
    """A picture or a piece of metadata: its kind, where it lies, pixels and properties' bytes."""

    kind: bytes
    # offset and length in the file
    parts: list[tuple[int, int]] = field(default_factory=list)
    pixels: int = 0
    profile_bytes: int = 0
    # of HEVC: bytes of the length before each unit
    lengths: set[int] = field(default_factory=set)

    @property
    def size(self) -> int:
        """Bytes of all parts."""
        return sum(length for _, length in self.parts)


@dataclass
class HeifFile:
    """Items of a file by number, what refers to what by kind of reference, and first samples."""

    items: dict[int, HeifItem] = field(default_factory=dict)
    primary: int = 0
    # kind of reference -> item -> items that it refers to, in order, some of them often
    references: dict[bytes, dict[int, list[int]]] = field(default_factory=dict)
    # offset and length of the first sample of each track
    samples: list[tuple[int, int]] = field(default_factory=list)


class _Table:
    """Reads numbers of some bytes each from what a box holds; zeros behind its end.

    ``full``: it begins with a version and flags.
    """

    def __init__(self, data: bytes, *, full: bool = True) -> None:
        self._data = data
        self._at = 0
        self.version = self.read(1) if full else 0
        self.flags = self.read(3) if full else 0

    @property
    def left(self) -> bool:
        """Whether its end is not reached."""
        return self._at < len(self._data)

    def read(self, size: int) -> int:
        """The number of the next ``size`` bytes."""
        self._at += size
        return int.from_bytes(self._data[self._at - size : self._at], "big")


def boxes(data: bytes, at: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    """Yield kind, start and end of what each box between two places holds (ISO 14496-12, 4.2)."""
    while at + 8 <= end:
        length, kind = int.from_bytes(data[at : at + 4], "big"), data[at + 4 : at + 8]
        start = at + 8
        if length == 1:
            length, start = int.from_bytes(data[at + 8 : at + 16], "big"), at + 16
        stop = min(at + max(length or end - at, 8), end)
        yield kind, start, stop
        at = stop


def check_items(name: str, data: bytes) -> None:
    """Raise ``BadImageError`` for items that are together far larger than the file, with copies,
    and for pictures that are made of one another beyond what cameras do.

    They may all name the same bytes, and each picture of a file has a copy of its own of each
    profile and description. Libraries follow each picture down to what it is made of, for all of a
    chain again and again.
    """
    file = read_file(name, data)
    _check_levels(name, file)
    total = sum(item.size + item.profile_bytes for item in file.items.values())
    for described, targets in file.references.get(b"cdsc", {}).items():
        if described in file.items:
            total += file.items[described].size * len(targets)
    if total > max(_FREE_BYTES, _MOST_TIMES * len(data)):
        raise BadImageError(f"damaged {name}: it names the same bytes for far too many pictures")


def count_coded_pixels(name: str, data: bytes, size: tuple[int, int]) -> int:
    """Count the pixels that are decoded for a photo of ``size``, width and height.

    Those of its tiles, layers, hidden frames and opacity, as often as they are named. Raises
    ``ImageTooLargeError`` where they are far more than the photo's.
    """
    file = read_file(name, data)
    if name == "AVIF":
        coded = [number for number, item in file.items.items() if item.kind == _AV1]
        pieces = chain(
            (_piece(data, file.items[number].parts) for number in coded),
            (_piece(data, [sample]) for sample in file.samples),
        )
        counts = av1_frames.count_pixels(pieces)
        own = dict(zip(coded, counts, strict=False))
        found = max(_Decoding(name, file, own).count(file.primary), sum(counts[len(coded) :]))
    else:
        own = {number: _hevc_pixels(data, item) for number, item in file.items.items()}
        found = _Decoding(name, file, own).count(file.primary)
    if found > max(_FREE_PIXELS, _MOST_TIMES * size[0] * size[1]):
        raise ImageTooLargeError(
            f"the {name} has {size[0]} x {size[1]} px, but decoding it takes {found:,} px of "
            "tiles, layers or frames; save it as one plain picture"
        )
    return found


def _check_levels(name: str, file: HeifFile) -> None:
    """Raise ``BadImageError`` where pictures of any item, shown or not, are made of one another on
    too many levels."""
    made_of = file.references.get(b"dimg", {})
    # Items that have pictures on so many levels below them: all, those made of others, and so on.
    deep = set(made_of)
    for _ in range(_MOST_LEVELS):
        deep = {item for item in deep if not deep.isdisjoint(made_of[item])}
        if not deep:
            return
    raise _circular(name)


def _circular(name: str) -> BadImageError:
    return BadImageError(f"damaged {name}: its pictures are made of one another")


def _piece(data: bytes, parts: list[_Span]) -> bytes:
    return b"".join(data[at : at + length] for at, length in parts)


def _hevc_pixels(data: bytes, item: HeifItem) -> int:
    if item.kind != _HEVC:
        return item.pixels
    piece = _piece(data, item.parts)
    lengths = item.lengths | {_LENGTH}
    return item.pixels * max(1, *(hevc_frames.count_frames(piece, each) for each in lengths))


class _Decoding:
    """Counts the pixels that are decoded for an item, those of its tiles and opacity included."""

    def __init__(self, name: str, file: HeifFile, own: dict[int, int]) -> None:
        self._name = name
        self._tiles = file.references.get(b"dimg", {})
        self._own = own
        self._known: dict[int, int] = {}
        self._opacity: dict[int, list[int]] = {}
        for item, targets in file.references.get(b"auxl", {}).items():
            for target in set(targets):
                self._opacity.setdefault(target, []).append(item)

    def count(self, number: int, level: int = 0) -> int:
        """The pixels of an item."""
        if level > _MOST_LEVELS:
            raise _circular(self._name)
        if number not in self._known:
            tiles = self._tiles.get(number, [])
            # A picture that is made of others is only put together.
            found = 0 if tiles else self._own.get(number, 0)
            for other in (*tiles, *self._opacity.get(number, [])):
                found += self.count(other, level + 1)
            self._known[number] = found
        return self._known[number]


def read_file(name: str, data: bytes) -> HeifFile:
    """Read the tables of a file; what stands behind the end of one is left out.

    Raises ``BadImageError`` for a table that stands there twice, and for far larger ones than those
    of a photo.
    """
    file = HeifFile()
    top = _children(name, data, 0, len(data))
    for start, end in top.get(b"meta", []):
        _read_items(name, data, _children(name, data, start + 4, end), file)
    for start, end in top.get(b"moov", []):
        for track in _children(name, data, start, end).get(b"trak", []):
            _read_track(name, data, track, file)
    return file


def _children(name: str, data: bytes, start: int, end: int) -> dict[bytes, list[_Span]]:
    """Kind -> start and end of what each box between two places holds."""
    found: dict[bytes, list[_Span]] = {}
    for number, (kind, at, stop) in enumerate(boxes(data, start, end)):
        if number >= _MOST_BOXES:
            raise BadImageError(f"damaged {name}: it has more than {_MOST_BOXES:,} boxes")
        if kind in _ONCE and kind in found:
            raise BadImageError(f"damaged {name}: it has two boxes {kind.decode()}")
        if kind in _TABLES and stop - at > _MOST_TABLE:
            raise BadImageError(f"damaged {name}: its tables are far larger than those of a photo")
        found.setdefault(kind, []).append((at, stop))
    return found


def _read_items(name: str, data: bytes, meta: dict[bytes, list[_Span]], file: HeifFile) -> None:
    def table(kind: bytes) -> _Table:
        start, end = meta.get(kind, [(0, 0)])[0]
        return _Table(data[start:end])

    primary = table(b"pitm")
    file.primary = primary.read(4 if primary.version else 2)
    for start, end in meta.get(b"iinf", []):
        first = start + (8 if data[start : start + 1] != b"\0" else 6)
        for at, stop in _children(name, data, first, end).get(b"infe", []):
            entry = _Table(data[at : min(stop, at + 16)])
            number = entry.read(4 if entry.version == 3 else 2)
            entry.read(2)
            if number in file.items:
                raise BadImageError(f"damaged {name}: it has two items {number}")
            file.items[number] = HeifItem(entry.read(4).to_bytes(4, "big"))
    inside = meta.get(b"idat", [(0, 0)])[0][0]
    for number, part in _parts(name, table(b"iloc"), inside):
        if number in file.items:
            file.items[number].parts.append(part)
    for start, end in meta.get(b"iref", []):
        wide = 4 if data[start : start + 1] != b"\0" else 2
        for kind, spans in _children(name, data, start + 4, end).items():
            of_kind = file.references.setdefault(kind, {})
            for at, stop in spans:
                entry = _Table(data[at:stop], full=False)
                item, count = entry.read(wide), entry.read(2)
                left = min(count, (stop - at) // wide)
                of_kind.setdefault(item, []).extend(entry.read(wide) for _ in range(left))
    for start, end in meta.get(b"iprp", []):
        _read_properties(data, _children(name, data, start, end), file)


def _parts(name: str, table: _Table, inside: int) -> Iterator[tuple[int, _Span]]:
    """Yield item, and offset and length of each of its parts (ISO 14496-12, 8.11.3).

    Raises ``BadImageError`` for an item that is located twice.
    """
    seen: set[int] = set()
    sizes = table.read(2)
    offset, length, base, index = sizes >> 12, sizes >> 8 & 15, sizes >> 4 & 15, sizes & 15
    wide = 4 if table.version == 2 else 2
    for _ in range(table.read(wide)):
        if not table.left:
            return
        number = table.read(wide)
        if number in seen:
            raise BadImageError(f"damaged {name}: it says twice where item {number} lies")
        seen.add(number)
        method = table.read(2) & 15 if table.version in (1, 2) else 0
        table.read(2)
        start = table.read(base) + (inside if method == 1 else 0)
        for _ in range(table.read(2)):
            if not table.left:
                return
            table.read(index if table.version in (1, 2) else 0)
            at = table.read(offset)
            yield number, (start + at, table.read(length))


def _read_properties(data: bytes, boxes_: dict[bytes, list[_Span]], file: HeifFile) -> None:
    """Give each item the pixels and profiles that are named for it (8.11.14)."""
    properties: list[tuple[bytes, int, int]] = []
    for start, end in boxes_.get(b"ipco", []):
        properties.extend(boxes(data, start, end))
    for start, end in boxes_.get(b"ipma", []):
        table = _Table(data[start:end])
        wide, far = 4 if table.version else 2, table.flags & 1
        for _ in range(table.read(4)):
            if not table.left:
                break
            item = file.items.get(table.read(wide))
            for _ in range(table.read(1)):
                place = table.read(2) & 0x7FFF if far else table.read(1) & 0x7F
                if item is not None and 0 < place <= len(properties):
                    _describe(item, data, *properties[place - 1])


def _describe(item: HeifItem, data: bytes, kind: bytes, start: int, end: int) -> None:
    """Add a property to an item."""
    if kind == b"ispe":
        size = _Table(data[start : start + 12])
        item.pixels = max(item.pixels, size.read(4) * size.read(4))
    elif kind == b"colr":
        item.profile_bytes += end - start
    elif kind == b"hvcC":
        item.lengths.add((_Table(data[start + _LENGTH_AT : end], full=False).read(1) & 3) + 1)


def _read_track(name: str, data: bytes, track: _Span, file: HeifFile) -> None:
    """Find the first sample of a track (8.7): the only one that is decoded."""
    span = track
    for kind in (b"mdia", b"minf", b"stbl"):
        inner = _children(name, data, *span).get(kind)
        if not inner:
            return
        span = inner[0]
    tables = _children(name, data, *span)
    for sizes in tables.get(b"stsz", []):
        table = _Table(data[sizes[0] : sizes[0] + 16])
        each, count = table.read(4), table.read(4)
        length = each or (table.read(4) if count else 0)
        for kind, wide in ((b"stco", 4), (b"co64", 8)):
            for start, _ in tables.get(kind, []):
                chunks = _Table(data[start : start + 16])
                if chunks.read(4):
                    file.samples.append((chunks.read(wide), length))
