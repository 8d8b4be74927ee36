"""Metadata of a photo's file as its formats hold them, taken out without being understood."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from typing import Literal

from indexer.imaging.jpeg_segments import SCAN, read_segments

# XMP as XML, IPTC-IIM records, and C2PA's JUMBF boxes
BlockKind = Literal["xmp", "iptc", "c2pa"]
MetadataBlock = tuple[BlockKind, bytes]

# Bytes of one block that are looked at, and parts of a file before they are given up.
MOST_BYTES = 4 * 2**20
_MOST_PARTS = 20_000
_XMP = b"http://ns.adobe.com/xap/1.0/\0"
_MORE_XMP = b"http://ns.adobe.com/xmp/extension/\0"
# GUID, length and offset before a portion of extended XMP
_MORE_HEAD = 40
_C2PA_BOX = bytes.fromhex("d8fec3d61b0e483c92975828877ec481")
_XMP_BOX = bytes.fromhex("be7acfcb97a942e89c71999491e3afac")
# TIFF tags (XMP part 3, IPTC, C2PA 2.1 A.3)
_TAGS: dict[int, BlockKind] = {700: "xmp", 33723: "iptc", 52545: "c2pa"}


def metadata_blocks(name: str, data: bytes) -> Iterator[MetadataBlock]:
    """Yield the blocks of a file of a known format; of a damaged one those that are found."""
    if name == "JPEG":
        yield from _of_jpeg(data)
    elif name == "PNG":
        yield from _of_png(data)
    elif name == "WEBP":
        yield from _of_webp(data)
    elif name == "GIF":
        yield from _of_gif(data)
    elif name == "TIFF":
        yield from _of_tiff(data)
    elif name in ("HEIC", "AVIF"):
        yield from _of_boxes(data)


def _of_jpeg(data: bytes) -> Iterator[MetadataBlock]:
    # Segments of one JUMBF superbox share a number, and repeat its header (ISO 19566-5, D.2).
    boxes: dict[bytes, bytearray] = {}
    xmp = bytearray()
    for segment in read_segments(data):
        marker, body = segment.marker, segment.body
        if marker == SCAN:
            break
        if marker == 0xE1 and body.startswith(_XMP):
            yield "xmp", body[len(_XMP) :]
        elif marker == 0xE1 and body.startswith(_MORE_XMP) and len(xmp) < MOST_BYTES:
            xmp += body[len(_MORE_XMP) + _MORE_HEAD :]
        elif marker == 0xED:
            yield "iptc", body
        elif marker == 0xEB and body.startswith(b"JP") and len(body) > 16:
            box = boxes.setdefault(body[2:4], bytearray())
            if len(box) < MOST_BYTES:
                box += body[16:] if box else body[8:]
    if xmp:
        yield "xmp", bytes(xmp)
    for box in boxes.values():
        yield "c2pa", bytes(box)


def _of_png(data: bytes) -> Iterator[MetadataBlock]:
    at = 8
    for _ in range(_MOST_PARTS):
        length, kind = int.from_bytes(data[at : at + 4], "big"), data[at + 4 : at + 8]
        body = data[at + 8 : at + 8 + min(length, MOST_BYTES)]
        if kind == b"caBX":
            yield "c2pa", body
        elif kind == b"iTXt" and body.startswith(b"XML:com.adobe.xmp\0"):
            # two flags, two texts that end with a zero, the packet
            packed, rest = body[18:19] == b"\1", body[20:]
            text = rest.partition(b"\0")[2].partition(b"\0")[2]
            yield "xmp", _inflated(text) if packed else text
        at += 12 + length
        if len(kind) < 4 or kind == b"IEND":
            return


def _inflated(data: bytes) -> bytes:
    try:
        return zlib.decompressobj().decompress(data, MOST_BYTES)
    except zlib.error:
        return b""


def _of_webp(data: bytes) -> Iterator[MetadataBlock]:
    at = 12
    for _ in range(_MOST_PARTS):
        length = int.from_bytes(data[at + 4 : at + 8], "little")
        body = slice(at + 8, at + 8 + min(length, MOST_BYTES))
        if data[at : at + 4] == b"XMP ":
            yield "xmp", data[body]
        elif data[at : at + 4] == b"C2PA":
            yield "c2pa", data[body]
        at += 8 + length + length % 2
        if at + 8 > len(data):
            return


def _of_gif(data: bytes) -> Iterator[MetadataBlock]:
    """Application extensions; XMP stands there in one piece, C2PA in parts of 255 bytes."""
    at = data.find(b"\x21\xff\x0bXMP DataXMP")
    if at >= 0:
        yield "xmp", data[at + 14 : at + 14 + MOST_BYTES]
    at = data.find(b"\x21\xff\x0bC2PA_GIF")
    if at >= 0:
        at += 14
        box = bytearray()
        while at < len(data) and data[at] and len(box) < MOST_BYTES:
            box += data[at + 1 : at + 1 + data[at]]
            at += 1 + data[at]
        yield "c2pa", bytes(box)


def _of_tiff(data: bytes) -> Iterator[MetadataBlock]:
    order = "<" if data[:2] == b"II" else ">"
    big = data[2:4] in (b"+\0", b"\0+")
    head, entry = ("Q", "HHQQ") if big else ("H", "HHII")
    try:
        at = struct.unpack_from(order + ("Q" if big else "I"), data, 8 if big else 4)[0]
        count = struct.unpack_from(order + head, data, at)[0]
        at += struct.calcsize("<" + head)
        for _ in range(min(count, _MOST_PARTS)):
            tag, kind, length, offset = struct.unpack_from(order + entry, data, at)
            at += struct.calcsize("<" + entry)
            if tag in _TAGS:
                size = min(length * (4 if kind in (4, 13) else 1), MOST_BYTES)
                yield _TAGS[tag], data[offset : offset + size]
    except struct.error:
        return


def _of_boxes(data: bytes) -> Iterator[MetadataBlock]:
    """Boxes at the top of an ISO media file; XMP of a HEIF stands among its items, in one piece."""
    at = 0
    for _ in range(_MOST_PARTS):
        if at + 8 > len(data):
            break
        length, kind = int.from_bytes(data[at : at + 4], "big"), data[at + 4 : at + 8]
        start = at + 8
        if length == 1:
            length, start = int.from_bytes(data[at + 8 : at + 16], "big"), at + 16
        length = length or len(data) - at
        body = data[start : min(at + length, start + MOST_BYTES)]
        if kind == b"uuid" and body.startswith(_XMP_BOX):
            yield "xmp", body[16:]
        elif kind == b"uuid" and body.startswith(_C2PA_BOX):
            # version and flags, what it is for, a place
            purpose, _, rest = body[20:].partition(b"\0")
            if purpose == b"manifest":
                yield "c2pa", rest[8:]
        at += max(length, 8)
    start = data.find(b"<x:xmpmeta")
    if start >= 0:
        yield "xmp", data[start : start + MOST_BYTES]
