"""``advise``: looks at DATA, tries a quick probe, and proposes how to train on it, with reasons."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from indexer.catalog.dataset import SPLITS, DatasetRow
from indexer.core.errors import BadDataError, CatalensError, TrainingError
from indexer.core.native import torch
from indexer.core.vectors import unit_rows
from indexer.imaging.decode import Photo
from indexer.imaging.parallel import decode_all
from indexer.model import backbones
from indexer.model.decision_layer import PATH_SEPARATOR
from indexer.model.network import Network
from indexer.model.preprocessing import photos_to_pixels, to_batch
from indexer.model.torch_runtime import TorchRuntime
from indexer.training.cpu_kernels import kept_memory
from indexer.training.feature_cache import Features, OnCached, photo_features
from indexer.training.finetune import lower_precision
from indexer.training.label_errors import issue_notes, judged, label_issues
from indexer.training.problem import (
    TrainingProblem,
    categories_of,
    category_columns,
    find_leaks,
    label_notes,
    read_problem,
)
from indexer.training.train import RECIPES

PROBED = 4000  # photos at most that go through the backbone, chosen by product
# of neck and heads, per photo and epoch of the linear recipe (measured on two Zen 4 cores)
_LINEAR_S = 1e-4
_TIMED = 8  # photos that speed is measured with
_FEW = 300  # training photos below which unfreezing a network overfits
_RIDGE = 0.3  # of the mean eigenvalue


def advise(
    data: Path,
    *,
    backbone: str = backbones.DEFAULT_BACKBONE,
    weights: Path | None = None,
    minutes: float = 15.0,
    seed: int = 0,
    device: str = "auto",
    cache: Path | None = None,
    progress: OnCached | None = None,
) -> dict[str, Any]:
    """What DATA holds, what is odd about it, what a linear probe on the frozen ``backbone``
    reaches, what to run.

    ``minutes``: what a training may take. Nothing is written but cached features; test photos are
    looked at for copies only. Raises ``BadDataError``, ``WeightsUnavailableError``.
    """
    problem = read_problem(data, seed)
    if not problem.rows:
        raise BadDataError(f"{data} has no usable photos")
    rows = sampled(problem.rows, PROBED)
    runtime = frozen_runtime(backbone, weights=weights, device=device)
    speed = _speed(runtime, rows)
    features = photo_features(rows, runtime, cache=cache, progress=progress)
    values = features.values[:, : runtime.spec.feature_dim]
    split = np.array([problem.split[row.product_id] for row in features.rows])
    document: dict[str, Any] = {
        "data": str(data),
        "photos": {name: len(problem.of(name)) for name in SPLITS},
        "products": len({row.product_id for row in problem.rows}),
        "probed": len(features.rows),
        "notes": list(problem.notes),
        "skipped": [asdict(entry) for entry in (*problem.dataset.skipped, *features.skipped)],
        "duplicates": _duplicates(features),
        "short_side_px": speed.pop("short_side_px"),
        "categories": None,
        "leaks": {"photos": 0, "products": len(problem.dataset.torn)},
        "label_issues": [],
        "probe": {"backbone": backbone, "validation_accuracy": None, "majority": None},
        "speed": speed,
    }
    try:
        categories = categories_of(problem.of("train"))
    except TrainingError as error:
        document["recommendation"] = {
            "backbone": backbone,
            "recipe": None,
            "command": None,
            "reasons": [str(error)],
        }
        return document
    if not categories:
        reason = (
            "no training photo has a category: the model learns from the photos and re-shots of "
            "them what is the same"
        )
        command = f"catalens train {data} --out model --backbone {backbone}"
        document["recommendation"] = {
            "backbone": backbone,
            "recipe": "linear",
            "command": command,
            "reasons": [reason],
        }
        return document
    columns = category_columns(features.rows, categories)
    leaks = find_leaks(split, features.pixels, columns)
    document["leaks"]["photos"] = int(leaks.leaked.sum())
    document["notes"] += [*label_notes(problem, categories), *leaks.notes]
    document["categories"] = _categories(problem)
    learn = (columns >= 0) & (split != "test")
    chosen = np.flatnonzero(learn)
    issues = label_issues(
        [features.rows[number] for number in chosen],
        values[chosen],
        columns[chosen],
        features.pixels[chosen],
        categories,
    )
    document["label_issues"] = [issue.to_json() for issue in issues]
    document["notes"] += issue_notes(issues, judged(len(chosen), len(categories)))
    train, held = learn & (split == "train"), learn & (split == "validation") & ~leaks.leaked
    document["probe"].update(probe(values, columns, train, held, len(categories)))
    document["cost_s"] = costs(document["photos"], speed)
    document["recommendation"] = recommend(document, backbone, data, minutes)
    return document


def recommend(found: dict[str, Any], backbone: str, data: Path, minutes: float) -> dict[str, Any]:
    """Recipe, epochs and command line with their reasons, from ``advise``'s own figures."""
    photos, categories = found["photos"]["train"], found["categories"]
    accuracy, cost = found["probe"]["validation_accuracy"], found["cost_s"]
    reasons = []
    epochs = min(RECIPES["finetune"].epochs, int(minutes * 60 / max(cost["finetune_epoch"], 1e-9)))
    recipe = "finetune"
    if photos < _FEW:
        recipe = "linear"
        reasons.append(
            f"{photos} training photos are too few to unfreeze the network: it would learn them by "
            "heart"
        )
    elif categories["median"] < 5:
        recipe = "linear"
        reasons.append(
            f"half of the categories have fewer than 5 photos (median {categories['median']:g})"
        )
    elif epochs < 3:
        recipe = "linear"
        reasons.append(
            f"one epoch of finetune takes about {_time(cost['finetune_epoch'])} on this machine: "
            f"{minutes:g} minutes "
            "are not enough for three"
        )
    elif accuracy is not None and accuracy >= 0.99:
        recipe = "linear"
        reasons.append(
            "the frozen network already tells nearly all validation photos: little is left to gain"
        )
    else:
        reasons.append(
            f"{photos} training photos, {categories['median']:g} in the median category, are "
            "enough to unfreeze the "
            f"network; {epochs} epochs take about {_time(epochs * cost['finetune_epoch'])} here"
        )
    if accuracy is not None:
        reasons.insert(
            0,
            f"a linear probe on the frozen {backbone} reaches {accuracy:.3f} of validation photos "
            f"(always the commonest category: {found['probe']['majority']:.3f})",
        )
    else:
        reasons.insert(
            0, "no validation photo can be judged: nothing says how well a model will do"
        )
    reasons.append(
        f"the recipe linear takes about {_time(cost['linear'])} here, less once features are cached"
    )
    extra = f" --epochs {epochs}" if recipe == "finetune" else ""
    return {
        "backbone": backbone,
        "recipe": recipe,
        "epochs": epochs if recipe == "finetune" else RECIPES["linear"].epochs,
        "seconds": epochs * cost["finetune_epoch"] + cost["linear"]
        if recipe == "finetune"
        else cost["linear"],
        "command": f"catalens train {data} --out model --backbone {backbone} --recipe "
        f"{recipe}{extra}",
        "reasons": reasons,
    }


def costs(photos: dict[str, int], speed: dict[str, float]) -> dict[str, float]:
    """Seconds of ``linear`` with nothing cached and of one epoch of ``finetune``, from photos/s
    measured here."""
    seen = photos["train"] + photos["validation"]
    linear = seen / speed["forward_per_s"] + photos["train"] * RECIPES["linear"].epochs * _LINEAR_S
    epoch = (
        photos["train"] / speed["training_per_s"] + photos["validation"] / speed["forward_per_s"]
    )
    return {"linear": linear, "finetune_epoch": epoch}


def probe(
    values: np.ndarray, columns: np.ndarray, train: np.ndarray, held: np.ndarray, classes: int
) -> dict[str, float | None]:
    """Validation accuracy of ridge regression on features [N, F], and of the commonest class; None
    without photos."""
    if not train.any() or not held.any():
        return {"validation_accuracy": None, "majority": None}
    unit = unit_rows(np.asarray(values, np.float32))
    mean = unit[train].mean(0)
    inputs = unit[train] - mean
    onto = np.zeros((inputs.shape[1], classes), np.float32)
    np.add.at(onto.T, columns[train], inputs)
    gram = inputs.T @ inputs
    gram += (_RIDGE * float(np.trace(gram)) / len(gram) + 1e-6) * np.eye(
        len(gram), dtype=np.float32
    )
    share = np.bincount(columns[train], minlength=classes) / train.sum()
    answer = ((unit[held] - mean) @ np.linalg.solve(gram, onto) + share).argmax(1)
    return {
        "validation_accuracy": float((answer == columns[held]).mean()),
        "majority": float((columns[held] == share.argmax()).mean()),
    }


def sampled(rows: Sequence[DatasetRow], most: int) -> list[DatasetRow]:
    """At most ``most`` rows, whole products, spread evenly over all."""
    if len(rows) <= most:
        return list(rows)
    products: dict[str, list[DatasetRow]] = {}
    for row in rows:
        products.setdefault(row.product_id, []).append(row)
    groups = list(products.values())
    kept: list[DatasetRow] = []
    for number in np.random.default_rng(0).permutation(len(groups)):
        if len(kept) + len(groups[number]) <= most:
            kept += groups[number]
    return kept


def frozen_runtime(
    backbone: str = backbones.DEFAULT_BACKBONE, *, weights: Path | None = None, device: str = "auto"
) -> TorchRuntime:
    """The pretrained network as it is, ready to give features."""
    return TorchRuntime(Network.frozen(backbone, weights=weights), device=device)


def frozen_features(rows: Sequence[DatasetRow], *, progress: OnCached | None = None) -> Features:
    """Features [N, F] of the default backbone, float32, without the statistics that the cache keeps
    behind them."""
    runtime = frozen_runtime()
    found = photo_features(rows, runtime, progress=progress)
    values = found.values[:, : runtime.spec.feature_dim].astype(np.float32)
    return Features(found.rows, values, found.content, found.pixels, found.skipped)


def _speed(runtime: TorchRuntime, rows: Sequence[DatasetRow]) -> dict[str, Any]:
    """Photos/s here: decoded and seen, and in a training step (whole network, full size); sizes on
    the way."""
    spec = runtime.spec.preprocess
    sides, decoded = [], []
    started = time.perf_counter()
    for row, photo in decode_all(
        rows[:: max(len(rows) // _TIMED, 1)][:_TIMED], _read, shrink_to=runtime.shrink_to
    ):
        if isinstance(photo, Photo):
            sides.append(min(photo.width, photo.height))
            decoded.append(photo)
        elif not isinstance(photo, CatalensError):
            raise BadDataError(f"{row.image} cannot be read")
    if not decoded:
        raise BadDataError(f"{rows[0].image} and others cannot be read: no photo to measure with")
    decoding = time.perf_counter() - started
    runtime.extract_features(decoded[:2])  # the first pass sets things up
    passes = []
    for _ in range(2):
        started = time.perf_counter()
        runtime.extract_features(decoded)
        passes.append(time.perf_counter() - started)
    forward = decoding + min(passes)
    network = backbones.build(runtime.spec.backbone, random=True).to(runtime.device)
    batch = to_batch(photos_to_pixels(decoded, spec), spec, runtime.device)
    times = []
    with kept_memory():
        for _ in range(2):
            started = time.perf_counter()
            with lower_precision(runtime.device):
                seen = network(batch)
            seen.float().square().mean().backward()
            if runtime.device == "cuda":
                torch.cuda.synchronize()
            times.append(time.perf_counter() - started)
    return {
        "forward_per_s": len(decoded) / forward,
        "training_per_s": len(decoded) / (min(times) + decoding),
        "short_side_px": {
            "min": min(sides),
            "median": float(np.median(sides)),
            "max": max(sides),
            "of": len(sides),
        },
    }


def _read(row: DatasetRow) -> bytes:
    return row.image.read_bytes()


def _duplicates(features: Features) -> dict[str, int]:
    """Exact copies among the photos that were looked at: how many are copies, and how many products
    they link."""
    first: dict[object, int] = {}
    copies = products = 0
    for number, (row, pixels) in enumerate(zip(features.rows, features.pixels, strict=True)):
        original = first.setdefault(pixels, number)
        if original != number:
            copies += 1
            products += features.rows[original].product_id != row.product_id
    return {"photos": copies, "between_products": products}


def _categories(problem: TrainingProblem) -> dict[str, Any]:
    counts = Counter(row.category for row in problem.of("train") if row.category)
    sizes = list(counts.values())
    path, most = counts.most_common(1)[0]
    return {
        "count": len(counts),
        "smallest": min(sizes),
        "median": float(np.median(sizes)),
        "largest": most,
        "largest_is": PATH_SEPARATOR.join(path),
        "with_one_photo": sizes.count(1),
    }


def _time(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 100 else f"{seconds / 60:.0f} min"
