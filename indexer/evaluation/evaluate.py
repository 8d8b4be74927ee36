"""``evaluate``: a model against held-out photos; every figure of the contract,
with 95% intervals."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from indexer.catalog.dataset import SPLITS
from indexer.classification.ranking import category_logits
from indexer.core.errors import BadRequestError, WeightsUnavailableError
from indexer.core.vectors import unit_rows
from indexer.evaluation.classification_metrics import (
    attribute_head_figures,
    category_figures,
    classify,
)
from indexer.evaluation.results import EvaluationResults, FigureGroup
from indexer.evaluation.retrieval_metrics import instance_figures, retrieval_figures
from indexer.evaluation.tag_metrics import tag_figures
from indexer.model.backbones import build
from indexer.model.bundle import Bundle, load_bundle
from indexer.model.network import Network
from indexer.model.open_runtime import open_embedder
from indexer.model.runtime_base import Runtime
from indexer.model.torch_runtime import TorchRuntime
from indexer.training.feature_cache import Features, OnCached, photo_features
from indexer.training.problem import find_leaks, read_problem, require_rows
from indexer.training.tag_samples import TaggedPhotos


def evaluate(
    model: Path,
    data: Path,
    *,
    split: str = "test",
    device: str = "auto",
    cache: Path | None = None,
    progress: OnCached | None = None,
) -> dict[str, Any]:
    """All figures of ``model`` on one split of ``data``; what the data or the model cannot give is
    None.

    Queries are the photos of ``split``, the gallery is the train photos, those that training set
    aside among them. Raises ``BadModelError``, ``BadDataError``.
    """
    return measure(model, data, split=split, device=device, cache=cache, progress=progress).figures


def measure(
    model: Path,
    data: Path,
    *,
    split: str = "test",
    device: str = "auto",
    cache: Path | None = None,
    progress: OnCached | None = None,
) -> EvaluationResults:
    """``evaluate`` with all that its figures come from, for a report."""
    if split not in SPLITS:
        raise BadRequestError(f"unknown split {split!r}: use {', '.join(SPLITS)}")
    bundle = load_bundle(model)
    embedder = open_embedder(bundle, device=device)
    problem = read_problem(data, int(bundle.training.get("seed", 0)))
    names = list(dict.fromkeys(["train", "validation", split]))
    wanted = [row for name in names for row in problem.of(name)]
    require_rows(problem.of(split), split, data)
    features = photo_features(wanted, embedder, cache=cache, progress=progress)
    split_of = np.array([problem.split[row.product_id] for row in features.rows])
    sets = {name: evaluation_photos(features, embedder, split_of == name) for name in names}
    notes = list(problem.notes)
    leaks = find_leaks(
        split_of,
        features.pixels,
        np.array([" > ".join(row.category or ()) for row in features.rows]),
    )
    require_rows(sets[split].rows, f"readable {split}", data)
    queries, gallery = sets[split], sets["train"]
    if problem.set_aside and split != "validation":
        ours = np.array([row.product_id in problem.set_aside for row in features.rows])
        gallery = evaluation_photos(features, embedder, (split_of == "train") | ours)

    logits = embedder.logits(queries.vectors) if bundle.spec.heads else {}
    decision = bundle.decision
    known = (
        category_logits(logits.get("category"), queries.vectors, decision)
        if decision.categories
        else None
    )
    classified = classify(bundle, known, queries, leaked=leaks.leaked[split_of == split])
    retrieval, nearest = retrieval_figures(queries, gallery, problem.dataset.types)
    heads = attribute_head_figures(bundle, logits, queries)
    for name, accuracy in heads.values.items():
        retrieval.values["attributes"].setdefault(name, {"nn1": None})["head"] = accuracy
    searched = [gallery] if split == "train" else [gallery, queries]

    def frozen() -> dict[str, TaggedPhotos] | None:
        try:
            return frozen_photos(
                bundle, features, {name: split_of == name for name in names}, device, cache
            )
        except WeightsUnavailableError as error:
            notes.append(f"no baseline of tags: {error}")
            return None

    tags, tagged = tag_figures(embedder, decision, sets, split, frozen)
    parts = [
        category_figures(classified, queries),
        retrieval,
        FigureGroup({}, heads.intervals),
        instance_figures(embedder, queries, searched, progress),
        tags,
    ]
    figures: dict[str, Any] = {
        "model_version": bundle.model_version,
        "embedding_id": bundle.embedding_id,
        "backbone": bundle.spec.backbone,
        "recipe": bundle.training.get("recipe"),
        "blocks": {
            block.name: {"dim": block.dim, "weight": block.weight} for block in bundle.spec.blocks
        },
        "split": split,
        "photos": len(queries.rows),
        "products": len({row.product_id for row in queries.rows}),
        "gallery": len(gallery.rows),
        "notes": [*notes, *leaks.notes],
        "skipped": [asdict(entry) for entry in (*problem.dataset.skipped, *features.skipped)],
        **{key: value for part in parts for key, value in part.values.items()},
        "intervals": {key: value for part in parts for key, value in part.intervals.items()},
    }
    return EvaluationResults(figures, queries, gallery, classified, nearest, tagged)


def evaluation_photos(features: Features, runtime: Runtime, chosen: np.ndarray) -> TaggedPhotos:
    """The ``chosen`` (bool [N]) photos, embedded as search has them: stored as float16."""
    numbers = np.flatnonzero(chosen)
    vectors = runtime.embed_features(features.values[numbers]).astype(np.float16).astype(np.float32)
    return TaggedPhotos(
        [features.rows[number] for number in numbers], vectors, features.pixels[numbers]
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
