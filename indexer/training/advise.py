"""Advice on how to train on DATA, from its contents and a linear probe."""

from __future__ import annotations

import shlex
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from indexer.core.category_path import format_path
from indexer.core.errors import BadDataError, CatalensError, TrainingError
from indexer.core.native import torch
from indexer.core.progress import OnStage, no_progress
from indexer.core.vectors import unit_rows
from indexer.feeds.dataset import SPLITS, DatasetRow
from indexer.imaging.decode import Photo
from indexer.imaging.parallel import decode_all
from indexer.imaging.photo_file import read_photo
from indexer.model import backbones
from indexer.model.decision_layer import Category
from indexer.model.network import Network
from indexer.model.preprocessing import LOOK_COST, photos_to_pixels, to_batch
from indexer.model.torch_runtime import TorchRuntime
from indexer.training.colour_column import colour_statistics_for
from indexer.training.cpu_kernels import kept_memory
from indexer.training.feature_cache import Features, photo_features
from indexer.training.finetune_loss import lower_precision
from indexer.training.label_errors import check_labels, issue_notes
from indexer.training.label_targets import label_targets
from indexer.training.look import JUDGED, LEAST_PHOTOS, MOST_PHOTOS, ridge_hits
from indexer.training.metrics import clopper_pearson
from indexer.training.options import RECIPES
from indexer.training.problem import (
    TrainingProblem,
    categories_of,
    category_labels,
    find_leaks,
    label_notes,
    read_problem,
    require_lesson,
)
from indexer.training.targets import attribute_targets

PROBED = 4000  # photos at most that go through the backbone, chosen by product
# of neck and heads, per photo and epoch of the linear recipe (measured on two Zen 4 cores)
_LINEAR_S = 1e-4
_TIMED = 8  # photos that speed is measured with
_QUIET = 0.5  # of one core: what measuring uses less of has to share the machine
_FEW = 300  # training photos below which unfreezing a network overfits
_FEW_JUDGES = 30  # validation photos below which folds of all photos say more
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
    progress: OnStage = no_progress,
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
    colours = colour_statistics_for(problem.dataset.types)
    runtime = frozen_runtime(backbone, weights=weights, device=device, colours=colours)
    speed = measure_speed(runtime, rows)
    features = photo_features(rows, runtime, cache=cache, progress=progress)
    document = _overview(data, problem, features, speed)
    document["probe"]["backbone"] = backbone
    categories = categories_of(problem.of("train"))
    if not categories:
        reason = (
            "no training photo has a category: the model learns from the photos and recaptures of "
            "them what is the same"
        )
        command = _command(data, backbone, weights)
        document["recommendation"] = _without_probe(backbone, "linear", command, reason)
        return document
    width = runtime.spec.feature_dim
    try:
        if len(categories) == 1:
            _probe_attributes(document, problem, features, categories, width)
        else:
            _probe_labels(document, problem, features, categories, width)
    except TrainingError as error:
        document["recommendation"] = _without_probe(backbone, None, None, str(error))
        return document
    document["cost_s"] = costs(document["photos"], speed)
    document["recommendation"] = recommend(document, backbone, data, minutes, weights=weights)
    return document


def _overview(
    data: Path, problem: TrainingProblem, features: Features, speed: dict[str, Any]
) -> dict[str, Any]:
    """Start the document before any label is read; ``short_side_px`` moves out of ``speed``."""
    return {
        "data": str(data),
        "photos": {name: len(problem.of(name)) for name in SPLITS},
        "products": len({row.product_id for row in problem.rows}),
        "probed": len(features.rows),
        "notes": [*problem.notes, *features.notes],
        "skipped": [asdict(entry) for entry in (*problem.dataset.skipped, *features.skipped)],
        "duplicates": _duplicates(features),
        "short_side_px": speed.pop("short_side_px"),
        "categories": None,
        "leaks": {"photos": 0, "products": len(problem.dataset.torn)},
        "label_issues": [],
        "label_doubts": [],
        "probe": {"backbone": None, "validation_accuracy": None, "majority": None},
        "speed": speed,
    }


def _without_probe(
    backbone: str, recipe: str | None, command: str | None, reason: str
) -> dict[str, Any]:
    return {"backbone": backbone, "recipe": recipe, "command": command, "reasons": [reason]}


def _probe_labels(
    document: dict[str, Any],
    problem: TrainingProblem,
    features: Features,
    categories: Sequence[Category],
    width: int,
) -> None:
    """Add categories, leaks, label issues and the probe's accuracy to ``document``."""
    values = features.values[:, :width]
    split = np.array([problem.split[row.product_id] for row in features.rows])
    labels = category_labels(features.rows, categories)
    leaks = find_leaks(split, features.pixels, labels)
    document["leaks"]["photos"] = int(leaks.leaked.sum())
    document["notes"] += [*label_notes(problem, categories), *leaks.notes]
    document["categories"] = _categories(problem)
    learn = (labels >= 0) & (split != "test")
    chosen = np.flatnonzero(learn)
    checked_rows = [features.rows[number] for number in chosen]
    checked = check_labels(
        checked_rows,
        values[chosen],
        labels[chosen],
        features.pixels[chosen],
        categories,
    )
    document["label_issues"] = [issue.to_json() for issue in checked.issues]
    document["label_doubts"] = [issue.to_json() for issue in checked.doubts]
    document["notes"] += issue_notes(checked)
    train_mask = learn & (split == "train")
    validation_mask = learn & (split == "validation") & ~leaks.leaked
    document["probe"] |= probe(values, labels, train_mask, validation_mask, len(categories))
    if validation_mask.sum() < _FEW_JUDGES and learn.sum() >= 2 and len(categories) > 1:
        products = np.unique([row.product_id for row in checked_rows], return_inverse=True)[1]
        right = ridge_hits(values[chosen], labels[chosen], products)
        document["probe"]["folds"] = {
            "right": int(right.sum()),
            "photos": len(right),
            "interval": clopper_pearson(float(right.sum()), len(right)),
        }


def _probe_attributes(
    document: dict[str, Any],
    problem: TrainingProblem,
    features: Features,
    categories: Sequence[Category],
    width: int,
) -> None:
    """Add what a probe reads of the attributes of a single category to ``document``.

    Its accuracy is the mean over attributes. Raises ``TrainingError`` where none can be read.
    """
    values = features.values[:, :width].astype(np.float32)
    split = np.array([problem.split[row.product_id] for row in features.rows])
    leaks = find_leaks(split, features.pixels, category_labels(features.rows, categories))
    train_mask = split == "train"
    validation_mask = (split == "validation") & ~leaks.leaked
    targets, dropped = attribute_targets(
        features.rows, values, train_mask, validation_mask, problem.dataset.types
    )
    masks = train_mask, validation_mask
    labels, untold = label_targets(features.rows, values, masks, problem.dataset.types, targets)
    dropped += untold
    document["leaks"]["photos"] = int(leaks.leaked.sum())
    document["notes"] += [*label_notes(problem, categories), *leaks.notes, *dropped]
    document["categories"] = _categories(problem)
    require_lesson(categories, [*targets, *labels], dropped)
    heads = {
        target.name: probe(
            values,
            target.labels,
            train_mask & (target.labels >= 0),
            validation_mask & (target.labels >= 0),
            len(target.values),
        )
        for target in targets
    }
    for name in ("validation_accuracy", "majority") if heads else ():
        document["probe"][name] = float(np.mean([found[name] or 0.0 for found in heads.values()]))
    document["probe"]["attributes"] = heads


def _command(data: Path, backbone: str, weights: Path | None) -> str:
    """The command line that trains as advised, as a shell takes it."""
    words = ["catalens", "train", str(data), "--out", "model", "--backbone", backbone]
    return shlex.join(words if weights is None else [*words, "--weights", str(weights)])


def recommend(
    found: dict[str, Any],
    backbone: str,
    data: Path,
    minutes: float,
    *,
    weights: Path | None = None,
) -> dict[str, Any]:
    """Recommend recipe, epochs and command line with their reasons, from ``advise``'s figures."""
    cost = found["cost_s"]
    epochs = min(RECIPES["finetune"].epochs, int(minutes * 60 / max(cost["finetune_epoch"], 1e-9)))
    recipe, reason = _choose_recipe(found, epochs, minutes)
    accuracy = found["probe"]["validation_accuracy"]
    judged = "no validation photo can be judged: nothing says how well a model will do"
    if accuracy is not None:
        heads = found["probe"].get("attributes")
        what = "value" if heads else "category"
        of = f" in {', '.join(heads)}, of one category" if heads else ""
        judged = (
            f"a linear probe on the frozen {backbone} reaches {accuracy:.3f} of "
            f"{_judges(found['probe'], accuracy)}{of} (always the commonest {what}: "
            f"{found['probe']['majority']:.3f})"
        )
    if (folds := found["probe"].get("folds")) is not None:
        low, high = folds["interval"]
        judged = (
            f"a linear probe on the frozen {backbone} names {folds['right']} of {folds['photos']} "
            f"photos right, each held out in one of five folds (of many it may be {low:.0%} to "
            f"{high:.0%}): the validation photos alone are too few to judge by"
        )
    took = (
        f"the recipe linear takes up to {_time(cost['linear'])} here, less once features are cached"
    )
    reasons = [judged, reason, took]
    if found.get("speed", {}).get("crowded"):
        reasons.append(
            "these times are of a machine that other programs kept busy: ask again when it is "
            "idle, they may fall and allow another recipe"
        )
    seconds = cost["linear"]
    command = f"{_command(data, backbone, weights)} --recipe {recipe}"
    if recipe == "finetune":
        seconds = cost["finetune_start"] + epochs * cost["finetune_epoch"]
        command += f" --epochs {epochs}"
    return {
        "backbone": backbone,
        "recipe": recipe,
        "epochs": epochs if recipe == "finetune" else RECIPES["linear"].epochs,
        "seconds": seconds,
        "command": command,
        "reasons": reasons,
    }


def _judges(probed: dict[str, Any], accuracy: float) -> str:
    """The validation photos that judged, with the 95% interval of what they say."""
    photos = probed.get("photos")
    if not photos:
        return "validation photos"
    low, high = clopper_pearson(accuracy * photos, photos)
    return f"{photos:,} validation photos (95% interval {low:.3f} to {high:.3f})"


def _choose_recipe(found: dict[str, Any], epochs: int, minutes: float) -> tuple[str, str]:
    """Choose the recipe, with the reason; ``minutes`` limit the epochs of ``finetune``."""
    photos = found["photos"]["train"]
    median = found["categories"]["median"]
    accuracy = found["probe"]["validation_accuracy"]
    epoch_s = found["cost_s"]["finetune_epoch"]
    if photos < _FEW:
        return "linear", (
            f"{photos} training photos are too few to unfreeze the network: it would learn them by "
            "heart"
        )
    if median < 5:
        return "linear", f"half of the categories have fewer than 5 photos (median {median:g})"
    if epochs < 3:
        return "linear", (
            f"one epoch of finetune takes about {_time(epoch_s)} on this machine: {minutes:g} "
            "minutes are not enough for three"
        )
    if accuracy is not None and accuracy >= 0.99:
        return "linear", (
            "the frozen network already classifies nearly all validation photos: little is left to "
            "gain"
        )
    return "finetune", (
        f"{photos} training photos, {median:g} in the median category, are enough to unfreeze the "
        f"network; {epochs} epochs take about {_time(epochs * epoch_s)} here"
    )


def costs(photos: dict[str, int], speed: dict[str, float]) -> dict[str, float]:
    """Estimate seconds with nothing cached, from photos/s measured here.

    ``linear`` compares looks and may take the dearest for all photos; ``finetune_start``: the fit
    that ``finetune`` begins with, of one look; ``finetune_epoch``: one of its epochs.
    """
    seen = photos["train"] + photos["validation"]
    compared = min(seen, MOST_PHOTOS) if seen >= LEAST_PHOTOS else 0
    costs_of_looks = [LOOK_COST[look] for look in JUDGED]
    most = max(costs_of_looks) if compared else 1.0
    inputs = compared * sum(costs_of_looks) + (seen - compared) * most
    fit = photos["train"] * RECIPES["linear"].epochs * _LINEAR_S
    epoch = (
        photos["train"] / speed["training_per_s"] + photos["validation"] / speed["forward_per_s"]
    )
    return {
        "linear": inputs / speed["forward_per_s"] + fit,
        "finetune_start": seen / speed["forward_per_s"] + fit,
        "finetune_epoch": epoch,
    }


def probe(
    values: np.ndarray,
    labels: np.ndarray,
    train_mask: np.ndarray,
    validation_mask: np.ndarray,
    classes: int,
) -> dict[str, float | None]:
    """Validation accuracy of ridge regression on features [N, F], and of the commonest class; None
    without photos."""
    if not train_mask.any() or not validation_mask.any():
        return {"validation_accuracy": None, "majority": None, "photos": 0}
    unit = unit_rows(np.asarray(values, np.float32))
    mean = unit[train_mask].mean(0)
    inputs = unit[train_mask] - mean
    onto = np.zeros((inputs.shape[1], classes), np.float32)
    np.add.at(onto.T, labels[train_mask], inputs)
    gram = inputs.T @ inputs
    decay = _RIDGE * float(np.trace(gram)) / len(gram) + 1e-6
    gram += decay * np.eye(len(gram), dtype=np.float32)
    share = np.bincount(labels[train_mask], minlength=classes) / train_mask.sum()
    found = ((unit[validation_mask] - mean) @ np.linalg.solve(gram, onto) + share).argmax(1)
    truth = labels[validation_mask]
    return {
        "validation_accuracy": float((found == truth).mean()),
        "photos": len(truth),
        "majority": float((truth == share.argmax()).mean()),
    }


def sampled(rows: Sequence[DatasetRow], limit: int) -> list[DatasetRow]:
    """Sample at most ``limit`` rows, whole products, spread evenly over all."""
    if len(rows) <= limit:
        return list(rows)
    products: dict[str, list[DatasetRow]] = {}
    for row in rows:
        products.setdefault(row.product_id, []).append(row)
    groups = list(products.values())
    kept: list[DatasetRow] = []
    for number in np.random.default_rng(0).permutation(len(groups)):
        if len(kept) + len(groups[number]) <= limit:
            kept += groups[number]
    return kept


def frozen_runtime(
    backbone: str = backbones.DEFAULT_BACKBONE,
    *,
    weights: Path | None = None,
    device: str = "auto",
    colours: int = 1,
) -> TorchRuntime:
    """Open the pretrained network as it is, ready to give features with this version of the colour
    statistics behind them."""
    spec = Network.frozen_spec(backbone, weights=weights).with_colours(colours)
    network = Network(spec, backbones.build(spec.backbone, weights=weights))
    return TorchRuntime(network, device=device)


def frozen_features(rows: Sequence[DatasetRow], *, progress: OnStage = no_progress) -> Features:
    """Features [N, F] of the default backbone, float32, without the statistics that the cache keeps
    behind them."""
    runtime = frozen_runtime()
    found = photo_features(rows, runtime, progress=progress)
    values = found.values[:, : runtime.spec.feature_dim].astype(np.float32)
    return replace(found, values=values)


def measure_speed(runtime: TorchRuntime, rows: Sequence[DatasetRow]) -> dict[str, Any]:
    """Photos/s here: decoded and seen, and in a training step (whole network, full size); sizes on
    the way. ``crowded``: other programs had the processor meanwhile."""
    begun, used = time.perf_counter(), time.process_time()
    started = time.perf_counter()
    decoded = decode_some(runtime, rows)
    decoding = time.perf_counter() - started
    sides = [min(photo.width, photo.height) for photo in decoded]
    # the first pass sets things up
    runtime.extract_features(decoded[:2])
    passes = []
    for _ in range(2):
        started = time.perf_counter()
        runtime.extract_features(decoded)
        passes.append(time.perf_counter() - started)
    step = _step_seconds(runtime, decoded)
    share = (time.process_time() - used) / (time.perf_counter() - begun)
    return {
        "forward_per_s": len(decoded) / (decoding + min(passes)),
        "training_per_s": len(decoded) / (step + decoding),
        "crowded": runtime.device == "cpu" and share < _QUIET,
        "short_side_px": {
            "min": min(sides),
            "median": float(np.median(sides)),
            "max": max(sides),
            "of": len(sides),
        },
    }


def decode_some(runtime: TorchRuntime, rows: Sequence[DatasetRow]) -> list[Photo]:
    """Decode a few photos spread over ``rows``. Raises ``BadDataError`` where none can be read."""
    some = rows[:: max(len(rows) // _TIMED, 1)][:_TIMED]
    decoded = []
    for row, photo in decode_all(some, _read, shrink_to=runtime.shrink_to):
        if isinstance(photo, Photo):
            decoded.append(photo)
        elif not isinstance(photo, CatalensError):
            raise BadDataError(f"{row.image} cannot be read")
    if not decoded:
        raise BadDataError(f"{rows[0].image} and others cannot be read: no photo to measure with")
    return decoded


def _step_seconds(runtime: TorchRuntime, photos: Sequence[Photo]) -> float:
    """Measure the seconds of one training step of the whole network on ``photos``."""
    spec = runtime.spec.preprocess
    network = backbones.build(runtime.spec.backbone, random=True).to(runtime.device)
    batch = to_batch(photos_to_pixels(photos, spec), spec, runtime.device)
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
    return min(times)


def _read(row: DatasetRow) -> bytes:
    return read_photo(row.image)


def _duplicates(features: Features) -> dict[str, int]:
    """Count the exact copies among the photos, and how many of them link two products."""
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
    path, largest = counts.most_common(1)[0]
    return {
        "count": len(counts),
        "smallest": min(sizes),
        "median": float(np.median(sizes)),
        "largest": largest,
        "largest_is": format_path(path),
        "with_one_photo": sizes.count(1),
    }


def _time(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 100 else f"{seconds / 60:.0f} min"
