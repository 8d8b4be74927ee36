"""Plain training, peer of ``bench train``: a new head on a frozen backbone, as in tutorials.

A process of its own: ``python -m tools.bench.peers.plain_training TRAIN BACKBONE EPOCHS``. TRAIN
holds class folders; prints the seconds of each epoch.
"""

from __future__ import annotations

import importlib
import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from indexer.core.native import torch
from indexer.model import backbones

BATCH, LR, EPOCHS, WORKERS = 32, 1e-3, 20, 2


def main(folder: str, backbone: str, epochs: str) -> None:
    """Print ``{"photos", "epoch_s", "loss"}``: every photo is decoded and goes through the backbone
    in every epoch."""
    print(json.dumps(loop(Path(folder), backbone, int(epochs))))


def loop(folder: Path, backbone: str, epochs: int) -> dict[str, Any]:
    """Train the head for ``epochs`` on the class folders of ``folder``; seconds and mean loss of
    each epoch."""
    transforms = importlib.import_module("torchvision.transforms")
    datasets = importlib.import_module("torchvision.datasets")
    found = backbones.find(backbone)
    look = found.preprocess
    change = transforms.Compose(
        [
            transforms.Resize(look.resize, transforms.InterpolationMode(look.interpolation)),
            transforms.CenterCrop(look.crop),
            transforms.ToTensor(),
            transforms.Normalize(look.mean, look.std),
        ]
    )
    photos = datasets.ImageFolder(folder, change)
    loader = torch.utils.data.DataLoader(photos, BATCH, shuffle=True, num_workers=WORKERS)
    network = backbones.build(backbone).requires_grad_(False)
    head = torch.nn.Linear(found.feature_dim, len(photos.classes))
    optimiser = torch.optim.Adam(head.parameters(), lr=LR)
    seconds, means = [], []
    for _ in range(epochs):
        started, losses = time.perf_counter(), []
        for batch, labels in loader:
            losses.append(_step(head, optimiser, network(batch), labels))
        seconds.append(time.perf_counter() - started)
        means.append(float(np.mean(losses)))
    return {"photos": len(photos), "epoch_s": seconds, "loss": means}


def head_on_features(
    features: np.ndarray, labels: np.ndarray, train: np.ndarray, classes: int, *, seed: int
) -> np.ndarray:
    """What the loop's head says of every row after its 20 epochs: columns [N].

    ``features`` [N, F] are what the frozen backbone gives in every epoch alike, so computing them
    once changes nothing but the time. ``labels`` int [N], ``train`` bool [N].
    """
    torch.manual_seed(seed)
    values, truth = torch.from_numpy(np.asarray(features, np.float32)), torch.from_numpy(labels)
    head = torch.nn.Linear(values.shape[1], classes)
    optimiser = torch.optim.Adam(head.parameters(), lr=LR)
    pool = torch.from_numpy(np.flatnonzero(train))
    for _ in range(EPOCHS):
        for chosen in pool[torch.randperm(len(pool))].split(BATCH):
            _step(head, optimiser, values[chosen], truth[chosen])
    with torch.inference_mode():
        return np.asarray(head(values).argmax(1).numpy())


def _step(head: Any, optimiser: Any, features: Any, labels: Any) -> float:
    loss = torch.nn.functional.cross_entropy(head(features), labels)
    optimiser.zero_grad()
    loss.backward()
    optimiser.step()
    return float(loss.item())


if __name__ == "__main__":
    main(*sys.argv[1:])
