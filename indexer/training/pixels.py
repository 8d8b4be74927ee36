"""Training photos as small squares in one memory-mapped file, and the changes training makes to them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from indexer.catalog.dataset import Row
from indexer.decoding import decode_all
from indexer.errors import BadData, CatalensError
from indexer.model.preprocess import to_pixels
from indexer.model.spec import Preprocess
from indexer.native import torch

functional = torch.nn.functional


def decode_squares(rows: Sequence[Row], preprocess: Preprocess, file: Path) -> np.ndarray:
    """Every photo's middle square at ``preprocess.resize`` px: uint8 [N, S, S, 3], mapped from ``file``, which is made.

    The file costs 200 kB a photo, so memory stays bounded. Raises ``BadData`` for a photo that became unreadable.
    """
    whole = replace(preprocess, crop=preprocess.resize)
    side = preprocess.resize
    out = np.lib.format.open_memmap(file, mode="w+", dtype=np.uint8, shape=(len(rows), side, side, 3))
    decoded = decode_all(rows, lambda row: row.image.read_bytes(), shrink_to=preprocess.resize)
    for number, (row, photo) in enumerate(decoded):
        if isinstance(photo, CatalensError):
            raise BadData(f"{row.where}: {row.image} can no longer be read: {photo}")
        out[number] = to_pixels(photo.pixels, whole)
    out.flush()
    return out


def augment(squares: np.ndarray, size: int, preprocess: Preprocess, generator: Any, device: str) -> Any:
    """uint8 [B, S, S, 3] -> normalised float32 [B, 3, size, size]: crop, mirror, small turn, light; never hue or grey.

    Crops keep 45 to 100% of the area within a ratio of 4:5, turns stay within 10 degrees, brightness and contrast
    within 25%. Colours keep their hue, since colour is a label.
    """
    count = len(squares)

    def draw(low: float, high: float) -> Any:
        return torch.empty(count).uniform_(low, high, generator=generator)

    batch = torch.from_numpy(squares).permute(0, 3, 1, 2).float()
    area, ratio = draw(0.45, 1.0).sqrt(), draw(-0.11, 0.11).exp()
    width, height = (area * ratio).clamp(max=1.0), (area / ratio).clamp(max=1.0)
    left, top = (draw(-1, 1) * (1 - width)), (draw(-1, 1) * (1 - height))
    mirror = torch.where(draw(0, 1) < 0.5, -1.0, 1.0)
    turn = draw(-10, 10) * (torch.pi / 180)
    rows = torch.stack(
        [
            torch.stack([width * mirror * turn.cos(), -height * turn.sin(), left], dim=1),
            torch.stack([width * mirror * turn.sin(), height * turn.cos(), top], dim=1),
        ],
        dim=1,
    )
    grid = functional.affine_grid(rows, [count, 3, size, size], align_corners=False)
    # Beyond the border its own colour goes on: a turned studio photo shows no black corners.
    batch = functional.grid_sample(batch, grid, mode="bilinear", padding_mode="border", align_corners=False)
    light, contrast = draw(0.75, 1.25).view(-1, 1, 1, 1), draw(0.75, 1.25).view(-1, 1, 1, 1)
    mean = batch.mean(dim=(1, 2, 3), keepdim=True)
    batch = (((batch - mean) * contrast + mean) * light).clamp_(0, 255)
    scale = torch.tensor(preprocess.std).view(1, 3, 1, 1) * 255
    batch = (batch - torch.tensor(preprocess.mean).view(1, 3, 1, 1) * 255) / scale
    return batch.to(device, non_blocking=True, memory_format=torch.channels_last)
