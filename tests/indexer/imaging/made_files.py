"""TIFFs and PNGs of any layout, written sample by sample."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence

import numpy as np

_DTYPES = {(8, 1): "u1", (16, 1): "u2", (16, 2): "i2", (16, 3): "f2", (32, 1): "u4", (32, 3): "f4"}


def tiff(
    samples: np.ndarray,
    *,
    order: str = "<",
    bits: int = 8,
    numbers: int = 1,
    planes: bool = False,
    photometric: int = 2,
    deflate: bool = False,
    tile: int = 0,
    rows: int = 0,
    more: dict[int, Sequence[int]] | None = None,
) -> bytes:
    """Write samples [H, W, S] as one TIFF: in strips of ``rows``, or in tiles; ``more``: tags."""
    height, width, count = samples.shape
    values = samples.astype(order + _DTYPES[bits, numbers])
    parts = [values[..., n : n + 1] for n in range(count)] if planes else [values]
    blocks = [
        block.tobytes() for part in parts for block in _cut(part, tile, tile or rows or height)
    ]
    if deflate:
        blocks = [zlib.compress(block) for block in blocks]
    tags: dict[int, Sequence[int]] = {
        256: [width],
        257: [height],
        258: [bits] * count,
        259: [8 if deflate else 1],
        262: [photometric],
        277: [count],
        284: [2 if planes else 1],
        339: [numbers] * count,
        (325 if tile else 279): [len(block) for block in blocks],
        **({322: [tile], 323: [tile]} if tile else {278: [rows or height]}),
        **(more or {}),
    }
    place = 324 if tile else 273
    start = 8 + 2 + 12 * (len(tags) + 1) + 4
    longer = {tag: found for tag, found in tags.items() if len(found) > 1}
    after = start + 4 * (sum(map(len, longer.values())) + (len(blocks) if len(blocks) > 1 else 0))
    tags[place] = [after + sum(map(len, blocks[:n])) for n in range(len(blocks))]
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(order + "IH", 8, len(tags))
    extra = b""
    for tag in sorted(tags):
        found = tags[tag]
        packed = struct.pack(f"{order}{len(found)}I", *found)
        head += struct.pack(order + "HHI", tag, 4, len(found))
        head += packed if len(found) == 1 else struct.pack(order + "I", start + len(extra))
        extra += b"" if len(found) == 1 else packed
    return head + struct.pack(order + "I", 0) + extra + b"".join(blocks)


def _cut(values: np.ndarray, tile: int, down: int) -> list[np.ndarray]:
    across = tile or values.shape[1]
    found = []
    for top in range(0, values.shape[0], down):
        for left in range(0, values.shape[1], across):
            block = values[top : top + down, left : left + across]
            pad = ((0, tile - block.shape[0]), (0, tile - block.shape[1]), (0, 0))
            found.append(np.pad(block, pad) if tile else block)
    return found


def png(samples: np.ndarray, kind: int, bits: int, transparent: Sequence[int] = ()) -> bytes:
    """Write samples [H, W] or [H, W, S] as a PNG of colour type ``kind``, with a ``tRNS`` chunk."""

    def chunk(name: bytes, body: bytes) -> bytes:
        check = struct.pack(">I", zlib.crc32(name + body))
        return struct.pack(">I", len(body)) + name + body + check

    height, width = samples.shape[:2]
    lines = []
    for row in samples.reshape(height, -1):
        if bits == 16:
            lines.append(row.astype(">u2").tobytes())
        else:
            bit_rows = np.unpackbits(row.astype(np.uint8)[:, None], axis=1)[:, 8 - bits :]
            lines.append(np.packbits(bit_rows.ravel()).tobytes())
    header = struct.pack(">IIBBBBB", width, height, bits, kind, 0, 0, 0)
    clear = struct.pack(f">{len(transparent)}H", *transparent)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + (chunk(b"tRNS", clear) if transparent else b"")
        + chunk(b"IDAT", zlib.compress(b"".join(b"\0" + line for line in lines)))
        + chunk(b"IEND", b"")
    )
