"""Counts of a file's parts, taken before Pillow reads them one by one or copies them."""

from __future__ import annotations

import struct
from collections.abc import Iterator

from indexer.core.errors import BadImageError, UnsupportedFormatError
from indexer.imaging import avif_boxes
from indexer.imaging.heif_items import check_items
from indexer.imaging.jpeg_segments import SCAN, count_steps, read_segments

# Parts before the pixels, or blocks of pixels, of one file: Pillow spends a microsecond and more on
# each, holding Python's lock.
_MOST_PARTS = 131_072
# Bytes of a run-length coded BMP, which Pillow decodes in Python.
_MOST_RUNS = 4 * 2**20
# Bytes that the values of a directory may have together: this, or all of the file four times.
_FREE_VALUES = 2**20
# Bytes that are copied to put the EXIF segments of a JPEG together: each is added to all before.
_MOST_COPIED = 2**28
# Compressed profiles of a PNG, of which the last one counts and each is unpacked.
_MOST_PROFILES = 16
# What a TIFF says of its pixels, once: size, kind, blocks, samples. Of two, Pillow takes the last,
# libtiff the first.
_TIFF_ONCE = frozenset({256, 257, 258, 259, 262, 273, 277, 278, 279, 284, 322, 323, 324, 325})
_TIFF_ONCE |= {266, 317, 320, 338, 339, 347, 530}
_TIFF_STRIPS = frozenset({273, 279})
_TIFF_TILES = frozenset({322, 323, 324, 325})
# TIFF 6.0, section 2, and BigTIFF: kind of number -> its bytes
_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4}
_SIZES |= {16: 8, 17: 8, 18: 8}
# Third byte of a BigTIFF, as Pillow knows it: of Intel's order of bytes.
_BIG = b"+"


def check_structure(name: str, data: bytes) -> None:
    """Raise ``BadImageError`` for a file of a known format whose parts take too long to read, or
    are read in two ways."""
    if name == "JPEG":
        count_steps(data)
        _check_exif(data)
    elif name == "PNG":
        _check_chunks(data)
    elif name == "GIF":
        _check_blocks(data)
    elif name == "BMP":
        _check_runs(data)
    elif name == "AVIF" and not avif_boxes.are_bounded(data):
        raise BadImageError("damaged AVIF: its tables are far larger than those of a photo")
    elif name == "TIFF":
        _check_directory(data)
    if name in ("AVIF", "HEIC"):
        check_items(name, data)


def _too_many(name: str, parts: str) -> BadImageError:
    return BadImageError(f"damaged {name}: it has more than {_MOST_PARTS:,} {parts}")


def _check_exif(data: bytes) -> None:
    """Check what Pillow reads when it opens a JPEG: all EXIF segments as one."""
    found = bytearray()
    copied = 0
    for segment in read_segments(data):
        if segment.marker == SCAN:
            break
        if segment.marker == 0xE1 and segment.body.startswith(b"Exif\0\0"):
            found += segment.body[6 if found else 0 :]
            copied += len(found)
            if copied > _MOST_COPIED:
                raise BadImageError("damaged JPEG: it has far more EXIF data than a photo")
    if not is_bounded_directory(bytes(found)):
        raise BadImageError("damaged JPEG: its EXIF data name far more values than they hold")


def _check_directory(data: bytes) -> None:
    if data[2:4] == b"\0+":
        # Pillow takes its directory for one of another place than libtiff does.
        raise UnsupportedFormatError(
            "BigTIFFs of big-endian numbers are not supported; save the photo as TIFF, PNG or JPEG"
        )
    if not is_bounded_directory(data):
        raise BadImageError("damaged TIFF: its directory names far more values than the file has")
    seen: set[int] = set()
    for tag, _, _, _ in _entries(data):
        if tag in seen:
            raise BadImageError(f"damaged TIFF: its directory names the tag {tag} twice")
        if tag in _TIFF_ONCE:
            seen.add(tag)
    if seen & _TIFF_STRIPS and seen & _TIFF_TILES:
        raise BadImageError("damaged TIFF: its directory names both strips and tiles")


def _check_chunks(data: bytes) -> None:
    at = 8
    profiles = headers = 0
    for _ in range(_MOST_PARTS):
        if at + 12 > len(data):
            return
        profiles += data[at + 4 : at + 8] == b"iCCP"
        if profiles > _MOST_PROFILES:
            raise BadImageError(f"damaged PNG: it has more than {_MOST_PROFILES} colour profiles")
        headers += data[at + 4 : at + 8] == b"IHDR"
        if headers != 1:
            # Pillow takes the last of several, wherever it stands.
            raise BadImageError("damaged PNG: it has not one header at its start")
        at += 12 + int.from_bytes(data[at : at + 4], "big")
    raise _too_many("PNG", "chunks")


def _check_blocks(data: bytes) -> None:
    """Count what stands before the first picture of a GIF: blocks, and their parts."""
    flags = data[10] if len(data) > 10 else 0
    at = 13 + (3 << ((flags & 7) + 1) if flags & 0x80 else 0)
    within = False
    for _ in range(_MOST_PARTS):
        if at >= len(data):
            return
        if within:
            within = data[at] > 0
            at += 1 + data[at]
        elif data[at] == 0x21:
            within = True
            at += 2
        elif data[at] == 0x2C:
            return
        else:
            at += 1
    raise _too_many("GIF", "blocks before its picture")


def _check_runs(data: bytes) -> None:
    coded = int.from_bytes(data[30:34], "little") in (1, 2) and data[14] >= 40
    if len(data) > _MOST_RUNS and coded:
        raise BadImageError(
            f"the BMP is run-length coded and has more than {_MOST_RUNS:,} bytes; save it as PNG"
        )


def is_bounded_directory(data: bytes) -> bool:
    """Whether the first directory of a TIFF or of EXIF data names no more than the bytes hold.

    Its entries may all point to the same bytes, which are copied for each. What cannot be read as a
    directory is bounded.
    """
    data = data.removeprefix(b"Exif\0\0")
    inline = 8 if data[2:3] == _BIG else 4
    total = 0
    for entries, (_, kind, count, offset) in enumerate(_entries(data)):
        size = count * _SIZES.get(kind, 0)
        if size > inline:
            total += max(min(size, len(data) - offset), 0)
        # Numbers become Python's, one by one; texts and bytes do not.
        if entries >= _MOST_PARTS or (count > _MOST_PARTS and kind not in (1, 2, 6, 7)):
            return False
    return total <= max(_FREE_VALUES, 4 * len(data))


def _entries(data: bytes) -> Iterator[tuple[int, int, int, int]]:
    """Yield tag, kind, count and place of the values of the first directory that ``data`` holds."""
    order = {b"II": "<", b"MM": ">"}.get(bytes(data[:2]), "")
    if not order or len(data) < 16:
        return
    big = data[2:3] == _BIG
    start = struct.unpack_from(order + ("Q" if big else "I"), data, 8 if big else 4)[0]
    head, entry = ("Q", "HHQQ") if big else ("H", "HHII")
    width = struct.calcsize("<" + entry)
    if start + struct.calcsize("<" + head) > len(data):
        return
    entries = struct.unpack_from(order + head, data, start)[0]
    start += struct.calcsize("<" + head)
    for place in range(start, min(start + entries * width, len(data) - width + 1), width):
        yield struct.unpack_from(order + entry, data, place)
