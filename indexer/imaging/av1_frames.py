"""Frames that a piece of AV1 holds, shown or not, and the pixels that decoding them takes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from indexer.core.errors import BadImageError

# AV1 bitstream, 6.2.2: kinds of units
_SEQUENCE, _FRAME_HEADER, _FRAME = 1, 3, 6
# Units of a photo: a few, and one for each group of its tiles.
_MOST_UNITS = 10_000
# Bytes of a header that are read.
_HEAD_BYTES = 256
# Pixels that any frame costs, and that the largest one has which libavif decodes.
_LEAST, _MOST = 2**14, 2**28
_KEY, _SWITCH = 0, 3
# 6.4.1: a flag is said by each frame
_SELECT = 2


class _Bits:
    """Reads numbers of some bits each, highest bit first (4.10); zeros behind the end."""

    def __init__(self, data: bytes) -> None:
        self._value = int.from_bytes(data, "big")
        self._left = 8 * len(data)

    def read(self, count: int) -> int:
        self._left -= count
        if self._left < 0:
            return 0
        return self._value >> self._left & (1 << count) - 1

    def skip_long(self) -> None:
        """Skip a number of any length (``uvlc``)."""
        zeros = 0
        while zeros < 32 and self._left > 0 and not self.read(1):
            zeros += 1
        self.read(zeros)


@dataclass(frozen=True)
class _Sequence:
    """What a sequence header says of its frames (5.5)."""

    # every frame has the size of the sequence
    fixed: bool
    pixels: int
    # of a frame that has a size of its own
    most_pixels: int
    # bits of the time at which a frame is shown, and of its number; 0: none
    time_bits: int
    number_bits: int
    screen_content: int
    integer_motion: int


def count_pixels(pieces: Iterable[bytes]) -> list[int]:
    """Count the pixels of all frames of each piece of AV1 of a file, from their headers.

    A frame that has another size than its sequence counts as the largest that its header can name.
    Raises ``BadImageError`` for far more units, of all pieces together, than a photo has.
    """
    found = []
    left = _MOST_UNITS
    for piece in pieces:
        total = 0
        sequence: _Sequence | None = None
        for kind, unit in _units(piece):
            left -= 1
            if left < 0:
                raise BadImageError(f"damaged AVIF: it has more than {_MOST_UNITS:,} units of AV1")
            if kind == _SEQUENCE:
                sequence = _read_sequence(_Bits(unit))
            elif kind in (_FRAME_HEADER, _FRAME) and sequence is not None:
                total += min(max(_frame_pixels(sequence, _Bits(unit[:32])), _LEAST), _MOST)
        found.append(total)
    return found


def _units(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield kind, and the first bytes of the content, of the open bitstream units (5.3)."""
    at = 0
    while at < len(data):
        head = data[at]
        at += 2 if head & 4 else 1
        size = len(data) - at
        if head & 2:
            size = 0
            for place in range(8):
                byte = data[at] if at < len(data) else 0
                at += 1
                size |= (byte & 127) << 7 * place
                if byte < 128:
                    break
        yield head >> 3 & 15, data[at : at + min(size, _HEAD_BYTES)]
        at += size


def _read_sequence(bits: _Bits) -> _Sequence:
    bits.read(4)
    reduced = bits.read(1) == 1
    time_bits = 0
    if reduced:
        bits.read(5)
    else:
        time_bits = _read_times(bits)
    wide, tall = bits.read(4) + 1, bits.read(4) + 1
    pixels = (bits.read(wide) + 1) * (bits.read(tall) + 1)
    number_bits = 0
    if not reduced and bits.read(1):
        number_bits = bits.read(4) + 2 + bits.read(3) + 1
    bits.read(3)
    screen_content = integer_motion = _SELECT
    if not reduced:
        bits.read(4)
        if bits.read(1):
            bits.read(2)
        if not bits.read(1):
            screen_content = bits.read(1)
        if screen_content and not bits.read(1):
            integer_motion = bits.read(1)
    return _Sequence(
        reduced, pixels, 2 ** (wide + tall), time_bits, number_bits, screen_content, integer_motion
    )


def _read_times(bits: _Bits) -> int:
    """Read times and operating points; the bits of a frame's time, 0 where it has none."""
    delay_bits = time_bits = 0
    if bits.read(1):
        bits.read(64)
        equal = bits.read(1)
        if equal:
            bits.skip_long()
        if bits.read(1):
            delay_bits = bits.read(5) + 1
            bits.read(37)
            time_bits = bits.read(5) + 1
            if equal:
                time_bits = 0
    delayed = bits.read(1)
    for _ in range(bits.read(5) + 1):
        bits.read(12)
        if bits.read(5) > 7:
            bits.read(1)
        if delay_bits and bits.read(1):
            bits.read(2 * delay_bits + 1)
        if delayed and bits.read(1):
            bits.read(4)
    return time_bits


def _frame_pixels(sequence: _Sequence, bits: _Bits) -> int:
    """Pixels that a frame has at the most, by the beginning of its header (5.9.2)."""
    if sequence.fixed or bits.read(1):
        # also where it is a frame that was decoded before
        return sequence.pixels
    kind, shown = bits.read(2), bits.read(1)
    bits.read(sequence.time_bits if shown else 1)
    if kind != _SWITCH and not (kind == _KEY and shown):
        bits.read(1)
    bits.read(1)
    screen_content = sequence.screen_content
    if screen_content == _SELECT:
        screen_content = bits.read(1)
    if screen_content and sequence.integer_motion == _SELECT:
        bits.read(1)
    bits.read(sequence.number_bits)
    own_size = kind == _SWITCH or bits.read(1)
    return max(sequence.pixels, sequence.most_pixels) if own_size else sequence.pixels
