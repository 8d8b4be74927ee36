"""Benchmark ``unknown``: rejection of kinds never taught, on frozen features.

``near`` and ``far`` ask test photos, or validation photos with ``CATALENS_BENCH_SPLIT=validation``
(the spread of the signals is of the same photos then). ``galleries`` and ``named`` ask validation
photos: how many of known kinds are refused in catalogs of three sizes, and how much that is unknown
gets a name. ``signals`` asks the same photos as ``named`` by each signal that was tried, alone and
beside the rule as it was without ``typicality``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image

from indexer.classification.local_outlier import CatalogNeighbourhood, local_closeness
from indexer.classification.open_set import (
    auroc,
    closeness,
    fit_unknown,
    rule_logits,
    typicality,
    unknown_score,
)
from indexer.classification.unknown_refit import fit_threshold, local_rule, product_closeness
from indexer.core.category_path import format_path
from indexer.core.vectors import unit_rows
from indexer.imaging.decode import Photo, decode_photo
from indexer.training.advise import frozen_features, frozen_runtime
from indexer.training.feature_cache import Recaptures, recapture_features
from indexer.training.linear import Pairs, general_projection
from indexer.training.problem import TrainingProblem, read_problem
from indexer.training.training_set import PAIRS
from tools.bench.data.strange_photos import draw_strange
from tools.bench.harness.framework import BenchRow, Goal, figure, real_data
from tools.bench.parts.taught_kinds import asked_split
from tools.bench.parts.unknown_signals import BEFORE, TaughtPhotos, combined, signals_of
from tools.output import log


def _refused(size: int) -> Callable[[Sequence[BenchRow]], float | None]:
    """A reader of the share refused in catalogs of ``size``."""
    return figure("galleries", f"refused_{size}")


PARTS = ("near", "far", "galleries", "named", "signals")
SIZES = (50, 200, 3000)  # products of the catalogs asked
_REFUSED = (0.01, 0.02, 0.05, 0.1, 0.2)  # shares of known photos refused, of the curve
_STRANGE = 20  # pictures of each kind that no shop sells
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
    *(
        Goal(f"clothing: known refused, catalog of {size}, 5% wanted", op, goal, _refused(size))
        for size in SIZES
        for op, goal in ((">=", 0.03), ("<=", 0.07))
    ),
    Goal("left-out kinds named, 5% of known refused", "<=", 0.5, figure("named", "left_out")),
    Goal("what no shop sells named, 5% of known refused", "<=", 0.25, figure("named", "strange")),
)
_DIM = 256  # of the general block
_GALLERIES = 20  # catalogs drawn of each size
_DRAWS, _OUT, _FEWEST = (
    10,
    3,
    10,
)  # sub-categories held out together; test photos that one must have


def measure(part: str, work: Path) -> BenchRow:
    """The row of one part: every draw's AUROC, share caught and share of false alarms."""
    log(f"bench unknown: {part}")
    if part == "galleries":
        return _measure_galleries()
    if part in ("named", "signals"):
        return _measure_named() if part == "named" else _measure_signals()
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
    names, counts = np.unique(family[split == asked_split()], return_counts=True)
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
        "of the catalog, the train photos; "
        "AUROC of photos held out against all others, mean over draws; reference: how far the "
        "nearest train photo is by the frozen features alone",
        "asked": asked_split(),
        "photos": _counts(problem),
        "interval": _interval_of_draws([row["auroc"] for row in rows]),
        "auroc": float(np.mean([row["auroc"] for row in rows])),
        "caught": float(np.mean([row["caught"] for row in rows])),
        "false_alarms": float(np.mean([row["false_alarms"] for row in rows])),
        "reference_auroc": float(np.mean([row["reference_auroc"] for row in rows])),
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
    """One draw: everything is fitted without the families ``out``, with the train photos that are
    left for the catalog, then asked about all photos of the split."""
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

    catalog = _Catalog.build(rule, block[train])
    frozen = unit_rows(values.astype(np.float32))
    others, known = (split == asked_split()) & strange, (split == asked_split()) & ~strange
    apart = [1 - (frozen[asked] @ frozen[train].T).max(axis=1) for asked in (others, known)]
    above, below = catalog.scores(block[others]), catalog.scores(block[known])
    return {
        "out": list(out),
        "unknown": len(above),
        "known": len(below),
        "auroc": auroc(above, below),
        "reference_auroc": auroc(*apart),
        "caught": float((above > catalog.fitted["threshold"]).mean()),
        "false_alarms": float((below > catalog.fitted["threshold"]).mean()),
        "mix": rule["mix"],
        "rehearsed_auroc": rule["auroc"],
    }


@dataclass(frozen=True)
class _JudgedPhotos:
    """Train and validation photos of ``clothing``; N each."""

    values: np.ndarray  # float32 [N, F]
    kind: np.ndarray  # str [N]
    train: np.ndarray  # bool [N]
    recaptures: Recaptures


def _judged_photos() -> _JudgedPhotos:
    problem = read_problem(real_data("clothing"), 0)
    features = frozen_features([*problem.of("train"), *problem.of("validation")])
    train = np.array([problem.split[row.product_id] == "train" for row in features.rows])
    drawn = recapture_features(features, frozen_runtime(), [(train, PAIRS)])
    recaptures = Recaptures(drawn.places, drawn.values[:, : features.values.shape[1]])
    kind = np.array([format_path(row.category or ()) for row in features.rows])
    return _JudgedPhotos(features.values, kind, train, recaptures)


@dataclass(frozen=True)
class _Catalog:
    """A rule fitted to a catalog as an index build does, and its products' blocks."""

    rule: BenchRow  # the model's
    gallery: np.ndarray  # float32 [G, 256]
    around: CatalogNeighbourhood | None
    fitted: BenchRow  # what takes the place of the model's

    @classmethod
    def build(cls, rule: BenchRow, gallery: np.ndarray, *, local: bool = True) -> _Catalog:
        numbers = np.arange(len(gallery))
        rows = np.stack([numbers] * 2, 1)
        around = CatalogNeighbourhood.build(rows, gallery, (0, gallery.shape[1])) if local else None
        fitted = rule
        if around is None:
            near = product_closeness(rows, gallery, numbers, rule)
        else:
            near = around.judge_own(numbers, gallery)
            fitted = {**rule, **local_rule(rule, near)}
        logits = rule_logits(gallery, np.empty(0), rule)
        threshold = fit_threshold(logits, near, fitted, typicality(gallery, rule))
        return cls(rule, gallery, around, {**fitted, "threshold": threshold})

    def scores(self, asked: np.ndarray) -> np.ndarray:
        """How unlike all known kinds the blocks ``asked`` [Q, 256] are."""
        if self.around is None:
            return self.scores_by_model(asked, self.fitted)
        near = local_closeness(asked, self.around.products)
        logits = rule_logits(asked, np.empty(0), self.fitted)
        return unknown_score(logits, near, self.fitted, typicality(asked, self.fitted))

    def scores_by_model(self, asked: np.ndarray, rule: BenchRow | None = None) -> np.ndarray:
        """The same by how near the nearest are alone, as the model's own rule reads them."""
        rule = rule or self.rule
        near = closeness(asked, self.gallery, slice(0, asked.shape[1]))
        logits = rule_logits(asked, np.empty(0), rule)
        return unknown_score(logits, near, rule, typicality(asked, rule))


def _fit(photos: _JudgedPhotos, block: np.ndarray, train: np.ndarray, held: np.ndarray) -> BenchRow:
    """The model's rule of the photos ``train``, its threshold on ``held`` (both bool [N])."""
    names, labels = np.unique(photos.kind[train], return_inverse=True)
    nothing = np.zeros((int(held.sum()), len(names)))
    whole = slice(0, block.shape[1])
    rule = fit_unknown(block[train], labels, block[held], nothing, general=whole)
    if rule is None or "weights" not in rule:
        raise ValueError("no rule can be fitted")
    return rule


def _measure_galleries() -> BenchRow:
    """Known validation photos refused by catalogs of drawn train photos, by both rules.

    Half of them fit the model's rule, which sets how many a catalog refuses, and the others are
    asked; then the other way round.
    """
    photos = _judged_photos()
    block = general_block(photos.values, photos.train, photos.recaptures)
    rng = np.random.default_rng(0)
    halves = np.array_split(rng.permutation(np.flatnonzero(~photos.train)), 2)
    numbers = np.arange(len(block))
    rules = [_fit(photos, block, photos.train, np.isin(numbers, half)) for half in halves]
    row: BenchRow = {
        "recipe": f"{_GALLERIES} catalogs of drawn train photos of each size; the rule is fitted "
        "with one half of the validation photos, and the other half is asked, by turns"
    }
    for size in SIZES:
        refit, own = [], []
        for draw in range(_GALLERIES):
            rule, asked = rules[draw % 2], block[halves[1 - draw % 2]]
            drawn = rng.permutation(np.flatnonzero(photos.train))[:size]
            catalog = _Catalog.build(rule, block[drawn])
            bar = catalog.fitted["threshold"]
            refit.append(float((catalog.scores(asked) > bar).mean()))
            own.append(float((catalog.scores_by_model(asked) > rule["threshold"]).mean()))
        row |= {
            f"refused_{size}": float(np.mean(refit)),
            f"refused_{size}_spread": float(np.std(refit)),
            f"refused_{size}_by_the_model": float(np.mean(own)),
            f"draws_{size}": refit,
        }
    return row


@dataclass(frozen=True)
class _LeftOutKind:
    """A catalog without one kind of products, and what it is asked; blocks [., 256]."""

    kind: str
    catalog: _Catalog
    labels: np.ndarray  # int [G], of the gallery
    known: np.ndarray  # validation photos of the other kinds
    unknown: np.ndarray  # all photos of the kind
    strange: np.ndarray  # pictures of what no shop sells


def _left_out_kinds() -> Iterator[_LeftOutKind]:
    """Each kind of ``clothing`` left out once."""
    photos = _judged_photos()
    pictures = [_decoded(picture) for _, picture in draw_strange(_STRANGE)]
    seen = np.asarray(frozen_runtime().extract_features(pictures), np.float32)
    together = np.concatenate([photos.values, seen[:, : photos.values.shape[1]]])
    for out in np.unique(photos.kind).tolist():
        inside = photos.kind != out
        taught = photos.train & inside
        padded = np.concatenate([taught, np.zeros(len(seen), bool)])
        block = general_block(together, padded, photos.recaptures)
        own, strange = block[: len(inside)], block[len(inside) :]
        rule = _fit(photos, own, taught, ~photos.train & inside)
        yield _LeftOutKind(
            out,
            _Catalog.build(rule, own[taught]),
            np.unique(photos.kind[taught], return_inverse=True)[1],
            own[~photos.train & inside],
            own[~inside],
            strange,
        )


_ASKED = (
    "each kind left out once; asked are validation photos, all photos of the kind, and "
    f"{_STRANGE} pictures each of noise, patterns, drawn landscapes, pages and charts"
)


def _measure_named() -> BenchRow:
    """Shares of left-out kinds and of what no shop sells that get a name, as known are refused."""
    left: list[np.ndarray] = []
    strange: list[np.ndarray] = []
    near: list[float] = []
    kinds: dict[str, float] = {}
    at = _REFUSED.index(0.05)
    for left_out in _left_out_kinds():
        catalog = left_out.catalog
        known, unknown, odd = (
            catalog.scores(part) for part in (left_out.known, left_out.unknown, left_out.strange)
        )
        bars = np.quantile(known, 1 - np.array(_REFUSED))
        left.append((unknown[:, None] <= bars).mean(0))
        strange.append((odd[:, None] <= bars).mean(0))
        near.append(auroc(unknown, known))
        kinds[left_out.kind] = float(left[-1][at])
    return {
        "recipe": _ASKED,
        "refused": list(_REFUSED),
        "left_out_curve": np.mean(left, 0).tolist(),
        "strange_curve": np.mean(strange, 0).tolist(),
        "left_out": float(np.mean(left, 0)[at]),
        "strange": float(np.mean(strange, 0)[at]),
        "auroc": float(np.mean(near)),
        "kinds": kinds,
    }


def _measure_signals() -> BenchRow:
    """Each signal alone and beside the rule without typicality: AUROC of left-out kinds, and the
    shares named while 5% of known photos are refused; differences are paired over kinds."""
    found: dict[str, list[list[float]]] = {}
    for left_out in _left_out_kinds():
        catalog = left_out.catalog
        taught = TaughtPhotos(catalog.gallery, left_out.labels)
        parts = (left_out.known, left_out.unknown, left_out.strange)
        signals = signals_of(np.concatenate(parts), taught, catalog.rule)
        known, unknown = len(parts[0]), len(parts[0]) + len(parts[1])
        scores = {BEFORE: combined(signals, known, None)}
        for name in signals:
            scores[name] = -signals[name]
            scores[f"with {name}"] = combined(signals, known, name)
        for name, score in scores.items():
            bar = np.quantile(score[:known], 0.95)
            found.setdefault(name, []).append(
                [
                    auroc(score[known:unknown], score[:known]),
                    float((score[known:unknown] <= bar).mean()),
                    float((score[unknown:] <= bar).mean()),
                ]
            )
    before = np.array(found[BEFORE])
    rows = {}
    for name, one in found.items():
        gain = np.array(one)[:, 0] - before[:, 0]
        auroc_, left, strange = np.mean(one, axis=0)
        error = float(gain.std(ddof=1) / np.sqrt(len(gain)))
        rows[name] = {
            "auroc": float(auroc_),
            "gain": float(gain.mean()),
            "standard_error": error,
            "left_out": float(left),
            "strange": float(strange),
        }
        log(
            f"{name}: AUROC {auroc_:.3f} ({gain.mean():+.3f} +- {error:.3f}), named: left out "
            f"{left:.3f}, strange {strange:.3f}"
        )
    return {"recipe": f"{_ASKED}; {_measure_signals.__doc__}", "signals": rows}


def _decoded(picture: Image.Image) -> Photo:
    file = BytesIO()
    picture.save(file, "PNG")
    return decode_photo(file.getvalue())


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


def _interval_of_draws(values: Sequence[float]) -> list[float]:
    """The 95% interval of the mean over draws of kinds (Student's t)."""
    from scipy.stats import t  # slow to load

    error = float(np.std(values, ddof=1) / len(values) ** 0.5)
    reach = float(t.ppf(0.975, len(values) - 1)) * error
    return [float(np.mean(values)) - reach, float(np.mean(values)) + reach]


def _held(near: bool) -> str:
    return (
        "each category held out once"
        if near
        else f"{_OUT} sub-categories held out, {_DRAWS} seeded draws"
    )


def _counts(problem: TrainingProblem) -> dict[str, int]:
    return {name: len(problem.of(name)) for name in ("train", "validation", "test")}
