"""Small files that cost much: what they are made of is repeated, not what they show."""

from __future__ import annotations

import io
import struct
import zlib

from PIL import Image


def scans(count: int, *, side: int = 2048) -> bytes:
    """A grey progressive JPEG of ``count`` scans, each of a few bytes, over all of the picture."""
    blocks = (side // 8) ** 2
    bits = ("0" + "1" * 14) * -(-blocks // (2**15 - 1))
    bits += "1" * (-len(bits) % 8)
    run = int(bits, 2).to_bytes(len(bits) // 8, "big").replace(b"\xff", b"\xff\x00")
    head = b"\xff\xd8" + b"\xff\xdb\x00\x43\x00" + b"\1" * 64
    head += b"\xff\xc2" + struct.pack(">HBHHB", 11, 8, side, side, 1) + bytes([1, 0x11, 0])
    head += b"\xff\xc4\x00\x14\x00\x01" + bytes(15) + b"\x00"
    head += b"\xff\xc4\x00\x14\x10\x01" + bytes(15) + b"\xe0"
    scan = b"\xff\xda\x00\x08\x01\x01\x00"
    first = scan + bytes([0, 0, 0]) + bytes(blocks // 8 + 1)
    return head + first + (scan + bytes([1, 63, 0]) + run) * count + b"\xff\xd9"


def jpeg_with(body: bytes, marker: int = 0xE1, *, count: int = 1) -> bytes:
    """A JPEG of 16 x 16 px with one more segment, or ``count`` of it."""
    out = io.BytesIO()
    Image.new("RGB", (16, 16)).save(out, "JPEG")
    data = out.getvalue()
    head = struct.pack(">BBH", 0xFF, marker, len(body) + 2)
    return data[:2] + (head + body) * count + data[2:]


def segments(count: int) -> bytes:
    """A JPEG of empty comments."""
    return b"\xff\xd8" + b"\xff\xfe\x00\x02" * count + b"\xff\xd9"


def chunk(name: bytes, body: bytes = b"") -> bytes:
    """A chunk of a PNG."""
    check = struct.pack(">I", zlib.crc32(name + body))
    return struct.pack(">I", len(body)) + name + body + check


def chunks(count: int, *, exif: bytes = b"") -> bytes:
    """A PNG of 8 x 8 px with ``count`` empty chunks."""
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", 8, 8, 8, 0, 0, 0, 0))
    more = chunk(b"eXIf", exif) if exif else b""
    pixels = chunk(b"IDAT", zlib.compress(bytes(9 * 8)))
    parts = head + more + chunk(b"prVt") * count + pixels
    return b"\x89PNG\r\n\x1a\n" + parts + chunk(b"IEND")


def blocks(count: int) -> bytes:
    """A GIF with a comment of ``count`` parts before its picture."""
    head = b"GIF89a" + struct.pack("<HHBBB", 8, 8, 0x80, 0, 0) + bytes(6)
    return head + b"!\xfe" + b"\1a" * count + b"\0" + b"," + bytes(8) + b";"


def runs(count: int) -> bytes:
    """A run-length coded BMP of 4000 x 4000 px with ``count`` runs."""
    data = b"\1a" * count
    size = 54 + 1024 + len(data)
    head = b"BM" + struct.pack("<IHHI", size, 0, 0, 54 + 1024)
    head += struct.pack("<IiiHHIIiiII", 40, 4000, 4000, 1, 8, 1, len(data), 0, 0, 256, 0)
    return head + bytes(1024) + data


def directory(entries: int, size: int) -> bytes:
    """EXIF data, or a TIFF, of ``entries`` values that all are the same ``size`` bytes."""
    head = b"II*\0" + struct.pack("<IH", 8, entries + 1)
    head += struct.pack("<HHII", 0x0112, 3, 1, 6)
    for number in range(entries):
        head += struct.pack("<HHII", 30000 + number, 7, size, 100)
    return head + bytes(4) + bytes(size)


def strips(count: int) -> bytes:
    """A TIFF that names ``count`` strips of its 8 x 8 px."""
    tags = [(256, 8), (257, 8), (258, 8), (259, 1), (262, 1), (277, 1), (278, 1)]
    head = b"II*\0" + struct.pack("<IH", 8, 9)
    for tag, value in tags[:5]:
        head += struct.pack("<HHII", tag, 3, 1, value)
    head += struct.pack("<HHII", 273, 4, count, 122)
    for tag, value in tags[5:]:
        head += struct.pack("<HHII", tag, 3, 1, value)
    head += struct.pack("<HHII", 279, 4, count, 122)
    return head + bytes(4) + struct.pack("<I", 8) * count


def exif_segments(count: int, size: int) -> bytes:
    """A JPEG whose EXIF data stand in ``count`` segments of ``size`` bytes."""
    body = b"Exif\0\0" + bytes(size)
    return jpeg_with(body, count=count)


def profiles(count: int) -> bytes:
    """A PNG with ``count`` colour profiles, each of a megabyte once it is unpacked."""
    profile = chunk(b"iCCP", b"a\0\0" + zlib.compress(bytes(1_000_000)))
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", 8, 8, 8, 0, 0, 0, 0))
    pixels = chunk(b"IDAT", zlib.compress(bytes(9 * 8)))
    return b"\x89PNG\r\n\x1a\n" + head + profile * count + pixels + chunk(b"IEND")


def same_blocks(size: tuple[int, int], block: bytes, count: int, **tags: int) -> bytes:
    """A grey TIFF of ``size``, width and height, whose ``count`` blocks are the same bytes.

    ``tags``: "t" and a tag's number -> its value; in tiles where t322 is given.
    """
    given = {int(name[1:]): value for name, value in tags.items()}
    tiled = 322 in given
    places, lengths = (324, 325) if tiled else (273, 279)
    values = {256: size[0], 257: size[1], 258: 8, 259: 1, 262: 1, 277: 1, **given}
    start = 8 + 2 + 12 * (len(values) + 2) + 4
    at = start + 8 * count
    entries = {tag: (1, value) for tag, value in values.items()}
    entries[places] = (count, start) if count > 1 else (1, at)
    entries[lengths] = (count, start + 4 * count) if count > 1 else (1, len(block))
    head = b"II*\0" + struct.pack("<IH", 8, len(entries))
    for tag in sorted(entries):
        head += struct.pack("<HHII", tag, 4, *entries[tag])
    tables = struct.pack("<I", at) * count + struct.pack("<I", len(block)) * count
    return head + bytes(4) + tables + block
