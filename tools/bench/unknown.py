"""Benchmark ``unknown``: rejection of kinds never taught, on frozen features."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from indexer.classification.open_set import (
    auroc,
    closeness,
    fit_unknown,
    rule_logits,
    unknown_score,
)
from indexer.core.category_path import format_path
from indexer.training.advise import frozen_features, frozen_runtime
from indexer.training.feature_cache import Recaptures, recapture_features
from indexer.training.linear import Pairs, general_projection
from indexer.training.problem import TrainingProblem, read_problem
from indexer.training.training_set import PAIRS
from tools.bench.harness.framework import BenchRow, Goal, figure, real_data
from tools.output import log

PARTS = ("near", "far")
GOALS = (
    Goal(
        "clothing: unknown AUROC, near (each class held out once)",
        ">=",
        0.87,
        figure("near", "auroc"),
    ),
    Goal(
        "fashion: unknown AUROC, far (3 sub-categories out, 10 draws)",
        ">=",
        0.94,
        figure("far", "auroc"),
    ),
)
_DIM = 256  # of the general block
_DRAWS, _OUT, _FEWEST = (
    10,
    3,
    10,
)  # sub-categories held out together; test photos that one must have


def measure(part: str, work: Path) -> BenchRow:
    """The row of one part: every draw's AUROC, share caught and share of false alarms."""
    log(f"bench unknown: {part}")
    near = part == "near"
    data = real_data("clothing") if near else real_data("fashion") / "products.csv"
    problem = read_problem(data, 0)
    features = frozen_features(problem.rows)
    split = np.array([problem.split[row.product_id] for row in features.rows])
    drawn = recapture_features(features, frozen_runtime(), [(split == "train", PAIRS)])
    recaptures = Recaptures(drawn.places, drawn.values[:, : features.values.shape[1]])
    kind = np.array([format_path(row.category or ()) for row in features.rows])
    family = (
        kind
        if near
        else np.array([str(row.attributes.get("sub_category")) for row in features.rows])
    )
    names, counts = np.unique(family[split == "test"], return_counts=True)
    if near:
        draws = [[str(name)] for name in names]
    else:
        rng = np.random.default_rng(0)
        common = names[counts >= _FEWEST]
        draws = [sorted(map(str, rng.choice(common, _OUT, replace=False))) for _ in range(_DRAWS)]
    rows = [hold_out(out, features.values, kind, family, split, recaptures) for out in draws]
    return {
        "recipe": f"{_held(near)}; efficientnet_lite0 frozen, the block g ({_DIM} numbers) of the "
        "train "
        "photos that are left; signals chosen on train classes held out in turn, threshold at 5% "
        "of validation photos; "
        "AUROC of test photos held out against all others, mean over draws",
        "photos": _counts(problem),
        "auroc": float(np.mean([row["auroc"] for row in rows])),
        "caught": float(np.mean([row["caught"] for row in rows])),
        "false_alarms": float(np.mean([row["false_alarms"] for row in rows])),
        "reference_auroc": 0.835 if near else 0.91,
        "draws": rows,
    }


def hold_out(
    out: Sequence[str],
    values: np.ndarray,
    kind: np.ndarray,
    family: np.ndarray,
    split: np.ndarray,
    recaptures: Recaptures,
) -> BenchRow:
    """One draw: everything is fitted without the families ``out``, then asked about all test
    photos."""
    strange = np.isin(family, out)
    train = (split == "train") & ~strange
    names, labels = np.unique(kind[train], return_inverse=True)
    block = general_block(values, train, recaptures)
    held = (split == "validation") & ~strange & np.isin(kind, names)
    whole = slice(0, block.shape[1])
    rule = fit_unknown(
        block[train], labels, block[held], np.zeros((held.sum(), len(names))), general=whole
    )
    if rule is None or "weights" not in rule:
        raise ValueError(f"nothing can be fitted without {out}")

    def score(chosen: np.ndarray) -> np.ndarray:
        asked = block[chosen]
        return unknown_score(
            rule_logits(asked, np.empty(0), rule), closeness(asked, block[train], whole), rule
        )

    above, below = score((split == "test") & strange), score((split == "test") & ~strange)
    return {
        "out": list(out),
        "unknown": len(above),
        "known": len(below),
        "auroc": auroc(above, below),
        "caught": float((above > rule["threshold"]).mean()),
        "false_alarms": float((below > rule["threshold"]).mean()),
        "mix": rule["mix"],
        "rehearsed_auroc": rule["auroc"],
    }


def general_block(values: np.ndarray, train: np.ndarray, recaptures: Recaptures) -> np.ndarray:
    """Unit rows [N, 256]: the block ``g`` of a model that was trained on the photos ``train`` (bool
    [N])."""
    again = recaptures.of(train)
    mean, _, axes = general_projection(
        values[train], _DIM, Pairs(values[again.places], again.values)
    )
    unit = values / np.maximum(np.linalg.norm(values, axis=1, keepdims=True), 1e-12)
    block = (unit - mean) @ axes.T
    return np.asarray(
        block / np.maximum(np.linalg.norm(block, axis=1, keepdims=True), 1e-12), np.float32
    )


def _held(near: bool) -> str:
    return (
        "each category held out once"
        if near
        else f"{_OUT} sub-categories held out, {_DRAWS} seeded draws"
    )


def _counts(problem: TrainingProblem) -> dict[str, int]:
    return {name: len(problem.of(name)) for name in ("train", "validation", "test")}
