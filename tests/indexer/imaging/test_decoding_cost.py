"""Memory of decoding: what was asked for is what is taken, and nothing is decoded beside it."""

from __future__ import annotations

import io
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from indexer.core.errors import NoMemoryError
from indexer.core.memory_budget import MemoryBudget, decoding_budget
from indexer.imaging.decode import ImageLimits, decode_photo
from indexer.imaging.decoding_cost import decoding_cost
from indexer.imaging.heif_items import count_coded_pixels
from tests.indexer.imaging.deep_files import DEEP
from tests.indexer.imaging.made_files import png

SIDE = 2000
# Decodes a file given on standard input and prints by how many bytes the process grew.
PEAK = """
import sys
from indexer.imaging.decode import decode_photo
data = sys.stdin.buffer.read()
def status(name):
    lines = open("/proc/self/status").read().splitlines()
    return 1024 * int(next(line for line in lines if line.startswith(name)).split()[1])
decode_photo(open(sys.argv[1], "rb").read())
# Forgets the peak until here (proc(5), clear_refs).
open("/proc/self/clear_refs", "w").write("5")
before = status("VmRSS")
photo = decode_photo(data)
print(status("VmHWM") - before)
"""


def saved(mode: str, name: str, **options: Any) -> bytes:
    out = io.BytesIO()
    if mode == "F":
        image = Image.fromarray(np.zeros((SIDE, SIDE), np.float32))
    else:
        image = Image.new(mode, (SIDE, SIDE), 7 if mode in ("P", "I;16", "L") else None)
        if mode in ("RGBA", "LA"):
            image.putalpha(99)
    image.save(out, name, **options)
    return out.getvalue()


FILES: dict[str, tuple[str, bytes]] = {
    "png-16": ("PNG", saved("I;16", "PNG")),
    "png-rgba": ("PNG", saved("RGBA", "PNG")),
    "png-palette": ("PNG", saved("P", "PNG", transparency=0)),
    "png-grey": ("PNG", saved("LA", "PNG")),
    "png-16-rgb": (
        "PNG",
        png(np.zeros((SIDE, SIDE, 3), np.uint16), kind=2, bits=16, transparent=(0, 0, 0)),
    ),
    "tiff-float": ("TIFF", saved("F", "TIFF", compression="tiff_adobe_deflate")),
    "webp": ("WEBP", saved("RGBA", "WEBP")),
    "jpeg": ("JPEG", saved("RGB", "JPEG", progressive=True)),
}


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("kind", ["png-16", "png-16-rgb", "tiff-float", "webp"])
def test_decoding_takes_what_its_cost_says(kind: str, tmp_path: Path) -> None:
    """Peak memory of the kinds that took six to ten times their pixels."""
    name, data = FILES[kind]
    cost = decoding_cost(name, data, (SIDE, SIDE), max_pixels=64_000_000, shrink_to=None)
    assert _peak(name, data, tmp_path) <= cost.peak + 2**25
    assert cost.decoded == 4 * SIDE * SIDE + 8 * SIDE


def _peak(name: str, data: bytes, folder: Path) -> int:
    """By how many bytes a process grows that decodes a file, and has decoded another before."""
    warm = folder / "warm"
    warm.write_bytes(_tiny(name))
    done = subprocess.run(
        [sys.executable, "-c", PEAK, str(warm)], input=data, capture_output=True, check=True
    )
    return int(done.stdout)


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("name", DEEP)
def test_deep_colours_take_what_their_cost_says(name: str, tmp_path: Path) -> None:
    """12 bits of 4:4:4 took 15 bytes a pixel, where 12 were asked for; opacity ten more, not 6."""
    pytest.importorskip("pillow_heif")
    data, size = DEEP[name], (4096, 4096)
    pixels = size[0] * size[1]
    coded = count_coded_pixels(name, data, size)
    assert coded == pixels
    cost = decoding_cost(name, data, size, max_pixels=64_000_000, shrink_to=None, coded=coded)
    assert _peak(name, data, tmp_path) <= cost.peak
    opaque = decoding_cost(name, data, size, max_pixels=64_000_000, shrink_to=None)
    clear = decoding_cost(name, data, size, max_pixels=64_000_000, shrink_to=None, coded=2 * pixels)
    # Measured of an AVIF with opacity: 25 bytes, 33 with all that may come on top.
    assert clear.peak - opaque.peak >= 10 * pixels


def _tiny(name: str) -> bytes:
    out = io.BytesIO()
    image = Image.new("RGB", (64, 64))
    if name == "HEIC":
        import pillow_heif

        pillow_heif.from_pillow(image).save(out)
    else:
        image.save(out, name)
    return out.getvalue()


def test_a_reduced_jpeg_costs_what_it_becomes() -> None:
    """The same file for a small network and in full; its coefficients count either way."""
    data = FILES["jpeg"][1]
    whole = decoding_cost("JPEG", data, (SIDE, SIDE), max_pixels=64_000_000, shrink_to=None)
    small = decoding_cost("JPEG", data, (SIDE, SIDE), max_pixels=64_000_000, shrink_to=100)
    assert whole.decoded == 4 * SIDE**2
    assert small.decoded == 4 * (SIDE // 8) ** 2
    # 4:2:0: half as many numbers for colours as for grey, two bytes each
    coefficients = round(2 * SIDE * SIDE * 1.5)
    assert whole.peak == 10 * SIDE**2 + coefficients
    assert small.peak == 10 * (SIDE // 8) ** 2 + coefficients


@pytest.mark.parametrize("kind", FILES)
def test_memory_is_asked_for_before_a_pixel_is_decoded(kind: str) -> None:
    """No room: nothing is decoded, and nothing stays taken."""
    budget = MemoryBudget(100)
    with budget.hold(1), pytest.raises(NoMemoryError):
        decode_photo(FILES[kind][1], memory=budget, within_s=0.0)
    with decoding_budget().hold(decoding_budget().total):
        started = time.process_time()
        with pytest.raises(NoMemoryError):
            decode_photo(FILES[kind][1], memory=MemoryBudget(2**30), within_s=0.0)
        assert time.process_time() - started < 0.1
    assert budget.taken == 0
    assert decoding_budget().taken == 0


def test_a_photo_holds_its_memory_as_long_as_it_is_there() -> None:
    """Also where its pixels are handed on; a damaged file holds nothing."""
    budget = MemoryBudget(2**30)
    data = FILES["jpeg"][1]
    photo = decode_photo(data, memory=budget)
    pixels = photo.pixels
    del photo
    assert budget.taken == 4 * SIDE**2
    del pixels
    assert budget.taken == 0
    with pytest.raises(Exception, match="truncated"):
        decode_photo(FILES["png-16"][1][:4000], memory=budget)
    assert budget.taken == 0


def test_large_photos_are_decoded_one_after_another() -> None:
    """Together they never take more than the budget, whoever decodes them."""
    data = FILES["png-rgba"][1]
    most = []
    done = []

    def decode() -> None:
        decode_photo(data, limits=ImageLimits())
        done.append(1)

    threads = [threading.Thread(target=decode) for _ in range(4)]
    held = decoding_budget().take(decoding_budget().total - 11 * SIDE**2)
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        most.append(decoding_budget().taken)
        time.sleep(0.001)
    held.release()
    assert len(done) == 4
    assert max(most) <= decoding_budget().total


def test_a_photo_one_pixel_wide_costs_its_rows() -> None:
    """Each row of a picture has a place in memory, of eight bytes: measured at 21 bytes a pixel."""
    high = decoding_cost("PNG", b"", (1, 64_000_000), max_pixels=64_000_000, shrink_to=None)
    wide = decoding_cost("PNG", b"", (64_000_000, 1), max_pixels=64_000_000, shrink_to=None)
    assert high.peak >= 22 * 64_000_000
    assert wide.peak < 11 * 64_000_000
