"""``train``: DATA -> a model folder."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from indexer.catalog.dataset import Skipped
from indexer.classification.open_set import fit_unknown
from indexer.core.errors import BadRequestError
from indexer.model import backbones
from indexer.model.bundle import check_out, load_bundle, write_bundle
from indexer.model.decision_layer import Decision
from indexer.model.network import Neck, Network
from indexer.model.spec import ModelSpec
from indexer.model.torch_runtime import TorchRuntime, choose_device
from indexer.training.augmentation import without_margin
from indexer.training.block_weights import choose_weights
from indexer.training.distributed import ALONE, Team
from indexer.training.feature_cache import OnCached
from indexer.training.finetune import FinetuneOptions, finetune
from indexer.training.label_errors import LabelIssue
from indexer.training.linear import LABEL_SMOOTHING, FittedModel, fit, linear_spec, reweigh
from indexer.training.problem import read_problem
from indexer.training.tag_samples import fit_tags, sample_of, tag_columns, tags_by_head
from indexer.training.targets import CATEGORY
from indexer.training.training_set import TrainingSet, load_training_set


@dataclass(frozen=True)
class Budget:
    """A recipe's own numbers, where the caller gives none."""

    epochs: int
    lr: float
    batch_size: int


RECIPES = {"linear": Budget(20, 4e-3, 384), "finetune": Budget(12, 1e-3, 32)}
_MOST = 3  # times the epochs of ``linear``, for catalogs with many attributes


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
    label_issues: list[LabelIssue] = field(
        default_factory=list
    )  # photos that probably carry a wrong category

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
    progress: OnCached | None = None,
    parts: FinetuneOptions | None = None,
    team: Team = ALONE,
) -> TrainReport:
    """Train on the train photos of ``data``, choose on its validation photos, write the model
    folder ``out``.

    ``epochs``, ``lr`` and ``batch_size`` are those of the recipe (``RECIPES``) unless given.
    ``unfreeze`` (stages from the top) and ``resume`` (after the last epoch of a killed run to the
    same ``out``) are for ``finetune``, which starts from a ``linear`` fit; ``parts`` (for
    ablations) are what it is made of. Of a ``team`` of processes all call this alike and share the
    fine-tuning; the first one writes. Test photos are not read. Raises ``BadDataError``,
    ``TrainingError``, ``WeightsUnavailableError``, ``BadModelError`` (``out`` exists and is no
    model).
    """
    started = time.perf_counter()
    if recipe not in RECIPES:
        raise BadRequestError(f"unknown recipe {recipe!r}; offered: {', '.join(RECIPES)}")
    given: dict[str, Any] = {"epochs": epochs, "lr": lr, "batch_size": batch_size}
    for name, value in given.items():
        if value is not None and not value > 0:
            raise BadRequestError(f"{name} must be above 0, not {value}")
    budget = replace(
        RECIPES[recipe], **{name: value for name, value in given.items() if value is not None}
    )
    device = choose_device(team.device or device)
    check_out(out, replace=True)
    problem = read_problem(data, seed)
    found = backbones.find(backbone)
    network = Network(linear_spec(found, (), 1), backbones.build(backbone, weights=weights))
    common: dict[str, Any] = {"seed": seed, "cache": cache, "progress": progress, "team": team}
    material = load_training_set(problem, data, TorchRuntime(network, device=device), **common)
    features_at = time.perf_counter()
    spec = linear_spec(found, material.targets, int((material.split == "train").sum()))
    first = budget if recipe == "linear" else RECIPES["linear"]
    if recipe == "finetune" or epochs is None:
        first = scale_epochs(first, spec)
    if recipe == "linear":
        budget = first
    fitted = _fit(spec, material, first, seed, progress)
    checkpoint = out.absolute().with_name(f".{out.name}.checkpoint")
    if recipe == "finetune":
        if (
            material.targets
        ):  # labels bend the network to the other scale; block g alone stays as it was fitted
            spec = replace(spec, preprocess=without_margin(spec.preprocess))
            fitted = replace(fitted, spec=spec)
        network = assemble_network(fitted, network.backbone)
        if not resume:
            checkpoint.unlink(missing_ok=True)
        fitted = finetune(
            network,
            fitted,
            material.features.rows,
            material.described,
            material.targets,
            material.train,
            material.held,
            **asdict(budget),
            seed=seed,
            unfreeze=unfreeze,
            device=device,
            checkpoint=checkpoint,
            progress=progress,
            parts=parts,
            team=team,
        )
        network = assemble_network(fitted, network.backbone)
        material = material.seen_by(TorchRuntime(network, device=device), **common)
        fitted = _fitted_again(
            fitted, _fit(spec, material, first, seed, progress, general=fitted.neck)
        )
    blocks, pixels = fitted.blocks(material.described), material.features.pixels
    weights_found = choose_weights(
        blocks, material.targets, material.train, material.held, pixels, material.again(fitted)
    )
    if weights_found is not None:
        fitted = reweigh(fitted, weights_found)
    network = assemble_network(fitted, network.backbone)
    decision, tags_f1 = _decide(material, fitted, TorchRuntime(network, device=device), seed)
    best = fitted.history[fitted.best_epoch - 1]
    validation = {
        "accuracy": best["validation_accuracy"],
        "nll": best["validation_nll"],
        "heads": best["validation_heads"],
        "tags_f1": tags_f1,
    }
    counts = {name: int((material.split == name).sum()) for name in ("train", "validation")}
    with team.first() as writes:
        if writes:
            write_bundle(
                out,
                network,
                decision,
                metrics={
                    "validation": validation,
                    "history": fitted.history,
                    "best_epoch": fitted.best_epoch,
                },
                training={
                    "recipe": recipe,
                    "seed": seed,
                    **asdict(budget),
                    "unfreeze": unfreeze,
                    "weights": None if weights is None else weights.name,
                    "photos": counts,
                },
                replace=True,
            )
            checkpoint.unlink(missing_ok=True)
    bundle = load_bundle(out)
    done = time.perf_counter()
    return TrainReport(
        model=str(bundle.path),
        model_version=bundle.model_version,
        embedding_id=bundle.embedding_id,
        photos=counts,
        categories=len(material.categories),
        validation=validation,
        best_epoch=fitted.best_epoch,
        seconds={
            "features": features_at - started,
            "fit": done - features_at,
            "total": done - started,
        },
        notes=material.notes,
        skipped=[*problem.dataset.skipped, *material.features.skipped],
        label_issues=material.issues,
    )


def scale_epochs(budget: Budget, spec: ModelSpec) -> Budget:
    """More heads learn more: each after the first adds a quarter of the epochs, up to ``_MOST``
    times as many."""
    times = min(1 + (max(len(spec.heads), 1) - 1) / 4, _MOST)
    return replace(budget, epochs=round(budget.epochs * times))


def _fit(
    spec: ModelSpec,
    material: TrainingSet,
    budget: Budget,
    seed: int,
    progress: OnCached | None,
    *,
    general: Neck | None = None,
) -> FittedModel:
    return fit(
        spec,
        material.described,
        material.targets,
        material.train,
        material.held,
        **asdict(budget),
        seed=seed,
        pairs=material.pairs,
        general=general,
        progress=progress,
    )


def _fitted_again(tuned: FittedModel, again: FittedModel) -> FittedModel:
    """Neck and heads fine-tuned with the backbone, or fitted once more on what it then saw: what
    validation prefers."""
    if tuned.judged is None or again.judged is None or again.judged <= tuned.judged:
        return tuned
    return replace(
        again,
        history=[*tuned.history, *again.history],
        best_epoch=len(tuned.history) + again.best_epoch,
    )


def _decide(
    material: TrainingSet, fitted: FittedModel, runtime: TorchRuntime, seed: int
) -> tuple[Decision, float | None]:
    """The decision layer, chosen on validation photos, and its tags' micro-F1 there."""
    checked, learned = (
        material.photos(name, runtime.embed_features) for name in ("validation", "train")
    )
    of_train, of_held = (material.split == name for name in ("train", "validation"))
    tag_heads = tags_by_head(
        learned.rows,
        [replace(target, columns=target.columns[of_train]) for target in material.targets],
    )
    logits = runtime.logits(checked.vectors)
    tag_rule, tags_f1 = fit_tags(
        sample_of(
            checked, learned, fitted.spec.blocks, logits=logits, tag_heads=tag_heads, fitting=True
        ),
        tag_columns(learned.rows),
    )
    unknown = None
    if material.categories:
        known_train, known_held = material.category[of_train], material.category[of_held]
        unknown = fit_unknown(
            learned.vectors[known_train >= 0],
            known_train[known_train >= 0],
            checked.vectors[known_held >= 0],
            logits[CATEGORY][known_held >= 0],
            general=fitted.spec.columns("g"),
            seed=seed,
        )
    decision = Decision(
        categories=material.categories,
        temperature=fitted.temperature,
        smoothing=LABEL_SMOOTHING,
        tag_rule=tag_rule,
        tag_heads=tag_heads,
        unknown=unknown,
        attributes={
            target.name: target.values for target in material.targets if target.name != CATEGORY
        },
    )
    return decision, tags_f1


def assemble_network(fitted: FittedModel, backbone: Any) -> Network:
    """The whole network of what was fitted."""
    network = Network(fitted.spec, backbone)
    network.neck.load_state_dict(fitted.neck.state_dict())
    network.heads.load_state_dict(fitted.heads.state_dict())
    return network
