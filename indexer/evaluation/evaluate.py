"""Evaluation of a model on held-out photos: every figure, with 95% intervals."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from indexer.classification.ranking import category_logits
from indexer.core.category_path import format_path
from indexer.core.errors import BadRequestError, WeightsUnavailableError
from indexer.core.progress import OnStage, no_progress
from indexer.core.vectors import unit_rows
from indexer.evaluation.classification_metrics import (
    attribute_head_figures,
    category_figures,
    classify,
)
from indexer.evaluation.label_metrics import label_figures
from indexer.evaluation.results import (
    FEW_PHOTOS,
    Classified,
    EvaluationResults,
    FigureGroup,
    Nearest,
)
from indexer.evaluation.retrieval_metrics import instance_figures, retrieval_figures
from indexer.evaluation.tag_metrics import tag_figures
from indexer.feeds.dataset import SPLITS
from indexer.model.backbones import build
from indexer.model.bundle import Bundle, load_bundle
from indexer.model.decision_layer import Decision
from indexer.model.network import Network
from indexer.model.open_runtime import open_embedder
from indexer.model.runtime_base import Runtime
from indexer.model.torch_runtime import TorchRuntime
from indexer.training.feature_cache import Features, photo_features
from indexer.training.problem import (
    ALL,
    Leaks,
    TrainingProblem,
    find_leaks,
    read_trained,
    read_whole,
    require_rows,
)
from indexer.training.tag_samples import TaggedPhotos


def evaluate(
    model: Path,
    data: Path,
    *,
    split: str = "test",
    device: str = "auto",
    cache: Path | None = None,
    progress: OnStage = no_progress,
) -> dict[str, Any]:
    """All figures of ``model`` on one split of ``data``; what the data or the model cannot give is
    None.

    Queries are the photos of ``split``, the gallery is the train photos, those that training set
    aside among them. Of ``split`` "all" every photo is a query and searched among those of other
    products. Raises ``BadModelError``, ``BadDataError``.
    """
    return measure(model, data, split=split, device=device, cache=cache, progress=progress).figures


def measure(
    model: Path,
    data: Path,
    *,
    split: str = "test",
    device: str = "auto",
    cache: Path | None = None,
    progress: OnStage = no_progress,
) -> EvaluationResults:
    """``evaluate`` with all that its figures come from, for a report."""
    if split not in (*SPLITS, ALL):
        raise BadRequestError(f"unknown split {split!r}: use {', '.join((*SPLITS, ALL))}")
    bundle = load_bundle(model)
    embedder = open_embedder(bundle, device=device)
    problem = read_whole(data) if split == ALL else read_trained(data, bundle.training)
    photos = _load_photos(problem, data, split, embedder, cache, progress)
    queries = photos.sets[split]
    logits = embedder.logits(queries.vectors)
    classified = _classify(bundle, logits, photos)
    retrieval, nearest = _retrieval(bundle, problem, queries, photos.gallery)
    leaked = photos.leaks.leaked[photos.masks[split]]
    heads = attribute_head_figures(bundle, logits, queries, leaked=leaked)
    for name, found in heads.values.items():
        retrieval.values["attributes"].setdefault(name, {"nn1": None}).update(found)
    notes = [*problem.notes, *_doubts(split, len(queries.rows), bundle.decision)]

    def frozen() -> dict[str, TaggedPhotos] | None:
        try:
            before = frozen_photos(bundle, photos.features, photos.masks, device, cache)
        except WeightsUnavailableError as error:
            notes.append(f"no baseline of tags: {error}")
            return None
        return {
            name: replace(found, leaked=photos.sets[name].leaked) for name, found in before.items()
        }

    tags, tagged = tag_figures(embedder, bundle.decision, photos.sets, split, frozen)
    searched = [photos.gallery] if split in ("train", ALL) else [photos.gallery, queries]
    groups = [
        category_figures(classified, queries),
        retrieval,
        FigureGroup({}, heads.intervals),
        instance_figures(embedder, queries, searched, cache=cache, progress=progress),
        tags,
        label_figures(embedder, bundle.decision, photos.sets, split),
    ]
    figures: dict[str, Any] = {
        **_model_figures(bundle),
        "split": split,
        "photos": len(queries.rows),
        "products": len({row.product_id for row in queries.rows}),
        "gallery": len(photos.gallery.rows),
        "notes": [*notes, *photos.features.notes, *photos.leaks.notes],
        "skipped": [asdict(row) for row in (*problem.dataset.skipped, *photos.features.skipped)],
    }
    for group in groups:
        figures |= group.values
    figures["intervals"] = {name: one for group in groups for name, one in group.intervals.items()}
    return EvaluationResults(figures, queries, photos.gallery, classified, nearest, tagged)


@dataclass(frozen=True)
class _EvaluationPhotos:
    """The photos of one evaluation, embedded; arrays are of the number N of ``features``."""

    split: str
    features: Features
    masks: dict[str, np.ndarray]  # split -> bool [N]
    sets: dict[str, TaggedPhotos]  # split -> its photos
    gallery: TaggedPhotos
    leaks: Leaks


def _load_photos(
    problem: TrainingProblem,
    data: Path,
    split: str,
    embedder: Runtime,
    cache: Path | None,
    progress: OnStage,
) -> _EvaluationPhotos:
    """Photos of train, validation and ``split``. Raises ``BadDataError`` without queries."""
    names = list(dict.fromkeys(["train", "validation", split]))
    rows = [row for name in names for row in problem.of(name)]
    require_rows(problem.of(split), split, data)
    features = photo_features(rows, embedder, cache=cache, progress=progress)
    split_of = np.array([problem.split[row.product_id] for row in features.rows])
    masks = {name: split_of == name for name in names}
    if split == ALL:
        masks["train"] = masks[ALL]  # all are searched, and vote on each other's tags
    labels = np.array([format_path(row.category or ()) for row in features.rows])
    leaks = find_leaks(split_of, features.pixels, labels)
    sets = {
        name: evaluation_photos(features, embedder, mask, leaked=leaks.leaked)
        for name, mask in masks.items()
    }
    require_rows(sets[split].rows, f"readable {split}", data)
    gallery = sets["train"]
    if problem.set_aside and split != "validation":
        ours = np.array([row.product_id in problem.set_aside for row in features.rows])
        gallery = evaluation_photos(features, embedder, masks["train"] | ours)
    return _EvaluationPhotos(split, features, masks, sets, gallery, leaks)


def _doubts(split: str, photos: int, decision: Decision) -> list[str]:
    """Reasons why the figures say little."""
    found = []
    if len(decision.categories) == 1:
        found.append(
            "the model knows one category, so accuracy says only how many photos have it: mind "
            "the attributes"
        )
    if split == ALL:
        found.append("all photos are asked: those that trained the model flatter its figures")
    if photos < FEW_PHOTOS:
        other = "" if split == ALL else ", or --split all with photos the model was not trained on"
        found.append(
            f"{photos} photos are too few to judge a model by: mind the intervals, or use at "
            f"least {FEW_PHOTOS}{other}"
        )
    return found


def _classify(
    bundle: Bundle, logits: dict[str, np.ndarray], photos: _EvaluationPhotos
) -> Classified | None:
    """The category head on the queries, few-shot rows included; leaked photos judge nothing."""
    queries = photos.sets[photos.split]
    found = None
    if bundle.decision.categories:
        found = category_logits(logits.get("category"), queries.vectors, bundle.decision)
    leaked = photos.leaks.leaked[photos.masks[photos.split]]
    return classify(bundle, found, queries, leaked=leaked)


def _model_figures(bundle: Bundle) -> dict[str, Any]:
    return {
        "model_version": bundle.model_version,
        "embedding_id": bundle.embedding_id,
        "backbone": bundle.spec.backbone,
        "recipe": bundle.training.get("recipe"),
        "blocks": {
            block.name: {"dim": block.dim, "weight": block.weight} for block in bundle.spec.blocks
        },
    }


def _retrieval(
    bundle: Bundle, problem: TrainingProblem, queries: TaggedPhotos, gallery: TaggedPhotos
) -> tuple[FigureGroup, Nearest]:
    """Figures of search, the colour's by the column that the model takes for it."""
    colour = bundle.training.get("colour_attribute")
    return retrieval_figures(queries, gallery, problem.dataset.types, colour=colour)


def evaluation_photos(
    features: Features,
    runtime: Runtime,
    chosen: np.ndarray,
    *,
    leaked: np.ndarray | None = None,
) -> TaggedPhotos:
    """The ``chosen`` (bool [N]) photos, embedded as search has them: stored as float16.

    ``leaked`` bool [N]: shown by an earlier split already.
    """
    numbers = np.flatnonzero(chosen)
    vectors = runtime.embed_features(features.values[numbers]).astype(np.float16).astype(np.float32)
    return TaggedPhotos(
        [features.rows[number] for number in numbers],
        vectors,
        features.pixels[numbers],
        None if leaked is None else leaked[numbers],
    )


def frozen_photos(
    bundle: Bundle,
    features: Features,
    chosen: dict[str, np.ndarray],
    device: str,
    cache: Path | None,
) -> dict[str, TaggedPhotos]:
    """Photos by split (``chosen``: bool [N] each) with the backbone's features before any training
    for vectors.

    Raises ``WeightsUnavailableError`` where the weights that a fine-tuning began with are not at
    hand.
    """
    if bundle.training.get("recipe") not in ("linear", "pretrained"):
        if bundle.training.get("weights"):
            raise WeightsUnavailableError(
                f"the model was fine-tuned from {bundle.training['weights']}, which is not kept"
            )
        network = Network(bundle.spec, build(bundle.spec.backbone))
        features = photo_features(features.rows, TorchRuntime(network, device=device), cache=cache)
    values = unit_rows(features.values[:, : bundle.spec.feature_dim].astype(np.float32))
    found = {}
    for name, mine in chosen.items():
        numbers = np.flatnonzero(mine)
        found[name] = TaggedPhotos(
            [features.rows[i] for i in numbers], values[numbers], features.pixels[numbers]
        )
    return found
