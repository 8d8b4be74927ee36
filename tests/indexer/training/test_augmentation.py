"""What of a photo is trained on: from its middle square to all of it."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from indexer.core.errors import TrainingError
from indexer.core.native import torch
from indexer.feeds.dataset import DatasetRow
from indexer.model import backbones
from indexer.model.preprocessing import with_look
from indexer.training.augmentation import (
    AugmentationParams,
    DecodedPhotos,
    augment,
    decode_squares,
    draw_changes,
    squashed_photo,
)

PREPROCESS = with_look(backbones.find("efficientnet_lite0").preprocess, "whole")
Decoded = tuple[Image.Image, DecodedPhotos, bool]
STD, MEAN = PREPROCESS.std[0] * 255, PREPROCESS.mean[0] * 255


def plain(frame: float) -> AugmentationParams:
    """No change but the frame."""
    return AugmentationParams(
        place=torch.eye(2, 3)[None],
        gains=torch.ones(1, 3),
        contrast=torch.ones(1),
        background=torch.zeros(1, 3, 6, 6),
        replaced=torch.zeros(1, dtype=torch.bool),
        frame=torch.tensor([frame]),
    )


@pytest.fixture(params=["tall", "wide"])
def photo(
    request: pytest.FixtureRequest, tmp_path: Path
) -> tuple[Image.Image, DecodedPhotos, bool]:
    """A photo of 3:4 either way in smooth colours on light ground, and as it is decoded."""
    x, y = np.meshgrid(np.linspace(0, 1, 300), np.linspace(0, 1, 400))
    pixels = np.stack([200 + 30 * x, 180 + 60 * y, 220 - 20 * x * y], -1)
    pixels[100:300, 60:240] -= 90
    tall = request.param == "tall"
    image = Image.fromarray(pixels.astype(np.uint8))
    if not tall:
        image = image.transpose(Image.Transpose.ROTATE_90)
    image.save(tmp_path / "photo.png")
    row = DatasetRow("1", "p", tmp_path / "photo.png", None, None, (), None, {})
    return image, decode_squares([row], squashed_photo(PREPROCESS), tmp_path / "out.npy"), tall


def shown(photos: DecodedPhotos, frame: float) -> np.ndarray:
    """What is trained on, [224, 224, 3] in 0 to 255."""
    batch = augment(photos, plain(frame), 224, PREPROCESS, "cpu")
    return np.asarray(batch[0].permute(1, 2, 0) * STD + MEAN)


def test_a_frame_reaches_from_the_middle_square_to_all_of_the_photo(
    photo: Decoded,
) -> None:
    """Both ends are what the looks whole and both show, in their true proportions."""
    image, decoded, tall = photo
    assert decoded.forms[0] == pytest.approx(0.75 if tall else 4 / 3, abs=1e-5)
    middle = (0, 50, 300, 350) if tall else (50, 0, 350, 300)
    square = np.asarray(image.crop(middle).resize((224, 224)), float)
    assert np.abs(shown(decoded, 0.0) - square).mean() < 2.5
    found = shown(decoded, 1.0)
    if not tall:
        found = found.transpose(1, 0, 2)
        image = image.transpose(Image.Transpose.TRANSPOSE)
    inside = np.asarray(image.resize((168, 224)), float)
    assert np.abs(found[:, 28:196] - inside).mean() < 2.5
    margins = np.concatenate([found[:, :26], found[:, 198:]], axis=1)
    assert np.ptp(margins, axis=(0, 1)).max() < 1e-3
    half = shown(decoded, 0.5)
    short = 300 / (300**0.5 * 400**0.5) * 224
    across = half if tall else half.transpose(1, 0, 2)
    edge = round((224 - short) / 2)
    assert np.ptp(across[:, : edge - 2], axis=(0, 1)).max() < 1e-3
    assert np.ptp(across[:, edge + 3], axis=0).max() > 30


def test_frames_are_drawn_as_asked_and_change_no_other_draw() -> None:
    """None is what it was before; half of the framed photos are shown whole."""
    before, after = (
        draw_changes(4000, torch.Generator().manual_seed(3), framed=share) for share in (0.0, 0.5)
    )
    assert torch.equal(before.place, after.place)
    assert torch.equal(before.replaced, after.replaced)
    assert not before.frame.any()
    assert float((after.frame > 0).float().mean()) == pytest.approx(0.5, abs=0.03)
    assert float((after.frame == 1).float().mean()) == pytest.approx(0.25, abs=0.03)


def test_a_disk_without_room_is_named_before_anything_is_decoded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """50,000 photos take 12 GiB of the temporary folder."""
    usage = shutil.disk_usage(tmp_path)._replace(free=2**30)
    monkeypatch.setattr("indexer.training.augmentation.shutil.disk_usage", lambda _: usage)
    rows = [DatasetRow("1", "p", tmp_path / "none.png", None, None, (), None, {})] * 50_000
    with pytest.raises(TrainingError, match=r"50000 photos, 11.6 GiB.*1.0 GiB are free.*TMPDIR"):
        decode_squares(rows, squashed_photo(PREPROCESS), tmp_path / "out.npy")
    assert not (tmp_path / "out.npy").exists()
