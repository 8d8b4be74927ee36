"""Segments of a JPEG (ISO 10918-1, annex B), and what its scans cost to decode."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from indexer.core.errors import BadImageError

SCAN = 0xDA
END = 0xD9
PROGRESSIVE = (0xC2, 0xCA)
# frames that libjpeg decodes: baseline, extended and progressive, Huffman or arithmetic
FRAMES = (0xC0, 0xC1, 0xC2, 0xC9, 0xCA)
OTHER_FRAMES = (0xC3, 0xC5, 0xC6, 0xC7, 0xCB, 0xCD, 0xCE, 0xCF)
# a marker after entropy-coded data: no stuffing, no restart, no fill byte
_MARKER = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")
# Segments and scans of one picture: photos have some tens, with much metadata some hundreds.
_MOST_SEGMENTS = 10_000
_MOST_SCANS = 1_000
# Steps of the entropy decoder over all scans, of which it makes about a thousand million a second.
# A progressive photo of 64 megapixels takes 600 million; one of few bytes can take any number.
MOST_STEPS = 2**30
# Steps for a block of a scan, whatever it holds.
_BLOCK_STEPS = 8


@dataclass(frozen=True)
class Segment:
    """A marker, what it holds, and where what follows it begins."""

    marker: int
    body: bytes
    end: int


@dataclass(frozen=True)
class Scan:
    """What a scan's header says (B.2.3): its components, their coefficients, and the lowest bit."""

    components: tuple[int, ...]
    first: int
    last: int
    low: int


def read_segments(data: bytes) -> Iterator[Segment]:
    """Yield the segments up to the end mark or to where the file ends, as libjpeg finds them.

    Raises ``BadImageError`` for more of them than a photo has.
    """
    at = 2
    for _ in range(_MOST_SEGMENTS):
        found = _MARKER.search(data, at)
        if found is None:
            return
        at = found.start()
        marker = data[at + 1]
        if marker == END or at + 4 > len(data):
            return
        if marker in (0x01, 0xD8):
            # Marks without a body.
            at += 2
            continue
        length = int.from_bytes(data[at + 2 : at + 4], "big")
        body = data[at + 4 : at + 2 + length]
        at += 2 + max(length, 2)
        yield Segment(marker, body, at)
    raise BadImageError(f"damaged JPEG: it has more than {_MOST_SEGMENTS} segments")


def read_sampling(body: bytes) -> dict[int, tuple[int, int]]:
    """Component -> (horizontal, vertical) sampling factor of a frame header; {} of a short one.

    Raises ``BadImageError`` for a component that it names twice: libjpeg takes it for two.
    """
    if len(body) < 6 or len(body) < 6 + 3 * body[5]:
        return {}
    places = range(6, 6 + 3 * body[5], 3)
    _check_once([body[place] for place in places], "frame")
    return {body[place]: (body[place + 1] >> 4, body[place + 1] & 15) for place in places}


def read_scan(kind: int, body: bytes) -> Scan | None:
    """Read a scan's header in a frame of ``kind``; None where it is too short."""
    count = body[0] if body else 0
    if len(body) < 4 + 2 * count:
        return None
    names = tuple(body[1 + 2 * number] for number in range(count))
    if kind not in PROGRESSIVE:
        return Scan(names, 0, 63, 0)
    return Scan(names, body[-3], body[-2], body[-1] & 15)


def count_steps(data: bytes) -> int:
    """Count what the scans of a JPEG cost, 0 where a single scan holds all.

    Raises ``BadImageError`` as soon as they are more than a photo's: the decoder cannot be stopped;
    and for headers that can be understood in two ways: a second frame, and components that a scan
    or frame names twice, or only a scan names.
    """
    kind = steps = scans = 0
    blocks: dict[int, int] = {}
    for segment in read_segments(data):
        if segment.marker in (*FRAMES, *OTHER_FRAMES):
            if blocks:
                raise BadImageError("damaged JPEG: it has two frame headers")
            kind = segment.marker
            blocks = _count_blocks(segment.body)
            if not blocks:
                return 0
        elif segment.marker == SCAN and blocks:
            scan = read_scan(kind, segment.body)
            if scan is None:
                return steps
            _check_once(scan.components, "scan")
            if not blocks.keys() >= set(scan.components):
                raise BadImageError("damaged JPEG: a scan names a component that it does not have")
            # libjpeg refuses what follows such a scan, before it reads it.
            if not scans and kind not in PROGRESSIVE and len(scan.components) >= len(blocks):
                return 0
            scans += 1
            each = max(scan.last - scan.first, 0) + 1 + _BLOCK_STEPS
            steps += sum(blocks[name] for name in scan.components) * each
            if steps > MOST_STEPS or scans > _MOST_SCANS:
                raise BadImageError(
                    f"the JPEG has {scans} scans or more, which take too long to decode; save it "
                    "as baseline JPEG, or smaller"
                )
    return steps


def _check_once(names: Sequence[int], header: str) -> None:
    """Raise ``BadImageError`` for a component that the header of a frame or scan names twice."""
    if len(set(names)) < len(names):
        raise BadImageError(f"damaged JPEG: the header of a {header} names a component twice")


def _count_blocks(body: bytes) -> dict[int, int]:
    """Component -> its blocks of 8 x 8 coefficients, of a frame header."""
    sampling = read_sampling(body)
    if not sampling or not all(across and down for across, down in sampling.values()):
        return {}
    height, width = int.from_bytes(body[1:3], "big"), int.from_bytes(body[3:5], "big")
    widest = max(across for across, _ in sampling.values())
    tallest = max(down for _, down in sampling.values())
    return {
        name: -(-width * across // (8 * widest)) * -(-height * down // (8 * tallest))
        for name, (across, down) in sampling.items()
    }
