"""Plain embedding, peer of ``bench embed``: the loop that tutorials write.

A process of its own: MODEL FILE as arguments, photo paths on stdin.

DataLoader with two workers over Pillow and torchvision's transforms, torch eager in float32,
batches of 32. Prints ``{"photos", "seconds"}`` as JSON; the first batch is not counted.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

from PIL import Image

from indexer.core.native import torch
from indexer.imaging.margins import pad_to_square
from indexer.model.bundle import load_bundle


class PhotoDataset(torch.utils.data.Dataset):
    """Files, transformed as ImageNet's are: short side, centre crop, tensor, normalise.

    One view each, [1, 3, H, W]; of a network that sees photos twice also all of it, padded.
    """

    def __init__(self, files: list[str], preprocess: Any) -> None:
        from torchvision import transforms

        self.files = files
        self.padded = preprocess.both
        self.transform = transforms.Compose(
            [
                transforms.Resize(preprocess.resize, transforms.InterpolationMode.BICUBIC),
                transforms.CenterCrop(preprocess.crop),
                transforms.ToTensor(),
                transforms.Normalize(preprocess.mean, preprocess.std),
            ]
        )

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, number: int) -> Any:
        with Image.open(self.files[number]) as image:
            photo = image.convert("RGB")
        shown = [photo, pad_to_square(photo)] if self.padded else [photo]
        return torch.stack([self.transform(view) for view in shown])


def main(model: str, files: list[str]) -> dict[str, float]:
    bundle = load_bundle(Path(model))
    network = bundle.network()
    loader = torch.utils.data.DataLoader(
        PhotoDataset(files, bundle.spec.preprocess), batch_size=32, num_workers=2
    )
    photos, started = 0, 0.0
    with torch.no_grad():
        for number, batch in enumerate(loader):
            network.neck(network.describe(batch.flatten(0, 1))).numpy()
            if number == 0:
                started = time.perf_counter()
            else:
                photos += len(batch)
        return {"photos": photos, "seconds": time.perf_counter() - started}


if __name__ == "__main__":
    print(json.dumps(main(sys.argv[1], sys.stdin.read().splitlines())))
