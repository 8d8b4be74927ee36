"""Benchmark ``train``: recipes on real photos, beside frozen network and plain training.

``CATALENS_BENCH_SEEDS``: how many seeds (3). ``CATALENS_BENCH_MODELS``: a folder of ready models,
named by data, recipe and seed (``clothing-finetune-0``): one found there is evaluated and not
trained again; its minutes are those of ``NAME.json`` beside it, the document of ``train --json``,
else unknown.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from indexer.feeds.dataset import DatasetRow as Photo
from indexer.model import backbones
from indexer.model.bundle import write_bundle
from indexer.model.decision_layer import Decision
from indexer.model.network import Network
from indexer.training.advise import frozen_features
from indexer.training.metrics import class_counts
from indexer.training.problem import find_leaks, read_problem
from tools.bench.harness.framework import BenchRow, Goal, figure, real_data
from tools.bench.parts.cold_training import cold_training
from tools.bench.parts.unseen_kinds import measure_unseen
from tools.bench.peers import plain_training
from tools.bench.spine import catalens, run_json
from tools.output import log

PARTS = ("seed", "cold", "clothing", "fashion", "unseen")
TIMED_EPOCHS = 2  # of the seed's loop; its time is scaled to all
COLUMNS = {
    "clothing": (),
    "fashion": ("base_colour", "gender"),
}  # attributes with a floor of their own

Reader = Callable[[Sequence[BenchRow]], float | None]


def at(document: Any, path: Sequence[str]) -> Any:
    """What a document holds at ``path``; None where a step is missing."""
    for step in path:
        document = document.get(step) if isinstance(document, dict) else None
    return document


def mean_of(part: str, *path: str) -> Reader:
    """A goal's value: the mean over the seeds of one figure; None where a seed lacks it."""

    def read(rows: Sequence[BenchRow]) -> float | None:
        return _mean(
            [at(sample, path) for row in rows if row["part"] == part for sample in row["samples"]]
        )

    return read


def over_frozen(part: str, *path: str) -> Reader:
    """The mean over the seeds less the frozen network's figure."""

    def read(rows: Sequence[BenchRow]) -> float | None:
        reached = mean_of(part, *path)(rows)
        floor = next((at(row["frozen"], path) for row in rows if row["part"] == part), None)
        return None if reached is None or floor is None else reached - floor

    return read


def less(part: str, above: Sequence[str], below: Sequence[str]) -> Reader:
    """The mean over the seeds of one figure less another of the same model."""

    def read(rows: Sequence[BenchRow]) -> float | None:
        first, second = mean_of(part, *above)(rows), mean_of(part, *below)(rows)
        return None if first is None or second is None else first - second

    return read


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known and len(known) == len(values) else None


_INSTANCE, _AGREE = ("instance_hit_rate_at_1",), "attribute_agreement_at_10"
_AFTER, _BEFORE = ("calibration", "after"), ("calibration", "before")

GOALS = (
    Goal(
        "clothing: linear's accuracy less the seed's loop's",
        ">=",
        0.0,
        figure("seed", "accuracy_gain"),
    ),
    Goal(
        "clothing: linear cold, times faster than the seed's loop",
        ">=",
        20,
        figure("seed", "times_faster"),
    ),
    Goal(
        "clothing: linear cold, times the network's own time for the same photos",
        "<=",
        1.4,
        figure("cold", "ratio"),
    ),
    Goal("clothing: accuracy", ">=", 0.955, mean_of("clothing", "accuracy")),
    Goal("clothing: macro-F1", ">=", 0.945, mean_of("clothing", "macro_f1")),
    Goal("clothing: hit rate@1", ">=", 0.955, mean_of("clothing", "hit_rate_at_1")),
    Goal("clothing: mAP", ">=", 0.94, mean_of("clothing", "map")),
    Goal("clothing: instance hit rate@1", ">=", 0.90, mean_of("clothing", *_INSTANCE)),
    Goal(
        "clothing: instance hit rate@1 over the frozen network's",
        ">=",
        0.0,
        over_frozen("clothing", *_INSTANCE),
    ),
    Goal("clothing: finetune, minutes", "<=", 15, mean_of("clothing", "minutes")),
    Goal("fashion: instance hit rate@1", ">=", 0.90, mean_of("fashion", *_INSTANCE)),
    Goal(
        "fashion: instance hit rate@1 over the frozen network's",
        ">=",
        0.0,
        over_frozen("fashion", *_INSTANCE),
    ),
    Goal("fashion: article by head", ">=", 0.88, mean_of("fashion", "accuracy")),
    Goal(
        "fashion: colour by head",
        ">=",
        0.70,
        mean_of("fashion", "attributes", "base_colour", "head"),
    ),
    Goal("fashion: gender by head", ">=", 0.94, mean_of("fashion", "attributes", "gender", "head")),
    Goal("fashion: article by 1-NN", ">=", 0.86, mean_of("fashion", "hit_rate_at_1")),
    Goal(
        "fashion: colour by 1-NN",
        ">=",
        0.64,
        mean_of("fashion", "attributes", "base_colour", "nn1"),
    ),
    Goal("fashion: gender by 1-NN", ">=", 0.92, mean_of("fashion", "attributes", "gender", "nn1")),
    Goal(
        "fashion: article and colour agreement@10",
        ">=",
        0.50,
        mean_of("fashion", _AGREE, "category+colour"),
    ),
    Goal(
        "fashion: article agreement@10 over the frozen network's",
        ">=",
        0.0,
        over_frozen("fashion", _AGREE, "category"),
    ),
    Goal(
        "fashion: ECE over the 90th percentile of a perfectly calibrated model",
        "<=",
        0.0,
        less("fashion", (*_AFTER, "ece"), ("calibration", "perfect_ece_p90")),
    ),
    Goal(
        "fashion: NLL over that before temperature",
        "<=",
        0.0,
        less("fashion", (*_AFTER, "nll"), (*_BEFORE, "nll")),
    ),
    Goal(
        "fashion: Brier over that before temperature",
        "<=",
        0.0,
        less("fashion", (*_AFTER, "brier"), (*_BEFORE, "brier")),
    ),
    Goal(
        "clothing unseen: hit rate@1 over the frozen network's",
        ">=",
        -0.01,
        figure("unseen", "hit_rate_at_1_gain"),
    ),
    Goal(
        "clothing unseen: mAP over the frozen network's", ">=", -0.01, figure("unseen", "map_gain")
    ),
)


def measure(part: str, work: Path) -> BenchRow:
    """The row of one part."""
    log(f"bench train: {part}")
    if part == "seed":
        return _seed(work.absolute())
    if part == "cold":
        return cold_training(_data("clothing"), work.absolute())
    if part == "unseen":
        return measure_unseen(_data("clothing"), work.absolute())
    return _recipe(part, work.absolute())


def _data(name: str) -> Path:
    folder = real_data(name).absolute()
    return folder / "products.csv" if (folder / "products.csv").is_file() else folder


def _seeds() -> range:
    return range(int(os.environ.get("CATALENS_BENCH_SEEDS", "3")))


def _seed(work: Path) -> BenchRow:
    """``linear`` with nothing cached against the seed's loop on the same backbone and photos.

    The seed's loop: frozen backbone in the graph, Adam 1e-3 on a new head, batch 32, 20 epochs over
    the photos. Two epochs are run in a process of its own and their time is scaled to 20. Its
    accuracy is that of the same head trained for all 20 epochs on the backbone's features, which
    are the same in every epoch. ``linear``: wall time of the whole command.
    """
    data, backbone = _data("clothing"), backbones.DEFAULT_BACKBONE
    peer = run_json(
        [
            sys.executable,
            "-m",
            plain_training.__name__,
            str(data / "train"),
            backbone,
            str(TIMED_EPOCHS),
        ],
        "the seed's loop",
    )
    heads = _heads(data, ())
    samples = []
    with tempfile.TemporaryDirectory(dir=work) as fresh:
        cache = {"CATALENS_CACHE": str(Path(fresh, "cache"))}
        for seed in _seeds():
            model = Path(fresh, f"model-{seed}")
            seconds, _ = catalens(
                "train", data, "--out", model, "--seed", seed, "--backbone", backbone, env=cache
            )
            _, found = catalens("evaluate", model, data, env=cache)
            samples.append(
                {
                    "seed": seed,
                    "accuracy": found["accuracy"],
                    "loop": heads[seed],
                    "seconds": seconds,
                }
            )
    cold, loop = samples[0]["seconds"], float(np.mean(peer["epoch_s"])) * plain_training.EPOCHS
    accuracy, rival = (
        _mean([one["accuracy"] for one in samples]),
        _mean([one["loop"]["accuracy"] for one in samples]),
    )
    assert accuracy is not None
    assert rival is not None
    return {
        "recipe": _seed.__doc__,
        "backbone": backbone,
        "linear_accuracy": accuracy,
        "loop_accuracy": rival,
        "accuracy_gain": accuracy - rival,
        "linear_cold_s": cold,
        "loop_s": loop,
        "times_faster": loop / cold,
        "peer": {
            "name": "the seed's loop",
            "epochs": plain_training.EPOCHS,
            "batch": plain_training.BATCH,
            **peer,
        },
        "samples": samples,
    }


def _recipe(name: str, work: Path) -> BenchRow:
    """``finetune`` on every seed, evaluated on test; ``linear`` and the frozen network beside it.

    ``frozen``: retrieval by the pooled features as they are; ``accuracy``, ``macro_f1`` and
    ``head`` by the seed's loop's head on them, mean over the seeds.
    """
    data = _data(name)
    samples = [_model(name, data, "finetune", seed, work) for seed in _seeds()]
    return {
        "recipe": _recipe.__doc__,
        "data": name,
        "minutes": _mean([sample["minutes"] for sample in samples]),
        "accuracy": _mean([sample["accuracy"] for sample in samples]),
        "macro_f1": _mean([sample["macro_f1"] for sample in samples]),
        "hit_rate_at_1": _mean([sample["hit_rate_at_1"] for sample in samples]),
        "map": _mean([sample["map"] for sample in samples]),
        "frozen": _frozen(name, data, work),
        "linear": _model(name, data, "linear", 0, work),
        "samples": samples,
    }


def _model(name: str, data: Path, recipe: str, seed: int, work: Path) -> dict[str, Any]:
    """One model's figures on test: a ready one, else trained here."""
    known = f"{name}-{recipe}-{seed}"
    ready = Path(os.environ.get("CATALENS_BENCH_MODELS") or work).absolute() / known
    report = ready.with_name(f"{known}.json")
    if ready.is_dir():
        minutes = (
            json.loads(report.read_text())["seconds"]["total"] / 60 if report.is_file() else None
        )
    else:
        ready = work / known
        seconds, document = catalens(
            "train", data, "--out", ready, "--recipe", recipe, "--seed", seed
        )
        ready.with_name(f"{known}.json").write_text(json.dumps(document))
        minutes = seconds / 60
    log(f"{known}: evaluating {ready}")
    return {"seed": seed, "model": known, "minutes": minutes, **_evaluated(ready, data)}


def _evaluated(model: Path, data: Path) -> dict[str, Any]:
    _, figures = catalens("evaluate", model, data)
    return {name: value for name, value in figures.items() if name not in ("per_class", "skipped")}


def _frozen(name: str, data: Path, work: Path) -> dict[str, Any]:
    """The floors: the frozen network evaluated as a model, and plain heads on its features."""
    network = Network.frozen(backbones.DEFAULT_BACKBONE)
    model = write_bundle(
        work / f"{name}-frozen",
        network,
        Decision(),
        metrics={},
        training={"recipe": "pretrained"},
        replace=True,
    )
    figures = _evaluated(model.path, data)
    heads = _heads(data, COLUMNS[name])
    for key in ("accuracy", "macro_f1"):
        figures[key] = _mean([head[key] for head in heads])
    for column in COLUMNS[name]:
        figures["attributes"][column]["head"] = _mean([head[column] for head in heads])
    return figures | {"heads": heads}


def _heads(data: Path, columns: Sequence[str]) -> list[dict[str, float]]:
    """Per seed: the seed's loop's head on the frozen features; accuracy and macro-F1 of the
    category, and by column."""
    problem = read_problem(data, 0)
    features = frozen_features(problem.rows)
    split = np.array([problem.split[row.product_id] for row in features.rows])
    leaked = find_leaks(split, features.pixels, np.zeros(len(split))).leaked

    def judged(read: Callable[[Photo], Any], seed: int) -> tuple[np.ndarray, np.ndarray, int]:
        """(true, found) columns of the test photos, and how many columns there are."""
        names, labels = np.unique([str(read(row)) for row in features.rows], return_inverse=True)
        known = np.array([read(row) is not None for row in features.rows])
        found = plain_training.head_on_features(
            features.values, labels, known & (split == "train"), len(names), seed=seed
        )
        test = known & (split == "test") & ~leaked
        return labels[test], found[test], len(names)

    results = []
    for seed in _seeds():
        truth, found, count = judged(lambda row: row.category, seed)
        counts = class_counts(truth, found, count)
        result = {
            "accuracy": float((truth == found).mean()),
            "macro_f1": float(counts.macro(counts.f1())),
        }
        for column in columns:
            truth, found, _ = judged(lambda row, column=column: row.attributes.get(column), seed)  # type: ignore[misc]
            result[column] = float((truth == found).mean())
        results.append(result)
    return results
