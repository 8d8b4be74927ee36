"""Benchmark ``objects``: products found in busy photos, and their like in the catalog."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from threadpoolctl import threadpool_limits

from indexer.imaging.analysis_view import view_photo
from indexer.imaging.decode import Photo
from indexer.imaging.foreground import find_product
from indexer.imaging.geometry import Box, iou
from indexer.imaging.object_proposals import (
    NEAREST,
    SAMPLE,
    in_catalog_similarity,
    propose_regions,
    select_objects,
)
from indexer.model.bundle import load_bundle
from indexer.model.open_runtime import open_embedder
from indexer.model.preprocessing import frame_part
from indexer.model.runtime_base import Runtime
from indexer.training.export import export
from indexer.training.feature_cache import photo_features
from indexer.training.problem import read_trained
from tools.bench.data.scenes import GROUNDS, Cutout, Scene, cut_out, ground, scene
from tools.bench.harness.framework import BenchRow, Goal, knob, percentile, real_data
from tools.bench.tags import ready_model
from tools.output import log

PARTS = ("trained", "exported")
GOALS: tuple[Goal, ...] = ()  # the issue names none
MOST = 5
_RIGHT = 0.5  # IoU from which on a box is right
_CUTOUTS, _GROUNDS = 400, 100
_RECIPE = (
    "scenes of fashion {split} products on clothing {split} photos (tools/bench/data/scenes.py), "
    "scene n of seed n; recall: "
    "products with a box of IoU .5 among at most 5; precision: boxes that are right; category@1: "
    "the nearest of the "
    "train photos has the product's category; product@1: the nearest of train photos and the "
    "products' own studio "
    "photos is its own; box of a product: the proposed one that covers it best, none is a miss; "
    "what is usual and what "
    "a box is alike is read from the train photos alone; empty: grounds without a product for "
    "which anything is "
    "proposed; real: clothing photos as they are for which anything is proposed; peers of recall: "
    "all boxes that "
    "pixels give (offered), and the one box that photo quality takes for the product (one box)"
)


def measure(part: str, work: Path) -> BenchRow:
    """The figures of the model in float32 (``trained``) or of its export for this processor
    (``exported``).

    ``CATALENS_BENCH_MODELS``: a folder with ready ``fashion-linear-0``.
    ``CATALENS_BENCH_OBJECTS_SCENES`` (150); ``CATALENS_BENCH_OBJECTS_VALIDATION`` (0): 1 for scenes
    of validation photos, on which constants were chosen.
    """
    log(f"bench objects: {part}")
    data, split = real_data("fashion"), "validation" if knob("OBJECTS_VALIDATION", 0) else "test"
    model = ready_model("linear", data, work)
    if part == "exported":
        quick = work / "fashion-objects-quick"
        if not quick.exists():
            export(model, data, quick)
        model = quick
    bundle = load_bundle(model)
    embedder = open_embedder(bundle, device="cpu")
    problem = read_trained(data, bundle.training)
    drawn = np.random.default_rng(0).permutation(len(problem.of(split)))[:_CUTOUTS]
    known = photo_features(
        [*problem.of("train"), *(problem.of(split)[place] for place in drawn)], embedder
    )
    vectors = embedder.embed_features(known.values)
    learned = np.array([problem.split[row.product_id] == "train" for row in known.rows])
    shop = SceneShop(embedder, vectors, learned, [row.product_id for row in known.rows])
    cutouts, products = [], []
    for number, row in enumerate(known.rows):
        if not learned[number] and (found := cut_out(_pixels(row.image))) is not None:
            cutouts.append(found)
            products.append(number)
    floors = sorted((real_data("clothing") / split).rglob("*.jpg"))
    floors = [
        floors[place] for place in np.random.default_rng(0).permutation(len(floors))[:_GROUNDS]
    ]
    measured = figures(
        shop,
        cutouts,
        products,
        [_pixels(floor) for floor in floors],
        [r.category for r in known.rows],
    )
    return {"recipe": _RECIPE.format(split=split), "model": bundle.model_version, **measured}


class SceneShop:
    """A catalog as arrays: what a box's embedding is compared with. ``learned`` bool [N]: the train
    photos."""

    def __init__(
        self, embedder: Runtime, vectors: np.ndarray, learned: np.ndarray, ids: Sequence[str]
    ) -> None:
        self.embedder = embedder
        self.vectors = vectors
        self.learned = learned
        self.ids = ids
        self.train = vectors[learned]
        some = np.random.default_rng(0).permutation(len(self.train))[:SAMPLE]
        cosines = self.train[some] @ self.train.T
        cosines[np.arange(len(some)), some] = -1
        self.usual = in_catalog_similarity(np.sort(cosines, axis=1)[:, -NEAREST:])

    def embed(self, pixels: np.ndarray, boxes: Sequence[Box]) -> np.ndarray:
        """The vectors [N, D] of parts of a photo, as the service sees a ``crop``."""
        image = Image.fromarray(pixels)
        preprocess = self.embedder.spec.preprocess
        parts = [frame_part(image.crop((x, y, x + w, y + h)), preprocess) for x, y, w, h in boxes]
        return self.embedder.embed(
            [Photo(part, "PNG", part.width, part.height, "") for part in parts]
        )

    def found(self, pixels: np.ndarray) -> tuple[list[Box], np.ndarray]:
        """The boxes that the service would name, best first, and their vectors."""
        boxes = propose_regions(Image.fromarray(pixels))
        vectors = self.embed(pixels, boxes)
        closeness = np.sort(vectors @ self.train.T, axis=1)[:, -NEAREST:].mean(axis=1)
        places = [
            chosen.place for chosen in select_objects(boxes, closeness, self.usual, limit=MOST)
        ]
        return [boxes[place] for place in places], vectors[places]


def figures(
    shop: SceneShop,
    cutouts: Sequence[Cutout],
    products: Sequence[int],
    grounds: Sequence[np.ndarray],
    kinds: Sequence[Any],
) -> BenchRow:
    """All figures. ``products``: each cutout's number in the catalog; ``kinds``: the catalog's
    categories."""
    scenes = [scene(cutouts, grounds, number) for number in range(knob("OBJECTS_SCENES", 150))]
    samples, spent = [], []
    for number, shown in enumerate(scenes):
        with threadpool_limits(
            1, user_api="blas"
        ):  # as in a process that serves: threads that wait spin
            started = time.process_time()
            boxes, vectors = shop.found(shown.pixels)
            spent.append((time.process_time() - started) * 1000)
        samples.append(_sample(shop, number, shown, boxes, vectors, products, kinds))
    rng = np.random.default_rng(1)
    empty = [ground(GROUNDS[n % 2], photo, (560, 560), rng) for n, photo in enumerate(grounds)]
    row: BenchRow = {
        "scenes": len(scenes),
        "products": sum(len(sample["iou"]) for sample in samples),
    }
    row |= summary(samples)
    for kind in GROUNDS:
        row |= {f"{kind}: {name}": value for name, value in summary(_of(samples, kind)).items()}
    for name, photos in (
        ("empty", [np.clip(np.rint(e), 0, 255).astype(np.uint8) for e in empty]),
        ("real", grounds),
    ):
        row[name] = (
            float(np.mean([len(shop.found(photo)[0]) > 0 for photo in photos]))
            if len(photos)
            else None
        )
    row |= {"cpu_ms_p50": percentile(spent, 0.5), "cpu_ms_p90": percentile(spent, 0.9)}
    return {**row, "samples": samples, "samples_ms": spent}


def summary(samples: Sequence[dict[str, Any]]) -> dict[str, float]:
    """Recall, precision and hit rates over the scenes of ``samples``."""

    def mean(name: str) -> float:
        values = [value for sample in samples for value in sample[name]]
        return float(np.mean(values)) if values else 0.0

    named = {"recall": "found", "precision": "right", "mean_iou": "iou"}
    named |= {"recall offered": "offered", "recall one box": "one box"}
    hits = {
        f"{what}@1 {how}": f"{what} {how}"
        for what in ("category", "product")
        for how in ("proposed", "true", "whole")
    }
    return {name: mean(field) for name, field in {**named, **hits}.items()}


def _of(samples: Sequence[dict[str, Any]], ground_kind: str) -> list[dict[str, Any]]:
    return [sample for sample in samples if sample["ground"] == ground_kind]


def _best_cover(boxes: Sequence[Box], true: Box) -> float:
    """The intersection over union of the box that covers ``true`` best."""
    return max((iou(box, true) for box in boxes), default=0.0)


def _sample(
    shop: SceneShop,
    number: int,
    shown: Scene,
    boxes: Sequence[Box],
    vectors: np.ndarray,
    products: Sequence[int],
    kinds: Sequence[Any],
) -> dict[str, Any]:
    truth = [pasted.box for pasted in shown.pasted]
    own = [products[pasted.product] for pasted in shown.pasted]
    cover = np.zeros((len(truth), len(boxes)))
    for row, true in enumerate(truth):
        cover[row] = [iou(box, true) for box in boxes]
    sample: dict[str, Any] = {
        "scene": number,
        "ground": shown.ground,
        "iou": cover.max(axis=1, initial=0.0).round(4).tolist(),
        "found": (cover.max(axis=1, initial=0.0) >= _RIGHT).tolist(),
        "right": (cover.max(axis=0, initial=0.0) >= _RIGHT).tolist(),
    }
    height, width = shown.pixels.shape[:2]
    single = find_product(view_photo(shown.pixels, (width, height))).box
    peers = {
        "offered": propose_regions(Image.fromarray(shown.pixels))[:-1],
        "one box": [single] if single else [],
    }
    for peer, others in peers.items():
        sample[peer] = [_best_cover(others, true) >= _RIGHT for true in truth]
    best = [vectors[row.argmax()] if row.max(initial=0.0) > 0 else None for row in cover]
    asked: dict[str, Sequence[np.ndarray | None]] = {
        "proposed": best,
        "true": list(shop.embed(shown.pixels, truth)),
        "whole": list(shop.embed(shown.pixels, [(0, 0, width, height)])) * len(truth),
    }
    train = np.flatnonzero(shop.learned)
    for how, queries in asked.items():
        hits = [
            (False, False)
            if query is None
            else (
                kinds[train[int((shop.train @ query).argmax())]] == kinds[mine],
                shop.ids[int((shop.vectors @ query).argmax())] == shop.ids[mine],
            )
            for query, mine in zip(queries, own, strict=True)
        ]
        sample[f"category {how}"] = [hit[0] for hit in hits]
        sample[f"product {how}"] = [hit[1] for hit in hits]
    return sample


def _pixels(file: Path) -> np.ndarray:
    with Image.open(file) as image:
        return np.asarray(image.convert("RGB"))
