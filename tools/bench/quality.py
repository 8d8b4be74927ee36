"""Benchmark ``quality``: findings on degraded photos, alarms on good ones, time a photo."""

from __future__ import annotations

import csv
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import spearmanr

from indexer.classification.open_set import auroc
from indexer.core.errors import BadImageError
from indexer.core.proportions import clopper_pearson
from indexer.imaging.decode import Photo, decode_photo
from indexer.quality.assess import assess_quality
from indexer.quality.findings import FINDINGS, Finding
from indexer.quality.profiles import MARKETPLACE, STUDIO, Profile
from tools.bench.data.degradations import (
    BESIDE,
    DEGRADATIONS,
    HARDER,
    MODERATE,
    Degradation,
    FloatBox,
    degrade,
)
from tools.bench.harness.framework import BenchRow, Goal, figure, knob, percentile, real_data
from tools.bench.parts.review_latency import review
from tools.output import log

PARTS = ("fashion", "clothing", "harder", "alarms", "speed", "review")
_SET_ASIDE = "low-resolution"  # all fashion photos have 224 px
_ALARMED = ("warning", "fail")
_RESAMPLES = 500


def _of(data: str, name: str, field: str) -> Goal:
    more, goal = {"auroc": ("AUROC, degraded at moderate strength vs original", 0.95)}.get(
        field, ("rank correlation of score and strength, mean over photos", 0.8)
    )
    return Goal(f"{data}: {name}: {more}", ">=", goal, figure(data, f"{name}: {field}"))


GOALS = (
    *(
        _of("fashion", what.name, field)
        for what in DEGRADATIONS
        for field in ("auroc", "rank_correlation")
    ),
    Goal(
        "fashion: untouched test photos with a warning, studio",
        "<=",
        0.03,
        figure("alarms", "fashion_studio"),
    ),
    Goal(
        "fashion: caught by marketplace's resolution floor",
        ">=",
        1.0,
        figure("alarms", "fashion_low_resolution"),
    ),
    Goal(
        "review of one photo without OCR, p50 over classify's", "<=", 1.5, figure("review", "ratio")
    ),
    *(
        _of("clothing", what.name, field)
        for what in DEGRADATIONS
        for field in ("auroc", "rank_correlation")
    ),
)


def measure(part: str, work: Path) -> BenchRow:
    """The row of one part."""
    log(f"bench quality: {part}")
    if part == "alarms":
        return _alarms()
    if part == "speed":
        return _speed()
    if part == "review":
        return review(work)
    if part == "harder":
        return _harder()
    return _degraded(part)


def photos(data: str, split: str, most: int, seed: int = 0) -> list[Photo]:
    """``most`` decoded photos of a split, drawn without return."""
    if data == "fashion":
        folder = real_data("fashion")
        with (folder / "products.csv").open(encoding="utf-8", newline="") as stream:
            files = sorted(
                folder / row["image"] for row in csv.DictReader(stream) if row["split"] == split
            )
    else:
        files = sorted((real_data(data) / split).rglob("*.jpg"))
    chosen = np.random.default_rng(seed).permutation(len(files))[:most]
    read = []
    for number in chosen:
        try:
            read.append(decode_photo(files[number].read_bytes()))
        except BadImageError as error:
            log(f"{files[number].name}: {error}")
    return read


def _degraded(data: str) -> BenchRow:
    """AUROC and rank correlations of each degradation, on test photos."""
    originals = [
        np.asarray(photo.pixels) for photo in photos(data, "test", knob("QUALITY_PHOTOS", 200))
    ]
    found = [_by_code(assess_quality(pixels)) for pixels in originals]
    row: BenchRow = {
        "recipe": f"{len(originals)} photos of {data} test (CATALENS_BENCH_QUALITY_PHOTOS), five "
        "strengths each "
        "(tools/bench/data/degrade.py; one seed per photo; the product's box as found in the "
        "original); AUROC at strength "
        f"{MODERATE}; rank correlation: Spearman of score and strength 1 to 5, mean over photos, "
        "and pooled",
        "photos": len(originals),
    }
    samples: dict[str, Any] = {}
    for what in (*DEGRADATIONS, *BESIDE):
        log(f"bench quality: {data}, {what.name}")
        before = np.array([findings[what.code].score for findings in found])
        after = np.array(
            [
                _scores(pixels, what, _box(pixels, f), n)
                for n, (pixels, f) in enumerate(zip(originals, found, strict=True))
            ]
        )
        row |= {f"{what.name}: {name}": value for name, value in figures(before, after).items()}
        samples[what.name] = {
            "original": before.round(4).tolist(),
            "degraded": after.round(4).tolist(),
        }
    whole = np.array([findings["product-cut"].evidence["sides"] == 0 for findings in found])
    cut = {name: np.array(values)[whole] for name, values in samples["crop"].items()}
    row["crop: auroc_whole_originals"] = (
        figures(cut["original"], cut["degraded"])["auroc"] if whole.any() else None
    )
    return {**row, "samples": samples}


def figures(before: np.ndarray, after: np.ndarray) -> dict[str, Any]:
    """``before`` [N] scores of originals, ``after`` [N, 5] by strength: AUROC at each strength and
    correlations.

    A photo whose score does not move with strength at all has correlation 0.
    """
    strengths = np.arange(1, after.shape[1] + 1)
    each = [
        float(spearmanr(scores, strengths)[0]) if np.ptp(scores) > 0 else 0.0 for scores in after
    ]
    by_strength = [auroc(after[:, place], before) for place in range(after.shape[1])]
    pooled = (
        spearmanr(after.ravel(), np.tile(strengths, len(after)))[0] if np.ptp(after) > 0 else 0.0
    )
    return {
        "auroc": by_strength[MODERATE - 1],
        "auroc_by_strength": by_strength,
        "rank_correlation": float(np.mean(each)),
        "rank_correlation_pooled": float(pooled),
    }


def _harder() -> BenchRow:
    """What is found of forms that a finding was not made for, beside its own form."""
    most = knob("QUALITY_PHOTOS", 200)
    harder = {what.code for what in HARDER}
    asked = (*(what for what in DEGRADATIONS if what.code in harder), *HARDER)
    row: BenchRow = {
        "recipe": f"{most} validation photos of each set (CATALENS_BENCH_QUALITY_PHOTOS), degraded "
        f"at strength {MODERATE}; recall: a warning in the profile marketplace, 95% interval by "
        "Clopper and Pearson; AUROC against the originals, 95% interval by bootstrap over photos"
    }
    samples: dict[str, Any] = {}
    for data in ("fashion", "clothing"):
        originals = [np.asarray(photo.pixels) for photo in photos(data, "validation", most)]
        found = [_by_code(assess_quality(pixels)) for pixels in originals]
        for what in asked:
            before = np.array([findings[what.code].score for findings in found])
            after = np.array(
                [
                    _score_at(pixels, what, MODERATE, _box(pixels, f), n)
                    for n, (pixels, f) in enumerate(zip(originals, found, strict=True))
                ]
            )
            name = f"{data}, {what.name}"
            row |= recall_figures(name, before, after, MARKETPLACE.floors[what.code].warning)
            samples[name] = {"original": before.tolist(), "degraded": after.tolist()}
            log(f"{name}: recall {row[f'{name}: recall']:.3f}, AUROC {row[f'{name}: auroc']:.3f}")
    return {**row, "samples": samples}


def recall_figures(
    name: str, before: np.ndarray, after: np.ndarray, floor: float
) -> dict[str, Any]:
    """Recall at a floor, alarms at it, and AUROC, with intervals; paired scores [N] of photos."""
    rng = np.random.default_rng(0)
    drawn = [rng.integers(0, len(before), len(before)) for _ in range(_RESAMPLES)]
    again = [auroc(after[places], before[places]) for places in drawn]
    hits = int((after >= floor).sum())
    return {
        f"{name}: recall": hits / len(after),
        f"{name}: recall_interval": clopper_pearson(hits, len(after)),
        f"{name}: alarms": float((before >= floor).mean()),
        f"{name}: auroc": auroc(after, before),
        f"{name}: auroc_interval": np.quantile(again, (0.025, 0.975)).tolist(),
    }


def _score_at(
    pixels: np.ndarray, what: Degradation, strength: int, box: FloatBox, seed: int
) -> float:
    """The finding's score on a photo degraded at ``strength``."""
    found = _by_code(assess_quality(degrade(pixels, what, strength, box, seed)))
    return found[what.code].score


def _scores(pixels: np.ndarray, what: Degradation, box: FloatBox, seed: int) -> list[float]:
    return [_score_at(pixels, what, strength, box, seed) for strength in range(1, 6)]


def _box(pixels: np.ndarray, findings: dict[str, Finding]) -> FloatBox:
    return findings["product-too-small"].box or (
        0.0,
        0.0,
        float(pixels.shape[1]),
        float(pixels.shape[0]),
    )


def _by_code(findings: Sequence[Finding]) -> dict[str, Finding]:
    return {finding.code: finding for finding in findings}


def _levels(findings: Sequence[Finding], asked: Profile) -> dict[str, str]:
    return {one.code: asked.floors[one.code].level(one.score) for one in findings}


def _alarm_codes(levels: Mapping[str, str]) -> list[str]:
    return [code for code, level in levels.items() if level in _ALARMED]


def _alarms() -> BenchRow:
    """Shares of untouched test photos with a warning: both sets, both profiles."""
    row: BenchRow = {
        "recipe": "all untouched test photos; a warning or a failure of any finding but "
        "low-resolution"
    }
    most = knob("QUALITY_ALARMS", 100_000)
    for data in ("fashion", "clothing"):
        taken = photos(data, "test", most)
        found = [
            assess_quality(np.asarray(photo.pixels), size=(photo.width, photo.height))
            for photo in taken
        ]
        for asked in (STUDIO, MARKETPLACE):
            levels = [_levels(findings, asked) for findings in found]
            alarms = [_alarm_codes(of) for of in levels]
            any_alarm = [not {_SET_ASIDE}.issuperset(codes) for codes in alarms]
            key = f"{data}_{asked.name}"
            row[key] = float(np.mean(any_alarm))
            row[f"{key}_by_code"] = dict(Counter(code for codes in alarms for code in codes))
            row[f"{key}_photos"] = len(taken)
            if asked is MARKETPLACE:
                row[f"{data}_low_resolution"] = float(
                    np.mean([_SET_ASIDE in codes for codes in alarms])
                )
    return row


def _speed() -> BenchRow:
    """Processor time of one photo of short side 512 (clothing, resized)."""
    taken = [photo.pixels for photo in photos("clothing", "validation", knob("QUALITY_SPEED", 60))]
    sized = []
    for picture in taken:
        factor = 512 / min(picture.size)
        sized.append(
            np.asarray(
                picture.resize((round(picture.width * factor), round(picture.height * factor)))
            )
        )
    samples = []
    for pixels in (*sized[:3], *sized):
        started = time.process_time()
        assess_quality(pixels)
        samples.append((time.process_time() - started) * 1000)
    return {
        "recipe": f"{len(sized)} clothing photos at short side 512, one at a time; 3 to warm up",
        "codes": len(FINDINGS),
        "cpu_ms_p50": percentile(samples[3:], 0.5),
        "cpu_ms_p90": percentile(samples[3:], 0.9),
        "samples_ms": samples[3:],
    }
