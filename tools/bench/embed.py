"""Benchmark ``embed``: JPEG files to vectors, beside the plain loop, on clothing photos.

``CATALENS_BENCH_PHOTOS``: how many of them (all). The plain loop sees every sixth, since it takes
minutes otherwise. ``CATALENS_BENCH_LOOK``: what the model of ``lite0`` is shown of a photo (crop).
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from indexer.core.native import torch
from indexer.model.bundle import write_bundle
from indexer.model.decision_layer import Decision
from indexer.model.network import Network
from indexer.model.openvino_runtime import cosines
from indexer.training.export import export
from indexer.training.options import TrainingOptions
from indexer.training.train import train
from tools.bench.harness.framework import BenchRow, Goal, figure, real_data
from tools.bench.peers.catalens_embedding import reference
from tools.bench.spine import ROOT
from tools.doctor import installed
from tools.output import log

PARTS = ("lite0", "resnet50", "classes", "roofline")
_ROUNDS = 3
_PLAIN_STEP = 6

GOALS = (
    Goal("lite0: times as fast as the plain loop", ">=", 10.0, figure("lite0", "ratio")),
    Goal("ResNet-50: times as fast as the plain loop", ">=", 6.0, figure("resnet50", "ratio")),
    Goal("lite0: mean cosine to the reference", ">=", 0.995, figure("lite0", "cosine_mean")),
    Goal("ResNet-50: mean cosine to the reference", ">=", 0.995, figure("resnet50", "cosine_mean")),
    Goal("lite0: leave-one-out hit rate@1 lost, points", "<=", 0.5, figure("lite0", "lost_points")),
    Goal(
        "ResNet-50: leave-one-out hit rate@1 lost, points",
        "<=",
        0.5,
        figure("resnet50", "lost_points"),
    ),
    Goal(
        "lite0: share of 1 / (1 / decode + 1 / network)",
        ">=",
        0.9,
        figure("lite0", "share_of_parts"),
    ),
    Goal(
        "ResNet-50: share of 1 / (1 / decode + 1 / network)",
        ">=",
        0.9,
        figure("resnet50", "share_of_parts"),
    ),
)


def measure(part: str, work: Path) -> BenchRow:
    """One backbone: rates of both sides interleaved in processes of their own, then how alike the
    vectors are."""
    log(f"bench embed: {part}")
    if part == "roofline":
        return _roofline()
    data = real_data("clothing")
    files = sorted(str(path) for path in data.rglob("*.jpg"))[
        : int(os.environ.get("CATALENS_BENCH_PHOTOS", "10000"))
    ]
    if part == "classes":
        return _classes(work, data, files)
    model = _lite0(work, data) if part == "lite0" else _resnet50(work)
    fast = work / f"{part}-fast"
    report = export(model, data, fast, numeric="auto", replace_out=True)
    log(f"{part}: exported as {report['numeric']}")
    return {**_compared(model, fast, files, work), "exported": report, "weights": _weights_of(part)}


def _weights_of(part: str) -> str:
    return (
        "ImageNet, recipe linear on clothing"
        if part == "lite0"
        else "random: there are none on this machine"
    )


def _lite0(work: Path, data: Path) -> Path:
    model = work / "lite0"
    if not model.exists():
        look = os.environ.get("CATALENS_BENCH_LOOK", "crop")
        train(data, model, TrainingOptions(cache=work / "cache", look=look))
    return model


def _resnet50(work: Path) -> Path:
    """Random weights, with batch statistics of one pass over noise so that features keep their
    spread."""
    torch.manual_seed(0)
    network = Network.empty(Network.frozen_spec("resnet50"))
    network.backbone.train()
    with torch.no_grad():
        for _ in range(4):
            network.backbone(torch.randn(16, 3, 224, 224))
    network.eval()
    write_bundle(
        work / "resnet50",
        network,
        Decision(),
        metrics={},
        training={"recipe": "random"},
        replace=True,
    )
    return work / "resnet50"


def _compared(model: Path, fast: Path, files: Sequence[str], work: Path) -> BenchRow:
    plain: list[float] = []
    own: dict[str, list[float]] = {"whole": [], "decode": [], "network": []}
    vectors_file, last = work / "vectors.npy", {}
    for _ in range(_ROUNDS):
        found = _run("tools.bench.peers.plain_embedding", [str(model)], files[::_PLAIN_STEP])
        plain.append(found["photos"] / found["seconds"])
        last = _run(
            "tools.bench.peers.catalens_embedding", [str(fast), "1", str(vectors_file)], files
        )
        for name, rates in last["rates"].items():
            own[name] += rates
        log(f"plain {plain[-1]:.1f}/s, ours {own['whole'][-1]:.1f}/s")
    rates = {name: median(values) for name, values in own.items()}
    alike = _alike(reference(str(model), list(files)), np.load(vectors_file), files)
    return {
        "recipe": f"{len(files)} clothing photos; the plain loop every {_PLAIN_STEP}th; "
        f"interleaved, {_ROUNDS} rounds",
        "peer": "the plain loop: DataLoader(num_workers=2), Pillow, torchvision transforms, torch "
        "eager fp32, batch 32",
        "peer_version": installed("torch"),
        "plain_per_s": median(plain),
        "per_s": rates["whole"],
        "ratio": rates["whole"] / median(plain),
        "decode_per_s": rates["decode"],
        "network_per_s": rates["network"],
        "share_of_parts": rates["whole"] * (1 / rates["decode"] + 1 / rates["network"]),
        "bottleneck": last["bottleneck"],
        **alike,
        "samples": {
            "plain_per_s": plain,
            **{f"{name}_per_s": values for name, values in own.items()},
        },
    }


def _run(module: str, arguments: list[str], files: Sequence[str]) -> Any:
    command = [sys.executable, "-m", module, *arguments]
    done = subprocess.run(
        command, cwd=ROOT, input="\n".join(files), stdout=subprocess.PIPE, text=True, check=True
    )
    return json.loads(done.stdout)


def _alike(own: np.ndarray, other: np.ndarray, files: Sequence[str]) -> BenchRow:
    """Cosine of counterparts, and leave-one-out hit rate@1 by class folder of both."""
    cosine = cosines(own, other)
    classes = np.array([Path(name).parent.name for name in files])
    hits = [_leave_one_out(vectors, classes) for vectors in (own, other)]
    return {
        "cosine_mean": float(cosine.mean()),
        "cosine_p01": float(np.quantile(cosine, 0.01)),
        "cosine_min": float(cosine.min()),
        "hit_rate_at_1": {"reference": float(hits[0].mean()), "ours": float(hits[1].mean())},
        "lost_points": float(100 * (hits[0].mean() - hits[1].mean())),
        "hits_changed": {
            "lost": int((hits[0] & ~hits[1]).sum()),
            "won": int((~hits[0] & hits[1]).sum()),
        },
    }


def _leave_one_out(vectors: np.ndarray, classes: np.ndarray) -> np.ndarray:
    scores = vectors @ vectors.T
    np.fill_diagonal(scores, -np.inf)
    return np.asarray(classes[scores.argmax(axis=1)] == classes)


def _classes(work: Path, data: Path, files: Sequence[str]) -> BenchRow:
    """Each numeric class of lite0: rate and likeness, every third photo."""
    model, some = _lite0(work, data), list(files)[::3]
    own = reference(str(model), some)
    samples = []
    for numeric in ("fp32", "bf16", "int8"):
        fast = work / f"class-{numeric}"
        report = export(model, data, fast, numeric=numeric, replace_out=True)
        found = _run(
            "tools.bench.peers.catalens_embedding",
            [str(fast), str(_ROUNDS), str(work / "vectors.npy")],
            some,
        )
        rates = {f"{name}_per_s": median(values) for name, values in found["rates"].items()}
        samples.append(
            {"numeric": numeric, **rates, **_alike(own, np.load(work / "vectors.npy"), some)}
        )
        samples[-1]["embedding_id"] = report["embedding_id"]
        log(f"{samples[-1]}")
    torch_rates = _run("tools.bench.peers.catalens_embedding", [str(model), "1"], some[:600])[
        "rates"
    ]
    return {
        "recipe": "recipe linear on clothing, every third photo",
        "torch_fp32_per_s": median(torch_rates["whole"]),
        "samples": samples,
    }


def _roofline() -> BenchRow:
    """What the processor gives: matrix product in fp32 and bf16, copying; medians of seven."""
    size = 2048
    rates: dict[str, list[float]] = {"fp32": [], "bf16": [], "copy": []}
    big = torch.zeros(64 * 2**20)  # 256 MB of float32
    target = torch.empty_like(big)
    for turn in range(8):
        for name, kind in (("fp32", torch.float32), ("bf16", torch.bfloat16)):
            a = torch.randn(size, size).to(kind)
            started = time.perf_counter()
            a @ a
            if turn:
                rates[name].append(2 * size**3 / (time.perf_counter() - started) / 1e9)
        started = time.perf_counter()
        target.copy_(big)
        if turn:
            rates["copy"].append(2 * big.nbytes / (time.perf_counter() - started) / 1e9)
    return {
        "recipe": f"torch, {size} x {size} matrices; copy of 256 MB counts what is read and "
        "written",
        "gflop_per_s": {name: median(rates[name]) for name in ("fp32", "bf16")},
        "copy_gb_per_s": median(rates["copy"]),
        "samples": rates,
    }
