"""Mutants of photos of every format and mode that is read, the same for the same number."""

from __future__ import annotations

import functools
import io
import random
import struct
from typing import Any

import numpy as np
import pillow_heif
from PIL import Image

from tests.indexer.imaging import hostile_files as hostile
from tests.indexer.imaging.made_files import png, tiff

# Numbers that headers take badly: nothing, all bits, signs, powers of two.
_ODD = (0, 1, 2, 3, 7, 8, 127, 128, 255, 256, 32767, 32768, 65535, 2**31 - 1, 2**31, 2**32 - 1)


@functools.cache
def originals() -> dict[str, bytes]:
    """A small photo of each format and mode, by name."""
    noise = np.random.default_rng(5).integers(0, 255, (40, 52, 4), np.uint8)
    wide = (noise[..., 0].astype(np.uint16) << 8) + noise[..., 1]
    rgba = Image.fromarray(noise)
    modes = {mode: rgba.convert(mode) for mode in ("1", "L", "LA", "RGB", "RGBA", "CMYK")}
    modes["P"] = modes["RGB"].convert("P")
    modes["I;16"] = Image.fromarray(wide)
    modes["F"] = Image.fromarray(wide.astype(np.float32))
    kinds: dict[str, tuple[str, dict[str, Any]]] = {
        "1": ("PNG BMP TIFF GIF", {}),
        "L": ("PNG JPEG BMP TIFF GIF", {}),
        "LA": ("PNG TIFF WEBP", {}),
        "P": ("PNG BMP TIFF GIF", {}),
        "RGB": ("PNG JPEG BMP TIFF WEBP AVIF", {}),
        "RGBA": ("PNG TIFF WEBP AVIF BMP", {}),
        "CMYK": ("JPEG TIFF", {}),
        "I;16": ("PNG TIFF", {}),
        "F": ("TIFF", {}),
    }
    made = {}
    for mode, (names, options) in kinds.items():
        for name in names.split():
            made[f"{name} {mode}"] = _saved(modes[mode], name, **options)
    rgb = modes["RGB"]
    exif = b"Exif\0\0" + hostile.directory(2, 40)
    made["JPEG progressive"] = _saved(rgb, "JPEG", progressive=True, exif=exif)
    made["JPEG restarts"] = _saved(rgb, "JPEG", restart_marker_blocks=3, subsampling=0)
    made["PNG interlaced"] = png(noise[..., :3], 2, 16, (1, 2, 3))
    made["PNG palette"] = _saved(modes["P"], "PNG", transparency=3, exif=exif)
    made["WEBP lossless"] = _saved(rgba, "WEBP", lossless=True, exif=exif)
    for squeeze in ("tiff_lzw", "tiff_adobe_deflate", "jpeg", "packbits"):
        made[f"TIFF {squeeze}"] = _saved(rgb, "TIFF", compression=squeeze)
    made["TIFF planes"] = tiff(noise, planes=True, bits=16, deflate=True, tile=16)
    made["TIFF Lab"] = tiff(noise[..., :3], photometric=8, rows=5)
    out = io.BytesIO()
    pillow_heif.from_pillow(rgb).save(out)
    made["HEIC"] = out.getvalue()
    out = io.BytesIO()
    rgb.save(out, "MPO", save_all=True, append_images=[modes["L"]])
    made["MPO"] = out.getvalue()
    return made


def mutant(number: int) -> tuple[str, bytes]:
    """The name of an original and one of its mutants: damaged in up to eight places, or cut."""
    chance = random.Random(number)
    name, data = chance.choice(sorted(originals().items()))
    found = bytearray(data)
    for _ in range(chance.choice((1, 1, 2, 3, 8))):
        _CHANGES[chance.randrange(len(_CHANGES))](found, chance)
    return name, bytes(found)


def _place(data: bytearray, chance: random.Random) -> int:
    """A place in the file, half of the time in its head."""
    return chance.randrange(max(1, min(len(data), chance.choice((96, len(data))))))


def _flip(data: bytearray, chance: random.Random) -> None:
    if data:
        data[_place(data, chance)] ^= 1 << chance.randrange(8)


def _number(data: bytearray, chance: random.Random) -> None:
    at = _place(data, chance)
    kind = chance.choice("BHI")
    value = chance.choice(_ODD) % 256 ** struct.calcsize(kind)
    data[at : at + struct.calcsize(kind)] = struct.pack(chance.choice("<>") + kind, value)


def _cut(data: bytearray, chance: random.Random) -> None:
    del data[_place(data, chance) :]


def _drop(data: bytearray, chance: random.Random) -> None:
    at = _place(data, chance)
    del data[at : at + chance.randrange(1, 64)]


def _repeat(data: bytearray, chance: random.Random) -> None:
    at = _place(data, chance)
    part = data[at : at + chance.randrange(1, 64)]
    data[at:at] = part * chance.choice((1, 2, 50))


def _splice(data: bytearray, chance: random.Random) -> None:
    other = chance.choice(sorted(originals().values()))
    at = _place(data, chance)
    data[at : at + chance.randrange(1, 200)] = other[at : at + chance.randrange(1, 200)]


_CHANGES = (_flip, _flip, _number, _number, _cut, _drop, _repeat, _splice)


def _saved(image: Image.Image, name: str, **options: Any) -> bytes:
    out = io.BytesIO()
    image.save(out, name, **options)
    return out.getvalue()
