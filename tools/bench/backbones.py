"""Benchmark ``backbones``: accuracy, speed and size of every backbone with weights here."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from indexer.core.native import torch
from indexer.model import backbones
from indexer.model.torch_runtime import TorchRuntime
from indexer.training.advise import frozen_runtime
from tools.bench.harness.framework import BenchRow, Goal, percentile, real_data
from tools.bench.spine import catalens
from tools.output import log

PARTS = tuple(backbones.BACKBONES)
GOALS: tuple[Goal, ...] = ()  # a table to choose by; nothing is asked of it
BATCHES = (1, 16)
SECONDS, WARM = 5.0, 2  # of timing per batch size, after so many passes


def measure(part: str, work: Path) -> BenchRow:
    """One backbone: ``train --recipe linear`` on clothing, evaluated on validation and test; the
    network alone timed.

    ``photos_per_s_N``: float32 batches of N random photos at the backbone's own size through the
    backbone, the median of all passes; on the CPU unless there is a GPU. A backbone without weights
    here is listed with the reason.
    """
    log(f"bench backbones: {part}")
    found = backbones.find(part)
    row: BenchRow = {
        "recipe": measure.__doc__,
        "crop_px": found.preprocess.crop,
        "feature_dim": found.feature_dim,
    }
    source = backbones.weights_source(found)
    if source is None:
        return {
            **row,
            "weights": None,
            "reason": f"not on this machine: {found.weights.label} has to be fetched, or given by "
            "--weights",
        }
    runtime = frozen_runtime(part)
    row |= {
        "weights": Path(source).name,
        "file_mb": Path(source).stat().st_size / 1e6,
        "parameters": sum(weight.numel() for weight in runtime.network.backbone.parameters()),
        "device": runtime.device,
        "threads": torch.get_num_threads(),
    }
    passes = {batch: _passes(runtime, batch) for batch in BATCHES}
    row |= {
        f"photos_per_s_{batch}": batch / percentile(seconds, 0.5)
        for batch, seconds in passes.items()
    }
    data, model = real_data("clothing").absolute(), work.absolute() / f"backbone-{part}"
    seconds, _ = catalens("train", data, "--out", model, "--backbone", part)
    figures = {
        split: catalens("evaluate", model, data, "--split", split)[1]
        for split in ("validation", "test")
    }
    row["train_s"] = seconds
    for split, document in figures.items():
        for name in ("accuracy", "hit_rate_at_1"):
            row[f"{split}_{name}"] = document[name]
            row[f"{split}_{name}_interval"] = document["intervals"][name]
    return {**row, "pass_s": {str(batch): seconds for batch, seconds in passes.items()}}


def _passes(runtime: TorchRuntime, batch: int) -> list[float]:
    """Seconds of each pass of a batch through the backbone."""
    crop = runtime.spec.preprocess.crop
    photos: Any = torch.rand(batch, 3, crop, crop, generator=torch.Generator().manual_seed(0))
    photos = photos.to(runtime.device, memory_format=torch.channels_last)
    seconds: list[float] = []
    with torch.inference_mode():
        while sum(seconds) < SECONDS or len(seconds) <= WARM:
            started = time.perf_counter()
            runtime.network.backbone(photos)
            if runtime.device == "cuda":
                torch.cuda.synchronize()
            seconds.append(time.perf_counter() - started)
    return seconds[WARM:]
