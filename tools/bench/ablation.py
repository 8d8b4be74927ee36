"""Benchmark ``ablation``: worth of each part of the recipes, on validation photos.

``CATALENS_BENCH_EPOCHS``: epochs of each short fine-tuning (4). Test photos are not read.
"""

from __future__ import annotations

import os
import time
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

from indexer.core.native import torch
from indexer.evaluation.evaluate import evaluate
from indexer.evaluation.retrieval_metrics import JOINT, retrieval_figures
from indexer.model import backbones
from indexer.model.network import Network
from indexer.model.torch_runtime import TorchRuntime
from indexer.training.block_weights import choose_weights, instance_rate
from indexer.training.colour_column import colour_statistics_for
from indexer.training.contrastive_loss import ContrastiveLosses
from indexer.training.cpu_kernels import kept_memory, quick_depthwise
from indexer.training.linear import fit, linear_spec, set_block_weights
from indexer.training.options import (
    RECIPES,
    FinetuneOptions,
    LinearOptions,
    TrainingOptions,
)
from indexer.training.problem import read_problem
from indexer.training.train import assemble_network, scale_epochs, train
from indexer.training.training_set import TrainingSet, load_training_set
from tools.bench.harness.framework import BenchRow, Goal, real_data
from tools.output import log

PARTS = ("step", "linear-clothing", "linear-fashion", "finetune-clothing", "finetune-fashion")
GOALS: tuple[Goal, ...] = ()
_NONE = ContrastiveLosses(0.0, 0.0, 0.0, 0.0)
# What is left out or changed, by name; fields of ``LinearOptions`` (``pairs`` apart) and of
# ``FinetuneOptions``.
LINEAR: dict[str, dict[str, Any]] = {
    "as it is": {},
    "no mixed features": {"mixed": 0.0},
    "no contrastive losses": {"contrastive": _NONE},
    "contrastive: category and attributes only": {
        "contrastive": replace(_NONE, category=0.5, attributes=0.3)
    },
    "contrastive: not on both at once": {"contrastive": ContrastiveLosses(both=0.0)},
    "block g without re-shots": {"pairs": None},
}
FINETUNE: dict[str, dict[str, Any]] = {
    "as it is": {},
    "block g learns nothing": {"general": 0.0},
    "backgrounds stay": {"backgrounds": 0.0},
    "no mixed photos": {"mixed": 0.0},
    "all stages from the start": {"top_first": 0.0},
    "no dropout": {"dropout": 0.0},
    "full size throughout": {"sizes": ((1.0, 1.0),)},
}


def measure(part: str, work: Path) -> BenchRow:
    """The row of one part: validation figures of every variant."""
    if part == "step":
        return _step()
    recipe, name = part.split("-")
    folder = real_data(name)
    data = folder / "products.csv" if (folder / "products.csv").is_file() else folder
    if recipe == "linear":
        samples = _linear(data)
    else:
        epochs = int(os.environ.get("CATALENS_BENCH_EPOCHS", "4"))
        samples = [_finetuned(data, work / "model", variant, epochs) for variant in FINETUNE]
    about = "validation photos against train photos, seed 0, block weights chosen for each variant"
    return {"recipe": f"{recipe} on {name}: {about}", "samples": samples}


def _step() -> BenchRow:
    """Photos/s of a training step of the whole backbone, 32 random photos, bfloat16, without and
    with processor.py.

    ``kept_memory`` acts at once on the whole process, so both go together; interleaved, medians of
    five.
    """
    network = backbones.build(backbones.DEFAULT_BACKBONE).to(memory_format=torch.channels_last)
    samples: list[BenchRow] = [{"side_px": side, "plain": [], "quick": []} for side in (160, 224)]
    for sample in samples:
        batch = torch.randn(32, 3, sample["side_px"], sample["side_px"]).to(
            memory_format=torch.channels_last
        )
        for repeat in range(6):
            for name in ("plain", "quick"):
                quick = name == "quick"
                with kept_memory() if quick else nullcontext():
                    if quick:  # the first step fills the memory that is kept
                        _stepped(network, batch, quick)
                    seconds = _stepped(network, batch, quick)
                if repeat:
                    sample[name].append(len(batch) / seconds)
        sample["ratio"] = median(sample["quick"]) / median(sample["plain"])
        log(
            f"{sample['side_px']} px: {median(sample['plain']):.0f} and "
            f"{median(sample['quick']):.0f} photos/s"
        )
    return {"recipe": _step.__doc__, "samples": samples}


def _stepped(network: Any, batch: Any, quick: bool) -> float:
    """Seconds of one pass there and back."""
    started = time.perf_counter()
    with torch.autocast("cpu", torch.bfloat16), quick_depthwise() if quick else nullcontext():
        seen = network(batch)
    seen.float().square().mean().backward()
    network.zero_grad()
    return time.perf_counter() - started


def _linear(data: Path) -> list[BenchRow]:
    problem = read_problem(data, 0)
    backbone = backbones.find(backbones.DEFAULT_BACKBONE)
    bare = linear_spec(backbone, (), 1).with_colours(colour_statistics_for(problem.dataset.types))
    network = Network(bare, backbones.build(backbone.name))
    photos = load_training_set(problem, data, TorchRuntime(network), TrainingOptions())
    samples = []
    for variant, options in LINEAR.items():
        sample = _fitted(photos, network, problem.dataset.types, options)
        samples.append({"variant": variant, **sample})
        log(f"{samples[-1]}")
    return samples


def _fitted(photos: TrainingSet, network: Network, types: Any, options: dict[str, Any]) -> BenchRow:
    backbone = backbones.find(network.spec.backbone)
    spec = linear_spec(backbone, photos.targets, int(photos.train_mask.sum()))
    spec = spec.with_colours(network.spec.colours)
    chosen = dict(options)
    examples = replace(photos.examples, pairs=chosen.pop("pairs", photos.pairs))
    schedule = scale_epochs(RECIPES["linear"], spec)
    fitted = fit(spec, examples, schedule, seed=0, options=LinearOptions(**chosen))
    weights = choose_weights(
        fitted.blocks(photos.features),
        photos.targets,
        photos.train_mask,
        photos.validation_mask,
        photos.extracted.pixels,
        photos.recapture_queries(fitted),
    )
    if weights is not None:
        fitted = set_block_weights(fitted, weights)
    runtime = TorchRuntime(assemble_network(fitted, network.backbone))
    checked = photos.embed_split("validation", runtime.embed_features)
    learned = photos.embed_split("train", runtime.embed_features)
    found, _ = retrieval_figures(checked, learned, types)
    taken = photos.recaptures.of(photos.validation_mask)
    asked = runtime.embed_features(taken.values)
    vectors = runtime.embed_features(photos.features)
    return {
        "weights": weights,
        "heads": fitted.history[fitted.best_epoch - 1]["validation_heads"],
        "nll": fitted.history[fitted.best_epoch - 1]["validation_nll"],
        **_retrieval(found.values),
        "instance": instance_rate(asked, vectors, taken.places, photos.extracted.pixels),
    }


def _finetuned(data: Path, model: Path, variant: str, epochs: int) -> BenchRow:
    parts = FinetuneOptions(**FINETUNE[variant])
    train(data, model, TrainingOptions(recipe="finetune", epochs=epochs, finetuning=parts))
    figures = evaluate(model, data, split="validation")
    heads = {name: found["head"] for name, found in figures["attributes"].items()}
    sample = {
        "variant": variant,
        "epochs": epochs,
        "heads": {"category": figures["accuracy"], **heads},
        "nll": figures["nll"],
        **_retrieval(figures),
        "instance": figures["instance_hit_rate_at_1"],
    }
    log(f"{sample}")
    return sample


def _retrieval(values: dict[str, Any]) -> BenchRow:
    agreed = values["attribute_agreement_at_10"] or {}
    return {
        "hit_rate_at_1": values["hit_rate_at_1"],
        "map": values["map"],
        "nn1": {name: found["nn1"] for name, found in values["attributes"].items()},
        "agreement_at_10": {name: agreed[name] for name in ("category", JOINT) if name in agreed},
    }
