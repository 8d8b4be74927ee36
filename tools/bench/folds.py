"""Benchmark ``folds``: recipes judged on all train and validation photos, each held out once.

Five folds; products and near-duplicates stand together, kinds are spread evenly. In each fold a
tenth of the photos is for validation, and the model is made by ``train``. Test photos are not read.

``CATALENS_BENCH_VARIANTS``: names in ``VARIANTS`` or ``FINETUNE_VARIANTS``, joined by commas
(``base``). ``CATALENS_BENCH_SEEDS``: seeds (3, of ``finetune`` 1). ``CATALENS_BENCH_FOLDS``: only
the first so many of the five. ``CATALENS_BENCH_PHOTOS``: whole groups until so many photos (0:
all). ``CATALENS_BENCH_RECAPTURES``: held-out photos of a fold that are taken again (0).
``CATALENS_BENCH_BEFORE``: the JSON document of the same command at another commit, to compare with.
``CATALENS_BENCH_SIZES`` (100,200,300,1200,0) and ``CATALENS_BENCH_DRAWS`` (5): of ``curve`` and, as
photos of each kind (5,12), of ``vote``: the nearest train photos vote on the category beside the
head. ``labels``: tags that no column holds, by votes, by their head and by both.

Variants of ``finetune`` that only choose among the epochs of one training (``last``, ``uniform``,
``greedy``, ``macro``) share it: it is run once.

With ``--work`` every fold that is finished is kept, and a run that was stopped goes on behind it,
as long as the code of recipes and networks is the same.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from indexer.core.atomic_files import written_aside
from indexer.core.errors import BadDataError, BadRequestError
from indexer.model.bundle import load_bundle
from indexer.model.feature_store import cache_file, default_cache, features_id
from indexer.model.torch_runtime import TorchRuntime
from indexer.training.contrastive_loss import ContrastiveLosses
from indexer.training.finetune import checkpoint_file
from indexer.training.options import (
    ACCURACY,
    BEST,
    GREEDY,
    LAST,
    MACRO_F1,
    UNIFORM,
    FinetuneOptions,
    LinearOptions,
    TeacherOptions,
    TrainingOptions,
)
from indexer.training.problem import read_problem
from indexer.training.train import TrainReport, train
from tools.bench.data.fold_split import (
    FOLDS,
    FoldData,
    photo_keys,
    read_folds,
    thin_to_tail,
    write_manifest,
)
from tools.bench.harness.framework import BenchRow, Goal, knob, real_data
from tools.bench.parts.fold_outcomes import Outcomes, difference, figures, merged, outcomes_of
from tools.bench.parts.label_folds import joined_tags, measure_labels
from tools.bench.parts.neighbour_vote import measure_vote
from tools.output import log

PARTS = (
    "clothing-linear",
    "fashion-linear",
    "tail-linear",
    "curve",
    "vote",
    "labels",
    "clothing-finetune",
    "fashion-finetune",
)
BASE = "base"
_LARGER = ("efficientnet_lite1", "efficientnet_lite2")
# labels softened by probes: of the own features, of those and larger networks', where they doubt a
# label or everywhere
_TAUGHT = {
    "softened-own": TrainingOptions(teacher=TeacherOptions(doubted=0.5)),
    "softened": TrainingOptions(teacher=TeacherOptions(_LARGER, doubted=0.5)),
    "taught": TrainingOptions(teacher=TeacherOptions(_LARGER, doubted=0.5, agreed=0.5)),
    "taught-warm": TrainingOptions(
        teacher=TeacherOptions(_LARGER, doubted=0.5, agreed=0.5, temperature=2.0)
    ),
}
VARIANTS: dict[str, TrainingOptions] = {
    BASE: TrainingOptions(),
    "no-mixed-features": TrainingOptions(linear=LinearOptions(mixed=0.0)),
    "no-contrastive-losses": TrainingOptions(
        linear=LinearOptions(contrastive=ContrastiveLosses(0.0, 0.0, 0.0, 0.0))
    ),
    "epochs-40": TrainingOptions(epochs=40),
    "rate-2e-3": TrainingOptions(lr=2e-3),
    "batch-32": TrainingOptions(batch_size=32),
    "crop": TrainingOptions(look="crop"),
    "whole": TrainingOptions(look="whole"),
    "rect": TrainingOptions(look="rect"),
    "both": TrainingOptions(look="both"),
    "adjusted": TrainingOptions(linear=LinearOptions(adjustment=1.0)),
    "heads-alone": TrainingOptions(linear=LinearOptions(shaping=0.0)),
    "recaptured-colours": TrainingOptions(linear=LinearOptions(recaptured=0.5)),
    "macro": TrainingOptions(measure=MACRO_F1),
    **_TAUGHT,
    "lite1": TrainingOptions(backbone="efficientnet_lite1"),
    "lite2": TrainingOptions(backbone="efficientnet_lite2"),
}
# last quarter of the epochs at the served size
_LAST_FULL = ((0.5, 5 / 7), (0.75, 6 / 7), (1.0, 1.0))
_ALIKE: dict[str, Any] = {"contrastive": ContrastiveLosses(), "memory": 1024, "alike": 4}
FINETUNE_VARIANTS: dict[str, TrainingOptions] = {
    BASE: TrainingOptions(),
    "no-dropout": TrainingOptions(finetuning=FinetuneOptions(dropout=0.0)),
    "full-size": TrainingOptions(finetuning=FinetuneOptions(sizes=((1.0, 1.0),))),
    "last-full-size": TrainingOptions(finetuning=FinetuneOptions(sizes=_LAST_FULL)),
    "upper-stages": TrainingOptions(unfreeze=6),
    "contrastive": TrainingOptions(finetuning=FinetuneOptions(**_ALIKE)),
    "framed": TrainingOptions(finetuning=FinetuneOptions(framed=0.5)),
    "both": TrainingOptions(look="both"),
    "rect": TrainingOptions(look="rect"),
    "adjusted": TrainingOptions(finetuning=FinetuneOptions(adjustment=1.0)),
    # of the weights of one training, which is not run again
    "macro": TrainingOptions(measure=MACRO_F1),
    "last": TrainingOptions(finetuning=FinetuneOptions(kept=LAST)),
    "uniform": TrainingOptions(finetuning=FinetuneOptions(kept=UNIFORM)),
    "greedy": TrainingOptions(finetuning=FinetuneOptions(kept=GREEDY)),
    **_TAUGHT,
    "together": TrainingOptions(
        unfreeze=6, finetuning=FinetuneOptions(framed=0.5, sizes=_LAST_FULL, **_ALIKE)
    ),
}
_ROOT = Path(__file__).resolve().parents[2]
# rooms whose code a fold's result depends on
_CODE = ("imaging", "model", "training")


def _gain(part: str, measure: str) -> Callable[[Sequence[BenchRow]], float | None]:
    """A goal's value: the base variant's figure over that of the other commit."""

    def read(rows: Sequence[BenchRow]) -> float | None:
        row = next((row for row in rows if row["part"] == part), {})
        found = row.get("over_before", {}).get(BASE, {}).get(measure)
        return None if found is None else float(found["difference"])

    return read


def _curve_at(size: int) -> Callable[[Sequence[BenchRow]], float | None]:
    """A goal's value: mean validation accuracy of the base variant with so many train photos."""

    def read(rows: Sequence[BenchRow]) -> float | None:
        found = [
            sample["accuracy"]
            for row in rows
            if row["part"] == "curve"
            for sample in row["samples"]
            if sample["photos"] == size and sample["variant"] == BASE
        ]
        return float(np.mean(found)) if found else None

    return read


GOALS = (
    Goal(
        "clothing, linear: accuracy over the commit before",
        ">=",
        0.02,
        _gain("clothing-linear", "accuracy"),
    ),
    Goal(
        "clothing, linear: hit rate@1 over the commit before",
        ">=",
        0.02,
        _gain("clothing-linear", "hit_rate_at_1"),
    ),
    Goal("clothing, 100 train photos: validation accuracy", ">=", 0.76, _curve_at(100)),
    Goal("clothing, 200 train photos: validation accuracy", ">=", 0.80, _curve_at(200)),
    Goal("clothing, 300 train photos: validation accuracy", ">=", 0.82, _curve_at(300)),
)


@dataclass(frozen=True)
class FoldRun:
    """One model to make and judge."""

    variant: str
    options: TrainingOptions
    seed: int
    fold: int


def measure(part: str, work: Path) -> BenchRow:
    """The row of one part."""
    log(f"bench folds: {part}")
    if part == "curve":
        return _curve(work.absolute())
    if part == "vote":
        problem = read_problem(_data("clothing"), 0)
        return measure_vote(
            problem.of("train"),
            problem.of("validation"),
            _sizes([5, 12]),
            knob("DRAWS", 5),
            work.absolute(),
        )
    if part == "labels":
        return _labels(work.absolute())
    return _folds(part, work.absolute())


def _labels(work: Path) -> BenchRow:
    """The row of ``labels``, by the one variant that was asked for."""
    variant = _chosen(VARIANTS)[0]
    data = joined_tags(read_folds(_data("fashion"), photos=knob("PHOTOS", 0)))
    options = VARIANTS[variant]
    made_from = f"{_code_digest()} {data.digest()} {options}"
    key = f"{variant}-{hashlib.sha256(made_from.encode()).hexdigest()[:12]}"
    folds = range(min(knob("FOLDS", FOLDS), FOLDS))
    return {"variant": variant, **measure_labels(data, folds, options, work, key)}


def _folds(part: str, work: Path) -> BenchRow:
    """Each variant with each seed on each fold, its held-out photos against its train photos.

    Figures are means over held-out photos and seeds with 95% intervals (bootstrap by product and
    near-duplicates); differences are paired, over the base variant and over the other commit's
    variant of the same name, with McNemar's exact test of the photos right in most seeds. ``tail``
    is clothing with few train and validation photos of most kinds.
    """
    name, recipe = part.split("-")
    data = read_folds(_data("clothing" if name == "tail" else name), photos=knob("PHOTOS", 0))
    variants = FINETUNE_VARIANTS if recipe == "finetune" else VARIANTS
    seeds = range(knob("SEEDS", 1 if recipe == "finetune" else 3))
    folds = range(min(knob("FOLDS", FOLDS), FOLDS))
    found: dict[str, Outcomes] = {}
    for variant in _chosen(variants):
        runs = [
            FoldRun(variant, replace(variants[variant], recipe=recipe, seed=seed), seed, fold)
            for fold in folds
            for seed in seeds
        ]
        found[variant] = merged([_judged(part, run, data, work) for run in runs])
    row: BenchRow = {
        "recipe": _folds.__doc__,
        "data": name,
        "photos": len(data.rows),
        "groups": len(set(data.group.tolist())),
        "folds": data.digest(),
        "folds_run": len(folds),
        "seeds": list(seeds),
        "code": _code_digest(),
        "figures": {variant: figures(outcomes) for variant, outcomes in found.items()},
        "over_base": {
            variant: difference(found[BASE], outcomes)
            for variant, outcomes in found.items()
            if BASE in found and variant != BASE
        },
        "over_before": _over_before(part, found),
        "outcomes": {variant: outcomes.to_json() for variant, outcomes in found.items()},
    }
    _show(row)
    return row


def _data(name: str) -> Path:
    folder = real_data(name).absolute()
    return folder / "products.csv" if (folder / "products.csv").is_file() else folder


def _chosen(variants: dict[str, TrainingOptions]) -> list[str]:
    """The variants that were asked for. Raises ``BadRequestError`` for one that is not there."""
    names = [name for name in os.environ.get("CATALENS_BENCH_VARIANTS", BASE).split(",") if name]
    for name in names:
        if name not in variants:
            raise BadRequestError(
                f"CATALENS_BENCH_VARIANTS: no variant {name!r}; there are: {', '.join(variants)}"
            )
    return names


def _judged(part: str, run: FoldRun, data: FoldData, work: Path) -> Outcomes:
    """One fold's outcomes: those kept in ``work``, else of a model made here."""
    recaptures = knob("RECAPTURES", 0)
    made_from = f"{_code_digest()} {data.digest()}"
    made = f"{made_from} {replace(run.options, seed=0)} {recaptures}"
    key = hashlib.sha256(made.encode()).hexdigest()[:12]
    folder = work / "folds" / f"{part}-{run.variant}-{key}"
    kept = folder / f"{run.fold}-{run.seed}.json"
    if kept.is_file():
        return Outcomes.from_json(json.loads(kept.read_text(encoding="utf-8")))
    split = data.split(run.fold)
    if part.startswith("tail"):
        thinned = thin_to_tail(data.rows, split, run.fold)
        data, split = data.of(thinned), split[thinned]
    manifest = write_manifest(folder / f"{run.fold}.csv", data.rows, split.tolist())
    model = folder / f"model-{run.fold}-{run.seed}"
    report = _trained(run, manifest, model, work / "folds", made_from)
    bundle = load_bundle(model)
    groups = dict(zip(photo_keys(data.rows), data.group.tolist(), strict=True))
    outcomes = outcomes_of(bundle, manifest, groups, seed=run.seed, recaptures=recaptures)
    if run.options.recipe == "finetune":
        # features of this network serve nobody else
        name = features_id(TorchRuntime(bundle.network()))
        cache_file(default_cache(), name).unlink(missing_ok=True)
    with written_aside(kept) as aside:
        aside.write_text(json.dumps(outcomes.to_json()), encoding="utf-8")
    shutil.rmtree(model)
    mean = np.nanmean(np.array(outcomes.values[str(run.seed)]["accuracy"], float))
    log(
        f"{run.variant}, fold {run.fold + 1}, seed {run.seed}: accuracy {mean:.4f}, "
        f"{report.seconds['total']:.0f} s"
    )
    return outcomes


def _trained(run: FoldRun, manifest: Path, model: Path, kept: Path, made_from: str) -> TrainReport:
    """Train one model; of a fine-tuning that another variant ran already, choose weights only.

    Its epochs lie in ``kept``, by what they were made from.
    """
    if run.options.recipe != "finetune":
        return train(manifest, model, run.options)
    options = replace(run.options, resume=True, keep_checkpoint=True)
    whole = replace(
        run.options, seed=0, measure=ACCURACY, finetuning=replace(run.options.finetuning, kept=BEST)
    )
    key = hashlib.sha256(f"{made_from} {whole}".encode()).hexdigest()[:12]
    epochs = kept / f"epochs-{key}" / f"{run.fold}-{run.seed}.checkpoint"
    checkpoint = checkpoint_file(model)
    if epochs.is_file():
        shutil.copyfile(epochs, checkpoint)
    report = train(manifest, model, options)
    epochs.parent.mkdir(parents=True, exist_ok=True)
    with written_aside(epochs) as aside:
        shutil.copyfile(checkpoint, aside)
    checkpoint.unlink()
    return report


def _over_before(part: str, found: dict[str, Outcomes]) -> dict[str, Any]:
    """Each variant less the one of the same name in the document of another commit.

    Raises ``BadDataError`` where that document is not there or is of something else.
    """
    named = os.environ.get("CATALENS_BENCH_BEFORE")
    if not named:
        return {}
    try:
        rows = json.loads(Path(named).read_text(encoding="utf-8"))["rows"]
        known: dict[str, Any] = next((row["outcomes"] for row in rows if row["part"] == part), {})
        before = {name: Outcomes.from_json(one) for name, one in known.items()}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BadDataError(
            f"CATALENS_BENCH_BEFORE={named} is no document of `catalens bench folds --json`: "
            f"{error!r}"
        ) from error
    return {
        variant: difference(before[variant], outcomes)
        for variant, outcomes in found.items()
        if variant in before
    }


@cache
def _code_digest() -> str:
    """Name the code that makes and runs networks: a fold made by other code is made again."""
    digest = hashlib.sha256()
    for room in _CODE:
        for path in sorted((_ROOT / "indexer" / room).rglob("*.py")):
            digest.update(path.read_bytes())
    return digest.hexdigest()[:12]


def _show(row: BenchRow) -> None:
    """Say what was found, a line for each variant and measure."""
    for variant, measures in row["figures"].items():
        for name, one in measures.items():
            low, high = one["interval"]
            seeds = ", ".join(f"{value:.4f}" for value in one["seeds"])
            log(f"{variant} {name}: {one['value']:.4f} ({low:.4f} to {high:.4f}); seeds {seeds}")
    for title in ("over_base", "over_before"):
        for variant, measures in row[title].items():
            for name, one in measures.items():
                if isinstance(one, dict):
                    low, high = one["interval"]
                    p = f", p {one['p']:.3f}" if "p" in one else ""
                    change = f"{one['difference']:+.4f} ({low:+.4f} to {high:+.4f}){p}"
                    log(f"{title} {variant} {name}: {change}")


def _sizes(usual: list[int]) -> list[int]:
    given = os.environ.get("CATALENS_BENCH_SIZES", "")
    return [int(text) for text in given.split(",") if text] or usual


def _curve(work: Path) -> BenchRow:
    """Clothing with few train photos: draws of them x seeds, accuracy on its validation photos.

    ``linear`` as ``train`` makes it, the epoch chosen on the same validation photos; 0 stands for
    all train photos, one draw.
    """
    data = _data("clothing")
    problem = read_problem(data, 0)
    train_rows, judges = problem.of("train"), problem.of("validation")
    samples = []
    for size in _sizes([100, 200, 300, 1200, 0]):
        for draw in range(knob("DRAWS", 5) if size else 1):
            order = np.random.default_rng(draw).permutation(len(train_rows))
            rows = [train_rows[place] for place in np.sort(order[: size or None])]
            split = ["train"] * len(rows) + ["validation"] * len(judges)
            manifest = write_manifest(work / "curve.csv", [*rows, *judges], split)
            for variant in _chosen(VARIANTS):
                for seed in range(knob("SEEDS", 3)):
                    options = replace(VARIANTS[variant], seed=seed)
                    found = train(manifest, work / "curve-model", options).validation
                    samples.append(
                        {
                            "variant": variant,
                            "photos": size,
                            "draw": draw,
                            "seed": seed,
                            "accuracy": found["accuracy"],
                            "nll": found["nll"],
                        }
                    )
        for variant in _chosen(VARIANTS):
            mine = [one for one in samples if one["photos"] == size and one["variant"] == variant]
            accuracy = np.mean([one["accuracy"] for one in mine])
            nll = np.mean([one["nll"] for one in mine])
            log(f"{variant}, {size or 'all'} photos: accuracy {accuracy:.4f}, NLL {nll:.4f}")
    return {"recipe": _curve.__doc__, "data": "clothing", "samples": samples}
