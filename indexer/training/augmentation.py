"""Augmentation of training photos: memory-mapped squares, crops, light, backgrounds."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np

from indexer.core.errors import BadDataError, CatalensError, TrainingError
from indexer.core.native import torch
from indexer.feeds.dataset import DatasetRow
from indexer.imaging.parallel import decode_all
from indexer.imaging.photo_file import read_photo
from indexer.imaging.recapture import PLAIN_SPREAD
from indexer.model.preprocessing import to_pixels
from indexer.model.spec import Preprocess
from indexer.training.options import FinetuneOptions

functional = torch.nn.functional
# training squares are kept this much larger than the network's input: it is given parts of them
_ROOM = 8 / 7
_ROOM_OF_WHOLE = 9 / 7


def training_square(preprocess: Preprocess) -> Preprocess:
    """Derive the preprocessing of training squares: whole, larger than the network's input."""
    side = round(preprocess.crop * _ROOM)
    return replace(preprocess, resize=side, crop=side)


def squashed_photo(preprocess: Preprocess) -> Preprocess:
    """Derive the preprocessing of whole training photos, squashed into a square.

    It is still larger than a training square, since the middle of a long photo has fewer of its px.
    """
    side = round(preprocess.crop * _ROOM_OF_WHOLE)
    return replace(preprocess, resize=side, crop=side, keep_aspect=False)


@dataclass(frozen=True)
class DecodedPhotos:
    """Photos as the augmentation takes them; N each."""

    pixels: np.ndarray  # uint8 [N, S, S, 3], mapped
    forms: np.ndarray  # float32 [N], width by height of what ``pixels`` are squashed from

    def at(self, places: np.ndarray) -> DecodedPhotos:
        """Select the photos ``places``."""
        return DecodedPhotos(self.pixels[places], self.forms[places])


def decode_squares(rows: Sequence[DatasetRow], preprocess: Preprocess, file: Path) -> DecodedPhotos:
    """Decode every photo by ``preprocess`` into the new file ``file``.

    A file of 256 px squares costs 200 kB a photo, so memory stays bounded. Raises ``BadDataError``
    for a photo that became unreadable, and ``TrainingError`` where the disk has no room.
    """
    side = preprocess.crop
    wanted, free = len(rows) * side * side * 3, shutil.disk_usage(file.parent).free
    if wanted > free:
        raise TrainingError(
            f"fine-tuning lays {len(rows)} photos, {wanted / 2**30:.1f} GiB, into {file.parent}, "
            f"where {free / 2**30:.1f} GiB are free: make room, or name another folder by TMPDIR"
        )
    out = np.lib.format.open_memmap(
        file, mode="w+", dtype=np.uint8, shape=(len(rows), side, side, 3)
    )
    forms = np.ones(len(rows), np.float32)
    decoded = decode_all(rows, lambda row: read_photo(row.image), shrink_to=preprocess.resize)
    for number, (row, photo) in enumerate(decoded):
        if isinstance(photo, CatalensError):
            raise BadDataError(f"{row.where}: {row.image} can no longer be read: {photo}")
        out[number] = to_pixels(photo.pixels, preprocess)
        if not preprocess.keep_aspect:
            forms[number] = photo.pixels.width / photo.pixels.height
    out.flush()
    return DecodedPhotos(out, forms)


@dataclass(frozen=True)
class AugmentationParams:
    """What is done to each of B photos; drawn for a whole batch, so that processes that share it
    draw alike."""

    place: Any  # [B, 2, 3], affine: crop, mirror, turn
    gains: Any  # [B, 3], light and warmth, per channel
    contrast: Any  # [B]
    background: Any  # [B, 3, 6, 6] in 0 to 255, coarse
    replaced: Any  # bool [B]: a plain background becomes another
    frame: Any  # [B], what ``place`` is of: 0 the middle square, 1 the square around the photo

    def of(self, part: slice) -> AugmentationParams:
        return AugmentationParams(*(getattr(self, field.name)[part] for field in fields(self)))


def draw_changes(
    count: int,
    generator: Any,
    *,
    backgrounds: float = FinetuneOptions.backgrounds,
    framed: float = 0.0,
) -> AugmentationParams:
    """Draw augmentations as if photos were taken again, never of another hue: colour is a label.

    Crops keep 45 to 100% of the area within a ratio of 4:5, turns stay within 15 degrees,
    brightness and contrast within 25%, warmth within 12%. ``backgrounds``: share of the photos
    whose background, where plain, is replaced. ``framed``: share of the photos of which more than
    the middle square is shown, with margins where that is more than the photo: half of them all of
    it.
    """

    def draw(low: float, high: float, *shape: int) -> Any:
        return torch.empty(count, *shape).uniform_(low, high, generator=generator)

    area = draw(0.45, 1.0).sqrt()
    ratio = draw(-0.11, 0.11).exp()
    width = (area * ratio).clamp(max=1.0)
    height = (area / ratio).clamp(max=1.0)
    left = draw(-1, 1) * (1 - width)
    top = draw(-1, 1) * (1 - height)
    mirror = torch.where(draw(0, 1) < 0.5, -1.0, 1.0)
    turn = draw(-15, 15) * (torch.pi / 180)
    place = torch.stack(
        [
            torch.stack([width * mirror * turn.cos(), -height * turn.sin(), left], dim=1),
            torch.stack([width * mirror * turn.sin(), height * turn.cos(), top], dim=1),
        ],
        dim=1,
    )
    light = draw(0.75, 1.25)
    warmth = draw(-0.12, 0.12)
    gains = light[:, None] * torch.stack([1 + warmth, torch.ones(count), 1 - warmth], dim=1)
    plain = draw(90, 245, 3, 1, 1)
    busy = draw(60, 230, 3, 6, 6)
    background = torch.where(draw(0, 1, 1, 1, 1) < 0.5, plain, busy)
    contrast, replaced = draw(0.75, 1.25), draw(0, 1) < backgrounds
    frame = torch.zeros(count)
    if framed:
        frame = torch.where(draw(0, 1) < framed, draw(0, 2).clamp(max=1.0), 0.0)
    return AugmentationParams(place, gains, contrast, background, replaced, frame)


def augment(
    photos: DecodedPhotos,
    changes: AugmentationParams,
    size: int,
    preprocess: Preprocess,
    device: str,
) -> Any:
    """Augment B photos: normalised float32 [B, 3, size, size] on ``device``."""
    batch = torch.from_numpy(photos.pixels)
    if device != "cpu":
        batch = batch.pin_memory().to(device, non_blocking=True)
    batch = batch.permute(0, 3, 1, 2).float()
    ground, plain = _grounds(batch)
    place = _place_on_photo(changes, torch.from_numpy(photos.forms)).to(device)
    grid = functional.affine_grid(place, [len(batch), 3, size, size], align_corners=False)
    # Beyond the border its own colour goes on: a turned studio photo shows no black corners.
    batch = functional.grid_sample(
        batch, grid, mode="bilinear", padding_mode="border", align_corners=False
    )
    framed = changes.frame.to(device) > 0
    if framed.any():
        margin = (grid.abs() > 1).any(-1) & framed[:, None, None]
        batch = torch.where(margin[:, None], ground, batch)
    where = plain & changes.replaced.to(device)
    if where.any():
        fresh = functional.interpolate(
            changes.background.to(device)[where], (size, size), mode="bicubic"
        )
        product = (((batch[where] - ground[where]).abs().amax(1, keepdim=True) - 10) / 20).clamp(
            0, 1
        )
        batch[where] = product * batch[where] + (1 - product) * fresh
    contrast = changes.contrast.to(device).view(-1, 1, 1, 1)
    mean = batch.mean(dim=(1, 2, 3), keepdim=True)
    batch = (
        ((batch - mean) * contrast + mean) * changes.gains.to(device)[:, :, None, None]
    ).clamp_(0, 255)
    scale = torch.tensor(preprocess.std, device=device).view(1, 3, 1, 1) * 255
    batch = (batch - torch.tensor(preprocess.mean, device=device).view(1, 3, 1, 1) * 255) / scale
    return batch.contiguous(memory_format=torch.channels_last)


def _place_on_photo(changes: AugmentationParams, forms: Any) -> Any:
    """Return the places [B, 2, 3] on photos of ``forms`` [B] that were squashed into squares."""
    # of a photo of area 1
    width, height = forms.sqrt(), forms.rsqrt()
    short, long = torch.minimum(width, height), torch.maximum(width, height)
    side = short ** (1 - changes.frame) * long**changes.frame
    return changes.place * torch.stack([side / width, side / height], dim=1)[:, :, None]


def _grounds(batch: Any) -> tuple[Any, Any]:
    """Estimate the border's median colour [B, 3, 1, 1], and whether the border is plain.

    Of photos [B, 3, S, S] in 0 to 255.
    """
    edge = max(1, batch.shape[2] // 50)
    strips = (batch[:, :, :edge], batch[:, :, -edge:], batch[..., :edge], batch[..., -edge:])
    border = torch.cat([strip.flatten(2) for strip in strips], dim=2)
    ground = border.median(dim=2, keepdim=True).values
    plain = (border - ground).square().mean(dim=(1, 2)).sqrt() < PLAIN_SPREAD
    return ground[..., None], plain
