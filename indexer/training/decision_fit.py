"""Decision layer of a model, fitted on validation photos."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from scipy.special import expit

from indexer.classification.open_set import fit_unknown
from indexer.model.calibration import (
    fit_temperature,
    least_confidence,
    remove_label_smoothing,
    softmax,
)
from indexer.model.decision_layer import Decision
from indexer.model.spec import FREE_TAGS
from indexer.model.torch_runtime import TorchRuntime
from indexer.training.label_loss import judged_products
from indexer.training.linear import LABEL_SMOOTHING, FittedModel
from indexer.training.tag_samples import (
    TaggedPhotos,
    fit_tags,
    sample_of,
    tag_columns,
    tags_by_head,
)
from indexer.training.targets import CATEGORY
from indexer.training.training_set import TrainingSet

_RIGHT = 0.8  # share of the attribute values answered that is to be right


def fit_decision(
    photos: TrainingSet, fitted: FittedModel, runtime: TorchRuntime, seed: int
) -> tuple[Decision, float | None]:
    """Fit the decision layer on validation photos; also its tags' micro-F1 there."""
    checked = photos.embed_split("validation", runtime.embed_features)
    learned = photos.embed_split("train", runtime.embed_features)
    of_train = photos.split == "train"
    tag_heads = tags_by_head(
        learned.rows,
        [replace(target, labels=target.labels[of_train]) for target in photos.targets],
    )
    for free in (one for one in photos.labels if one.name == FREE_TAGS):
        tag_heads |= {tag: (FREE_TAGS, place) for place, tag in enumerate(free.values)}
    logits = runtime.logits(checked.vectors)
    tag_rule, tags_f1 = fit_tags(
        sample_of(
            checked,
            learned,
            fitted.spec.blocks,
            logits=logits,
            tag_heads=tag_heads,
            several=fitted.spec.several,
            fitting=True,
        ),
        tag_columns(learned.rows),
    )
    values = {one.name: one.values for one in photos.targets if one.name != CATEGORY}
    values |= {one.name: one.values for one in photos.labels if one.name != FREE_TAGS}
    decision = Decision(
        categories=photos.categories,
        temperature=fitted.temperature,
        smoothing=LABEL_SMOOTHING,
        tag_rule=tag_rule,
        tag_heads=tag_heads,
        unknown=_open_set(photos, fitted, learned, checked, logits, seed),
        attributes=values,
    )
    return _with_attribute_rules(decision, photos, logits), tags_f1


def _with_attribute_rules(
    decision: Decision, photos: TrainingSet, logits: dict[str, Any]
) -> Decision:
    """Fit a temperature and a floor for each attribute head, on validation photos with a value.

    The labels of a list are probabilities already (``label_calibration``) and have one floor.
    """
    of_validation = photos.split == "validation"
    judges = photos.validation_mask[of_validation]
    temperatures: dict[str, float] = {}
    floors: dict[str, float] = {}
    for target in photos.targets:
        if target.name == CATEGORY:
            continue
        labels = target.labels[of_validation]
        use = judges & (labels >= 0)
        scores = remove_label_smoothing(logits[target.name][use], LABEL_SMOOTHING)
        temperature = fit_temperature(scores, labels[use])
        probability = softmax(scores, temperature)
        right = probability.argmax(1) == labels[use]
        temperatures[target.name] = temperature
        floors[target.name] = least_confidence(probability.max(1), right, _RIGHT)
    for several in (one for one in photos.labels if one.name != FREE_TAGS):
        scores, actual = judged_products(
            logits[several.name][judges], several, photos.validation_mask
        )
        floors[several.name] = least_confidence(expit(scores).ravel(), actual.ravel(), _RIGHT)
    return replace(decision, attribute_temperatures=temperatures, attribute_floors=floors)


def _open_set(
    photos: TrainingSet,
    fitted: FittedModel,
    learned: TaggedPhotos,
    checked: TaggedPhotos,
    logits: dict[str, Any],
    seed: int,
) -> dict[str, Any] | None:
    """Fit the rule that rejects unknown kinds; None without categories."""
    if not photos.categories:
        return None
    train = photos.category[photos.split == "train"]
    of_validation = photos.split == "validation"
    validation = photos.category[of_validation]
    judges = (validation >= 0) & photos.validation_mask[of_validation]
    return fit_unknown(
        learned.vectors[train >= 0],
        train[train >= 0],
        checked.vectors[judges],
        logits[CATEGORY][judges],
        general=fitted.spec.block_slice("g"),
        seed=seed,
    )
