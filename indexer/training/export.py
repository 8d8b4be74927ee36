"""Export of a trained model as an OpenVINO graph in fp32, bf16 or int8, checked for parity.

The exported model is a bundle of its own, with its own ``embedding_id``: vectors of one index come
from one numeric class. It keeps heads and decision layer. Its preprocessing is the quick form of
the same (``preprocess.QUICK``), so what is checked is the whole way from a photo's bytes to its
vector.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from indexer.core.atomic_files import write_json
from indexer.core.errors import (
    BadDataError,
    BadRequestError,
    CatalensError,
    NotAlikeError,
    WeightsUnavailableError,
)
from indexer.core.progress import OnStage, no_progress
from indexer.core.vectors import evenly_spaced
from indexer.feeds.dataset import DatasetRow
from indexer.imaging.decode import Photo
from indexer.imaging.parallel import decode_all
from indexer.imaging.photo_file import read_photo
from indexer.imaging.photo_sequence import PhotoSequence
from indexer.model.bundle import (
    GRAPH,
    PARITY,
    PROBES,
    Bundle,
    check_out,
    load_bundle,
    write_bundle,
)
from indexer.model.feature_store import FeatureCache, cache_file, default_cache, features_id
from indexer.model.joint_encoder import JointEncoder
from indexer.model.network import Network
from indexer.model.numpy_network import NumpyNetwork
from indexer.model.openvino_runtime import (
    HOW,
    Graph,
    OpenVinoRuntime,
    capabilities,
    convert,
    cosines,
    openvino,
)
from indexer.model.preprocessing import QUICK, group_pixels, photos_to_pixels, shrink_to
from indexer.model.spec import NUMERICS
from indexer.model.text_graph import write_text_graph
from indexer.model.torch_runtime import TorchRuntime
from indexer.training.problem import read_trained
from indexer.training.quantisation import quantised_graphs

# Least mean cosine to the model's own vectors, and most that the share of photos whose nearest
# neighbour has their category may fall, beyond chance. The pixels alone, cut at whole px, cost .002
# of a model whose features stayed frozen.
TOLERANCE = {"fp32": 0.997, "bf16": 0.996, "int8": 0.995}
MOST_LOST = 0.005
# photos that calibrate, judge, and time an export
CALIBRATION = 300
_CHECKED = 400
_TIMED = 64
# photos that are held decoded
_PORTION = 16


@dataclass(frozen=True)
class ReferencePhotos:
    """Photos that calibrate an export, and photos that judge it with their categories, if any."""

    calibration: Sequence[Photo]
    judges: Sequence[Photo]
    categories: list[Any]


@dataclass(frozen=True)
class _References:
    """Reference photos with the model's own vectors of the judges, float32 [N, D]."""

    calibration: Sequence[Photo]
    photos: Sequence[Photo]
    vectors: np.ndarray
    categories: list[Any]


def export(
    model: Path,
    data: Path,
    out: Path,
    *,
    numeric: str = "auto",
    replace_out: bool = False,
    progress: OnStage = no_progress,
) -> dict[str, Any]:
    """Write ``model`` exported in ``numeric`` to ``out``; ``auto``: the fastest here of those that
    come near enough.

    DATA's train photos (or, without splits, those that training would draw) calibrate int8, its
    validation photos judge. Returns model_version, embedding_id, numeric, and ``tried``: the parity
    of each class. Raises ``NotAlikeError`` where none comes near enough, ``BadRequestError`` for an
    unknown class or a model that is exported already, ``WeightsUnavailableError`` without OpenVINO,
    ``BadDataError`` without photos to judge by.
    """
    if numeric != "auto" and numeric not in NUMERICS:
        raise BadRequestError(f"unknown numeric class {numeric!r}: use auto, {', '.join(NUMERICS)}")
    _require_openvino()
    check_out(out.absolute(), replace=replace_out)
    bundle = _exportable(model)
    progress("reference", 0, 1)
    photos = _dataset_photos(bundle, data)
    classes = list(NUMERICS) if numeric == "auto" else [numeric]
    return export_bundle(
        bundle, photos, out, classes=classes, replace_out=replace_out, progress=progress
    )


def export_bundle(
    bundle: Bundle,
    photos: ReferencePhotos,
    out: Path,
    *,
    classes: Sequence[str],
    first: bool = False,
    replace_out: bool = False,
    progress: OnStage = no_progress,
) -> dict[str, Any]:
    """Write ``bundle`` exported to ``out``, in the fastest of ``classes`` that is near enough.

    ``first``: in the first of them that is near enough, which spares trying the others. Returns and
    raises as ``export``.
    """
    _require_openvino()
    references = _with_vectors(bundle, photos)
    progress("reference", 1, 1)
    network = bundle.network()
    preprocess = bundle.spec.preprocess
    preprocess = replace(preprocess, interpolation=QUICK[preprocess.interpolation])
    tried: list[tuple[dict[str, Any], Any]] = []
    for done, name in enumerate(classes):
        progress("export", done, len(classes))
        network.spec = replace(bundle.spec, numeric=name, preprocess=preprocess)
        tried.append(_best(network, name, references))
        if first and tried[-1][0]["alike"]:
            break
    progress("export", len(classes), len(classes))
    parity, graph = _fastest(bundle.path, tried)
    network.spec = replace(bundle.spec, numeric=parity["numeric"], preprocess=preprocess)
    written = write_bundle(
        out,
        network,
        replace(bundle.decision, origin=None),
        metrics=bundle.metrics,
        training={**bundle.training, "exported_from": bundle.model_version},
        replace=replace_out,
        add_files=lambda folder: _write(folder, bundle, network, graph, parity),
    )
    return {
        "model": str(out),
        "model_version": written.model_version,
        "embedding_id": written.embedding_id,
        "numeric": parity["numeric"],
        "tried": [parity for parity, _ in tried],
    }


def _require_openvino() -> None:
    if openvino() is None:
        raise WeightsUnavailableError(
            f"a model is exported with OpenVINO, which is not installed: {HOW}"
        )


def _exportable(model: Path) -> Bundle:
    bundle = load_bundle(model)
    if bundle.exported:
        raise BadRequestError(f"{model} is an exported model already: export the one it came from")
    return bundle


def _dataset_photos(bundle: Bundle, data: Path) -> ReferencePhotos:
    problem = read_trained(data, bundle.training)
    size = shrink_to(bundle.spec.preprocess)
    calibration, _ = _drawn(problem.of("train"), CALIBRATION, size)
    judges, judged = _drawn(problem.of("validation"), _CHECKED, size)
    if len(judged) < 2:
        judges, judged = _drawn(problem.of("validation") + problem.of("train"), _CHECKED, size)
    if not calibration or len(judged) < 2:
        raise BadDataError(
            f"{data} has no readable train and validation photos to calibrate and judge an export "
            "by"
        )
    return ReferencePhotos(calibration, judges, [row.category for row in judged])


def _with_vectors(bundle: Bundle, photos: ReferencePhotos) -> _References:
    """Add the model's own vectors of the judges, from cached features where they are there."""
    reference = TorchRuntime(bundle.network(), device="cpu")
    features = _cached_features(reference, photos.judges)
    vectors = np.empty((len(photos.judges), bundle.spec.dim), np.float32)
    for start in range(0, len(vectors), _PORTION):
        part = list(photos.judges[start : start + _PORTION])
        hashes = [photo.content_hash for photo in part]
        if all(content_hash in features for content_hash in hashes):
            rows = np.stack([features[content_hash] for content_hash in hashes])
            found = reference.embed_features(rows.astype(np.float32))
        else:
            found = reference.embed(part)
        vectors[start : start + _PORTION] = found
    return _References(photos.calibration, photos.judges, vectors, photos.categories)


def _cached_features(reference: TorchRuntime, photos: Sequence[Photo]) -> dict[str, np.ndarray]:
    """Read cached features float16 [F + K] by content hash; an unusable cache has none."""
    name = features_id(reference)
    try:
        if not cache_file(default_cache(), name).is_file():
            return {}
        with closing(FeatureCache(default_cache(), name)) as cache:
            return cache.get_many([photo.content_hash for photo in photos])
    except (CatalensError, OSError):
        return {}


def _fastest(
    model: Path, tried: Sequence[tuple[dict[str, Any], Any]]
) -> tuple[dict[str, Any], Any]:
    """Choose the fastest of those that come near enough.

    Raises ``NotAlikeError`` where none does.
    """
    good = [(parity, graph) for parity, graph in tried if parity["alike"]]
    if not good:
        worst = "; ".join(_summary(parity) for parity, _ in tried)
        raise NotAlikeError(f"no export of {model} comes near enough to its vectors: {worst}")
    return max(good, key=lambda found: found[0]["photos_per_s"])


def _drawn(
    rows: Sequence[DatasetRow], limit: int, shrink_to: int | None
) -> tuple[PhotoSequence, list[DatasetRow]]:
    """Draw up to ``limit`` readable photos spread evenly over ``rows``, each with its row."""
    picked = [rows[place] for place in evenly_spaced(len(rows), limit)]
    # All of them are decoded here, to tell which can be; held, they would take a gigabyte.
    found = decode_all(picked, lambda row: read_photo(row.image), shrink_to=shrink_to)
    good = [row for row, photo in found if isinstance(photo, Photo)]
    return PhotoSequence(
        [partial(read_photo, row.image) for row in good], shrink_to=shrink_to
    ), good


def _best(network: Network, numeric: str, references: _References) -> tuple[dict[str, Any], Any]:
    """Return the first graph of this class that is near enough, else the last; with its parity."""
    plain = convert(network)
    if numeric != "int8":
        return _judge(network, plain, numeric, references), plain
    # A graph is quantised at its own size; its scales hold at the others, which parity judges.
    preprocess = network.spec.preprocess
    if preprocess.shapes:
        preprocess = replace(preprocess, shapes=(), keep_aspect=False)
    pixels = photos_to_pixels(references.calibration, preprocess)
    for graph in quantised_graphs(plain, pixels):
        judged = _judge(network, graph.model, numeric, references)
        parity = {**judged, **graph.left_out}
        if parity["alike"]:
            break
    return parity, graph.model


def _judge(network: Network, model: Any, numeric: str, references: _References) -> dict[str, Any]:
    """Measure how near the graph's vectors come to the model's own, and how fast it is here."""
    graph = Graph(model, numeric)
    kept = graph.infer_probes(network.spec.preprocess)
    plain = NumpyNetwork(
        network.spec, {key: tensor.numpy() for key, tensor in network.state_dict().items()}
    )
    runtime = OpenVinoRuntime(
        plain, graph, kept, name="the export", digest="", whole=lambda: network
    )
    vectors = runtime.embed(references.photos)
    cosine = cosines(vectors, references.vectors)
    hits = [_hits(found, references.categories) for found in (references.vectors, vectors)]
    rates = [float(found.mean()) if len(found) else None for found in hits]
    lost = float(hits[0].mean() - hits[1].mean()) if len(hits[0]) else 0.0
    most_lost = _most_lost(*hits)
    groups = group_pixels(references.photos[:_TIMED], network.spec.preprocess)
    return {
        "numeric": numeric,
        "alike": bool(cosine.mean() >= TOLERANCE[numeric] and lost <= most_lost),
        "photos": len(references.photos),
        "cosine": {
            "mean": float(cosine.mean()),
            "p01": float(np.quantile(cosine, 0.01)),
            "min": float(cosine.min()),
        },
        "tolerance": {"cosine_mean": TOLERANCE[numeric], "hit_rate_at_1_lost": most_lost},
        "hit_rate_at_1": {"model": rates[0], "exported": rates[1]},
        "photos_per_s": _speed(
            lambda: [graph.infer_batch(pixels) for _, pixels in groups],
            sum(len(places) for places, _ in groups),
        ),
        "engine": f"openvino {openvino().__version__}",
        "made_on": sorted(capabilities()),
    }


def _summary(parity: dict[str, Any]) -> str:
    hits = parity["hit_rate_at_1"]
    tolerance = parity["tolerance"]
    lost = ""
    if hits["model"]:
        lost = f", nearest of the same category {hits['exported']:.3f} for {hits['model']:.3f}"
    mean = parity["cosine"]["mean"]
    return (
        f"{parity['numeric']}: mean cosine {mean:.4f} (at least {tolerance['cosine_mean']}){lost}"
    )


def _hits(vectors: np.ndarray, categories: Sequence[Any]) -> np.ndarray:
    """Bool [n]: has the nearest other photo the category of each that has one; empty where fewer
    than two have."""
    known = [number for number, category in enumerate(categories) if category]
    if len(known) < 2:
        return np.zeros(0, bool)
    scores = vectors[known] @ vectors[known].T
    np.fill_diagonal(scores, -np.inf)
    nearest = scores.argmax(axis=1)
    return np.array(
        [categories[known[mine]] == categories[known[other]] for mine, other in enumerate(nearest)]
    )


def _most_lost(before: np.ndarray, after: np.ndarray) -> float:
    """Bound how far the share of hits may fall, from ``_hits`` of the same photos.

    Of few photos some are lost and others won by chance: what lies within one standard error proves
    nothing.
    """
    return float(MOST_LOST + np.sqrt(np.count_nonzero(before != after)) / max(len(before), 1))


def _speed(work: Callable[[], object], photos: int) -> float:
    """Measure photos per second of the backbone, the median of five runs after one."""
    work()
    seconds = []
    for _ in range(5):
        started = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - started)
    return photos / median(seconds)


def _write(
    folder: Path, bundle: Bundle, network: Network, graph: Any, parity: dict[str, Any]
) -> None:
    from safetensors.numpy import save_file

    bundle.copy_text_tower(folder)
    if bundle.spec.block("t") is not None:
        write_text_graph(JointEncoder(bundle), folder)
    openvino().save_model(graph, folder / GRAPH, compress_to_fp16=False)
    features = Graph(graph, network.spec.numeric).infer_probes(network.spec.preprocess)
    save_file({"features": features}, folder / PROBES)
    write_json(folder / PARITY, parity)
