"""Training: DATA -> a model folder."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from indexer.core.progress import OnStage, no_progress
from indexer.core.vectors import unit_rows
from indexer.feeds.notice import Notice
from indexer.model import backbones
from indexer.model.bundle import Bundle, check_out, load_bundle, write_bundle
from indexer.model.decision_layer import Decision
from indexer.model.joint_text import TextTowerFiles, read_text_tower
from indexer.model.network import Neck, Network
from indexer.model.preprocessing import with_look
from indexer.model.spec import ModelSpec, Preprocess
from indexer.model.torch_runtime import TorchRuntime, choose_device
from indexer.training.block_weights import choose_weights
from indexer.training.colour_column import colour_statistics_for
from indexer.training.decision_fit import fit_decision
from indexer.training.distributed import ALONE, TrainingProcesses
from indexer.training.finetune import checkpoint_file, finetune_within_memory
from indexer.training.label_calibration import calibrate_labels
from indexer.training.label_errors import LabelIssue
from indexer.training.linear import (
    FittedModel,
    fit,
    head_logits,
    judged_again,
    linear_spec,
    set_block_weights,
)
from indexer.training.look import (
    LookChoice,
    choose_look,
    choose_tuned_look,
    look_notes,
    shown_by,
    take_look,
)
from indexer.training.options import RECIPES, Schedule, TrainingOptions
from indexer.training.problem import SPLIT_RULE, TrainingProblem, read_problem
from indexer.training.targets import colour_target
from indexer.training.training_set import TrainingSet, load_training_set

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
    # what of a photo the network is shown
    look: str
    seconds: dict[str, float]
    notes: list[str]
    skipped: list[Notice] = field(default_factory=list)
    # photos that probably carry a wrong category
    label_issues: list[LabelIssue] = field(default_factory=list)
    # photos that look like another category, as some right ones do
    label_doubts: list[LabelIssue] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class _Stage:
    """What one stage of a training hands to the next."""

    network: Network
    photos: TrainingSet  # with the features of ``network``'s backbone
    fitted: FittedModel
    look: LookChoice


def train(
    data: Path,
    out: Path,
    options: TrainingOptions | None = None,
    *,
    progress: OnStage = no_progress,
    team: TrainingProcesses = ALONE,
) -> TrainReport:
    """Train on the train photos of ``data``, choose on its validation photos, write the model
    folder ``out``.

    The recipe ``finetune`` starts from a ``linear`` fit. Of a ``team`` of processes all call this
    alike and share the fine-tuning; the first one writes. Test photos are not read. Raises
    ``BadDataError``, ``TrainingError``, ``WeightsUnavailableError``, ``BadModelError`` (``out``
    exists and is no model).
    """
    started = time.perf_counter()
    options = options or TrainingOptions()
    options = replace(options, device=choose_device(team.device or options.device))
    check_out(out, replace=True)
    problem = read_problem(data, options.seed)
    start = _pretrained(options, colour_statistics_for(problem.dataset.types))
    backbone, network = start.backbone, start.network
    look = choose_look(problem, network, options, progress=progress, team=team)
    take_look(network, backbone, look.look)
    photos = load_training_set(
        problem,
        data,
        TorchRuntime(network, device=options.device),
        options,
        progress=progress,
        team=team,
    )
    features_at = time.perf_counter()
    count = int((photos.split == "train").sum())
    spec = linear_spec(backbone, photos.targets, count, photos.labels)
    spec = spec.with_colours(network.spec.colours)
    spec = spec.with_preprocess(network.spec.preprocess)
    linear, schedule = _schedules(options, spec)
    fitted = _fit(spec, photos, linear, options, progress)
    stage = _Stage(network, photos, fitted, look)
    checkpoint = checkpoint_file(out)
    if options.recipe == "finetune":
        stage = _fine_tune(stage, linear, options, checkpoint, progress, team)
    fitted = _calibrated(_weigh_blocks(stage), stage.photos)
    network = assemble_network(fitted, stage.network.backbone)
    runtime = TorchRuntime(network, device=options.device)
    decision, tags_f1 = fit_decision(stage.photos, fitted, runtime, options.seed)
    validation = _validation(fitted, tags_f1)
    with team.first() as writes:
        if writes:
            made_by = _made_by(options, schedule, start, photos, stage.photos)
            made_by["look"] = replace(stage.look, look=network.spec.preprocess.look).to_json()
            _write(out, network, decision, fitted, validation, made_by, start.text)
            if not options.keep_checkpoint:
                checkpoint.unlink(missing_ok=True)
    bundle = load_bundle(out)
    seconds = _seconds(started, features_at)
    return _report(bundle, problem, stage.photos, fitted, validation, seconds, start.notes)


@dataclass(frozen=True)
class _Start:
    """What a training begins with: the pretrained network, and where its weights are of."""

    backbone: backbones.Backbone
    network: Network
    origin: backbones.WeightsOrigin | None
    # of the network's own pair
    text: TextTowerFiles | None
    notes: tuple[str, ...] = ()


def _pretrained(options: TrainingOptions, colours: int) -> _Start:
    backbone = backbones.find(options.backbone, weights=options.weights)
    built = backbones.build(backbone.name, weights=options.weights)
    origin = backbones.weights_origin(backbone, options.weights)
    text = None
    notes: tuple[str, ...] = ()
    if backbone.joint and options.text_tower:
        text = read_text_tower(backbone, options.weights)
        if text is None:
            notes = ("the weights hold an image tower alone: words are not read by the model",)
    if text is None:
        backbone = replace(backbone, joint=False)
    network = Network(linear_spec(backbone, (), 1).with_colours(colours), built)
    return _Start(backbone, network, origin, text, notes)


def _text_tower(start: _Start, before: TrainingSet, after: TrainingSet) -> dict[str, float]:
    """How near the features stayed to the space of the text tower: their mean cosine."""
    width = start.backbone.feature_dim
    rows = [unit_rows(np.asarray(one.features[:, :width], np.float32)) for one in (before, after)]
    return {"kept_cosine": float((rows[0] * rows[1]).sum(1).mean())}


def _seconds(started: float, features_at: float) -> dict[str, float]:
    done = time.perf_counter()
    return {
        "features": features_at - started,
        "fit": done - features_at,
        "total": done - started,
    }


def scale_epochs(schedule: Schedule, spec: ModelSpec) -> Schedule:
    """Scale epochs with the heads: a quarter more for each after the first.

    Up to ``_MOST`` times as many.
    """
    times = min(1 + (max(len(spec.heads), 1) - 1) / 4, _MOST)
    return replace(schedule, epochs=round(schedule.epochs * times))


def assemble_network(fitted: FittedModel, backbone: Any) -> Network:
    """Assemble the whole network of what was fitted."""
    network = Network(fitted.spec, backbone)
    network.neck.load_state_dict(fitted.neck.state_dict())
    network.heads.load_state_dict(fitted.heads.state_dict())
    return network


def _schedules(options: TrainingOptions, spec: ModelSpec) -> tuple[Schedule, Schedule]:
    """Choose the schedules of the linear fit and of the recipe; given epochs are not scaled."""
    if options.recipe == "finetune":
        return scale_epochs(RECIPES["linear"], spec), options.schedule
    schedule = options.schedule
    if options.epochs is None:
        schedule = scale_epochs(schedule, spec)
    return schedule, schedule


def _fit(
    spec: ModelSpec,
    photos: TrainingSet,
    schedule: Schedule,
    options: TrainingOptions,
    progress: OnStage,
    *,
    general: Neck | None = None,
) -> FittedModel:
    """Fit neck and heads as the options say; block g is that of ``general`` where it is given."""
    return fit(
        spec,
        photos.examples,
        schedule,
        seed=options.seed,
        options=options.linear,
        measure=options.measure,
        general=general,
        progress=progress,
    )


def _fine_tune(
    stage: _Stage,
    linear: Schedule,
    options: TrainingOptions,
    checkpoint: Path,
    progress: OnStage,
    team: TrainingProcesses,
) -> _Stage:
    """Fine-tune the backbone, choose what it is shown, then fit neck and heads once more on its
    features."""
    labelled = bool(stage.photos.targets or stage.photos.labels)
    square = _square(stage.fitted.spec.preprocess, options.look, labelled)
    fitted = replace(stage.fitted, spec=stage.fitted.spec.with_preprocess(square))
    network = assemble_network(fitted, stage.network.backbone)
    if not options.resume:
        checkpoint.unlink(missing_ok=True)
    tuned = finetune_within_memory(
        network,
        fitted,
        stage.photos.extracted.rows,
        stage.photos.examples,
        options,
        checkpoint=checkpoint,
        progress=progress,
        team=team,
    )
    network = assemble_network(tuned, network.backbone)
    with team.first():
        judges = np.flatnonzero(stage.photos.validation_mask & (stage.photos.category >= 0))
        rows = [stage.photos.extracted.rows[place] for place in judges.tolist()]
        labels = stage.photos.category[judges]
        look = choose_tuned_look(rows, labels, network, options, progress=progress)
    preprocess = with_look(square, look.look)
    network = shown_by(network, preprocess)
    tuned = replace(tuned, spec=network.spec, neck=network.neck, heads=network.heads)
    runtime = TorchRuntime(network, device=options.device)
    photos = stage.photos.with_backbone(runtime, options, progress=progress, team=team)
    if preprocess != square:
        tuned = judged_again(tuned, photos.examples)
    again = _fit(network.spec, photos, linear, options, progress, general=tuned.neck)
    return _Stage(network, photos, _better(tuned, again), look)


def _square(preprocess: Preprocess, look: str, labelled: bool) -> Preprocess:
    """Return what is trained on: the whole middle square, or its inner part.

    Supervised fine-tuning adapts to full-scale crops; unsupervised ``g`` keeps its scale.
    """
    square = replace(preprocess, shapes=(), both=False)
    return with_look(square, "whole") if labelled and look != "crop" else square


def _better(tuned: FittedModel, again: FittedModel) -> FittedModel:
    """Choose what validation prefers: neck and heads fine-tuned, or fitted once more."""
    if tuned.rank is None or again.rank is None or again.rank <= tuned.rank:
        return tuned
    return replace(
        again,
        history=[*tuned.history, *again.history],
        best_epoch=len(tuned.history) + again.best_epoch,
    )


def _weigh_blocks(stage: _Stage) -> FittedModel:
    """Set the block weights that validation prefers."""
    photos = stage.photos
    fitted = stage.fitted
    weights = choose_weights(
        fitted.blocks(photos.features),
        photos.targets,
        photos.train_mask,
        photos.validation_mask,
        photos.extracted.pixels,
        photos.recapture_queries(fitted),
    )
    return fitted if weights is None else set_block_weights(fitted, weights)


def _calibrated(fitted: FittedModel, photos: TrainingSet) -> FittedModel:
    """Make what the heads of several labels say probabilities, by validation photos."""
    if not photos.labels or not photos.validation_mask.any():
        return fitted
    logits = head_logits(fitted, photos.features[photos.validation_mask])
    return calibrate_labels(fitted, logits, photos.labels, photos.validation_mask)


def _validation(fitted: FittedModel, tags_f1: float | None) -> dict[str, Any]:
    best = fitted.history[fitted.best_epoch - 1]
    return {
        "accuracy": best["validation_accuracy"],
        "nll": best["validation_nll"],
        "heads": best["validation_heads"],
        "tags_f1": tags_f1,
    }


def _made_by(
    options: TrainingOptions,
    schedule: Schedule,
    start: _Start,
    photos: TrainingSet,
    tuned: TrainingSet,
) -> dict[str, Any]:
    """Describe how the model was made, for ``training.json``.

    ``tuned``: the photos with the features of the backbone as it is served.
    """
    colour = colour_target(photos.targets)
    text = {} if start.text is None else {"text_tower": _text_tower(start, photos, tuned)}
    return {
        **text,
        "recipe": options.recipe,
        "seed": options.seed,
        **asdict(schedule),
        "unfreeze": options.unfreeze,
        # its switches, by which one fine-tuning is told from another
        "finetuning": asdict(options.finetuning) if options.recipe == "finetune" else None,
        "measure": options.measure,
        "teacher": asdict(options.teacher) if options.teacher.any else None,
        "weights": None if options.weights is None else options.weights.name,
        "weights_origin": None if start.origin is None else asdict(start.origin),
        "split": SPLIT_RULE,
        "photos": photos.counts,
        "colour_attribute": None if colour is None else colour.name,
    }


def _write(
    out: Path,
    network: Network,
    decision: Decision,
    fitted: FittedModel,
    validation: dict[str, Any],
    made_by: dict[str, Any],
    text: TextTowerFiles | None,
) -> None:
    write_bundle(
        out,
        network,
        decision,
        metrics={
            "validation": validation,
            "history": fitted.history,
            "best_epoch": fitted.best_epoch,
        },
        training=made_by,
        replace=True,
        add_files=None if text is None else text.write,
    )


def _report(
    bundle: Bundle,
    problem: TrainingProblem,
    photos: TrainingSet,
    fitted: FittedModel,
    validation: dict[str, Any],
    seconds: dict[str, float],
    notes: tuple[str, ...],
) -> TrainReport:
    return TrainReport(
        model=str(bundle.path),
        model_version=bundle.model_version,
        embedding_id=bundle.embedding_id,
        photos=photos.counts,
        categories=len(photos.categories),
        validation=validation,
        best_epoch=fitted.best_epoch,
        look=bundle.spec.preprocess.look,
        seconds=seconds,
        notes=[*notes, *photos.notes, *look_notes(bundle.training["look"])],
        skipped=[*problem.dataset.skipped, *photos.extracted.skipped],
        label_issues=photos.checked.issues,
        label_doubts=photos.checked.doubts,
    )
