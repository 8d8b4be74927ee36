"""``train``: DATA -> a model folder."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from indexer.catalog.dataset import Skipped
from indexer.decisions.unknown import fit_unknown
from indexer.errors import BadRequest
from indexer.model import backbones
from indexer.model.bundle import check_out, load_bundle, write_bundle
from indexer.model.decision import Decision
from indexer.model.network import Network
from indexer.model.runtime import TorchRuntime, choose_device
from indexer.training.blocks import Again, choose_weights, instance_rate
from indexer.training.data import categories_of, find_leaks, label_notes, read_problem, require_rows
from indexer.training.distributed import ALONE, Team
from indexer.training.features import Progress, photo_features, reshot_features
from indexer.training.finetune import Parts, finetune
from indexer.training.labels import LabelIssue, issue_notes, label_issues
from indexer.training.linear import PAIRS, Fitted, Pairs, fit, linear_spec, reweigh
from indexer.training.tags import Photos, fit_tags, sample_of, tag_columns, tags_by_head
from indexer.training.targets import CATEGORY, attribute_targets, category_target


@dataclass(frozen=True)
class Budget:
    """A recipe's own numbers, where the caller gives none."""

    epochs: int
    lr: float
    batch_size: int


RECIPES = {"linear": Budget(25, 4e-3, 384), "finetune": Budget(10, 1e-3, 32)}
_HELD_RESHOTS = 200  # validation photos that are looked for by a re-shot, to choose block weights


@dataclass(frozen=True)
class TrainReport:
    """What ``train`` did."""

    model: str
    model_version: str
    embedding_id: str
    photos: dict[str, int]  # split -> photos used
    categories: int
    validation: dict[str, Any]  # accuracy, nll, heads {name: accuracy}, tags_f1
    best_epoch: int
    seconds: dict[str, float]
    notes: list[str]
    skipped: list[Skipped] = field(default_factory=list)
    label_issues: list[LabelIssue] = field(default_factory=list)  # photos that probably carry a wrong category

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def train(
    data: Path,
    out: Path,
    *,
    backbone: str = backbones.DEFAULT_BACKBONE,
    weights: Path | None = None,
    recipe: str = "linear",
    epochs: int | None = None,
    lr: float | None = None,
    batch_size: int | None = None,
    unfreeze: int | None = None,
    resume: bool = False,
    seed: int = 0,
    device: str = "auto",
    cache: Path | None = None,
    progress: Progress | None = None,
    parts: Parts | None = None,
    team: Team = ALONE,
) -> TrainReport:
    """Train on the train photos of ``data``, choose on its validation photos, write the model folder ``out``.

    ``epochs``, ``lr`` and ``batch_size`` are those of the recipe (``RECIPES``) unless given. ``unfreeze`` (stages from
    the top) and ``resume`` (after the last epoch of a killed run to the same ``out``) are for ``finetune``, which
    starts from a ``linear`` fit; ``parts`` (for ablations) are what it is made of. Of a ``team`` of processes all call
    this alike and share the fine-tuning; the first one writes. Test photos are not read. Raises ``BadData``,
    ``TrainingFailed``, ``WeightsUnavailable``, ``BadModel`` (``out`` exists and is no model).
    """
    started = time.perf_counter()
    if recipe not in RECIPES:
        raise BadRequest(f"unknown recipe {recipe!r}; offered: {', '.join(RECIPES)}")
    given: dict[str, Any] = {"epochs": epochs, "lr": lr, "batch_size": batch_size}
    for name, value in given.items():
        if value is not None and not value > 0:
            raise BadRequest(f"{name} must be above 0, not {value}")
    budget = replace(RECIPES[recipe], **{name: value for name, value in given.items() if value is not None})
    first = budget if recipe == "linear" else RECIPES["linear"]
    device = choose_device(team.device or device)
    check_out(out, replace=True)
    problem = read_problem(data, seed)
    categories = categories_of(problem.of("train"))
    notes = [*problem.notes, *label_notes(problem, categories)]
    found = backbones.find(backbone)
    network = Network(linear_spec(found, (), 1), backbones.build(backbone, weights=weights))
    wanted = problem.of("train") + problem.of("validation")
    with team.first():  # the others find its features in the cache
        features = photo_features(wanted, TorchRuntime(network, device=device), cache=cache, progress=progress)
    split = np.array([problem.split[row.product_id] for row in features.rows])
    category = category_target(features.rows, categories)
    leaks = find_leaks(split, features.pixels, category.columns)
    in_train, in_held = split == "train", (split == "validation") & ~leaks.leaked
    drawn = [(in_train, PAIRS), (in_held, _HELD_RESHOTS)]
    with team.first():
        reshots = reshot_features(
            features, TorchRuntime(network, device=device), drawn, seed=seed, cache=cache, progress=progress
        )
    features_at = time.perf_counter()
    named = np.flatnonzero(category.columns >= 0)
    issues = label_issues(
        [features.rows[number] for number in named],
        features.values[named, : found.feature_dim],
        category.columns[named],
        features.pixels[named],
        categories,
    )
    notes += [*leaks.notes, *issue_notes(issues, len(named))]
    described = features.values.astype(np.float32)
    attributes, dropped = attribute_targets(features.rows, described, in_train, in_held, problem.dataset.types)
    notes += dropped
    targets = [category, *attributes]
    labelled = np.logical_or.reduce([target.columns >= 0 for target in targets])
    require_rows(
        [row for row, use in zip(features.rows, in_train & labelled, strict=True) if use], "labelled train", data
    )
    if not (in_held & (category.columns >= 0)).any():
        notes.append("no validation photos: the last epoch is kept, probabilities are not calibrated")
    spec = linear_spec(found, targets, int(in_train.sum()))
    shots = reshots.of(in_train)
    pairs = Pairs(described[shots.places], shots.values)
    shots = reshots.of(in_held)
    width = found.feature_dim
    frozen = 0.0
    if len(shots.places):
        frozen = instance_rate(shots.values[:, :width], described[:, :width], shots.places, features.pixels)
    fitted = fit(
        spec,
        described,
        targets,
        in_train & labelled,
        in_held & labelled,
        epochs=first.epochs,
        lr=first.lr,
        batch_size=first.batch_size,
        seed=seed,
        pairs=pairs,
        progress=progress,
    )
    if recipe == "finetune":
        network = _assembled(fitted, network.backbone)
        checkpoint = out.absolute().with_name(f".{out.name}.checkpoint")
        if not resume:
            checkpoint.unlink(missing_ok=True)
        fitted = finetune(
            network,
            fitted,
            features.rows,
            described,
            targets,
            in_train & labelled,
            in_held & labelled,
            **asdict(budget),
            seed=seed,
            unfreeze=unfreeze,
            device=device,
            checkpoint=checkpoint,
            progress=progress,
            parts=parts,
            team=team,
        )
        network = _assembled(fitted, network.backbone)
        tuned = TorchRuntime(network, device=device)
        with team.first():
            features = photo_features(features.rows, tuned, cache=cache, progress=progress)
            reshots = reshot_features(features, tuned, drawn, seed=seed, cache=cache, progress=progress)
        described = features.values.astype(np.float32)
    shots = reshots.of(in_held)
    again = Again(shots.places, fitted.blocks(shots.values), frozen) if len(shots.places) else None
    chosen_weights = choose_weights(
        fitted.blocks(described), targets, in_train & labelled, in_held & labelled, features.pixels, again
    )
    if chosen_weights is not None:
        fitted = reweigh(fitted, chosen_weights)
    network = _assembled(fitted, network.backbone)
    runtime = TorchRuntime(network, device=device)

    def photos(name: str) -> Photos:
        chosen = np.flatnonzero(split == name)
        return Photos(
            [features.rows[number] for number in chosen],
            runtime.embed_features(described[chosen]),
            features.pixels[chosen],
        )

    checked, learned = photos("validation"), photos("train")
    tag_heads = tags_by_head(learned.rows, [replace(target, columns=target.columns[in_train]) for target in targets])
    tag_rule, tags_f1 = fit_tags(
        sample_of(checked, learned, fitted.spec.blocks, logits=runtime.logits(checked.vectors), tag_heads=tag_heads),
        tag_columns(learned.rows),
    )
    known_train, known_held = (category.columns[split == name] for name in ("train", "validation"))
    unknown = fit_unknown(
        learned.vectors[known_train >= 0],
        known_train[known_train >= 0],
        checked.vectors[known_held >= 0],
        runtime.logits(checked.vectors[known_held >= 0])[CATEGORY],
        general=fitted.spec.columns("g"),
        seed=seed,
    )
    best = fitted.history[fitted.best_epoch - 1]
    validation = {
        "accuracy": best["validation_accuracy"],
        "nll": best["validation_nll"],
        "heads": best["validation_heads"],
        "tags_f1": tags_f1,
    }
    with team.first() as writes:
        bundle = (
            load_bundle(out)
            if not writes
            else write_bundle(
                out,
                network,
                Decision(
                    categories=categories,
                    temperature=fitted.temperature,
                    tag_rule=tag_rule,
                    tag_heads=tag_heads,
                    unknown=unknown,
                    attributes={target.name: target.values for target in attributes},
                ),
                metrics={"validation": validation, "history": fitted.history, "best_epoch": fitted.best_epoch},
                training={
                    "recipe": recipe,
                    "seed": seed,
                    **asdict(budget),
                    "unfreeze": unfreeze,
                    "weights": None if weights is None else weights.name,
                    "photos": {name: int((split == name).sum()) for name in ("train", "validation")},
                },
                replace=True,
            )
        )
    if recipe == "finetune":
        checkpoint.unlink(missing_ok=True)
    done = time.perf_counter()
    return TrainReport(
        model=str(bundle.path),
        model_version=bundle.model_version,
        embedding_id=bundle.embedding_id,
        photos=dict(bundle.training["photos"]),
        categories=len(categories),
        validation=validation,
        best_epoch=fitted.best_epoch,
        seconds={"features": features_at - started, "fit": done - features_at, "total": done - started},
        notes=notes,
        skipped=[*problem.dataset.skipped, *features.skipped],
        label_issues=issues,
    )


def _assembled(fitted: Fitted, backbone: Any) -> Network:
    network = Network(fitted.spec, backbone)
    network.neck.load_state_dict(fitted.neck.state_dict())
    network.heads.load_state_dict(fitted.heads.state_dict())
    return network
