"""Automatic export of a model before its first index is built on a processor."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from indexer.catalog.photo_store import PhotoStore
from indexer.catalog.records import PhotoRow
from indexer.catalog.store import Catalog, open_catalog
from indexer.core.atomic_files import folder_aside
from indexer.core.errors import BadModelError, UnknownPhotoError
from indexer.core.home import Home
from indexer.core.progress import OnStage, no_progress
from indexer.core.vectors import evenly_spaced
from indexer.imaging.decode import STORED_PHOTO_LIMITS, Photo
from indexer.imaging.parallel import decode_all
from indexer.imaging.photo_sequence import PhotoSequence
from indexer.index.embedding_store import EmbeddingStore
from indexer.model.bundle import Bundle
from indexer.model.open_runtime import without_gpu
from indexer.model.openvino_runtime import openvino
from indexer.model.preprocessing import shrink_to
from indexer.model.registry import register_model, registered

# Fewer photos judge nothing: then the model is used as it is.
LEAST_PHOTOS = 100
# The first that is near enough is taken: they follow each other by speed.
_CLASSES = ("int8", "bf16", "fp32")
_CALIBRATION = 160
_JUDGES = 200


@dataclass(frozen=True)
class ExportChoice:
    """The model that an index is to be built with, and in words why."""

    bundle: Bundle
    # None where nothing was decided: the model is exported already.
    reason: str | None


def choose_exported(
    home: Home, bundle: Bundle, *, device: str = "auto", progress: OnStage = no_progress
) -> ExportChoice:
    """Return the exported form of ``bundle``, registered in ``home``, where that is to be used.

    A model is exported once, before its first index: photos of the catalog calibrate and judge it
    (``training.export``), and a form that is not near enough to the model's own vectors is not
    used. A model whose vectors the home holds already stays, since another form would have all
    photos embedded again; so does one for a GPU, one without OpenVINO, and one of a catalog with
    fewer than ``LEAST_PHOTOS`` photos.
    """
    if bundle.exported:
        return ExportChoice(bundle, None)
    for known in registered(home):
        if known.exported and known.training.get("exported_from") == bundle.model_version:
            return ExportChoice(known, f"exported before as {known.spec.numeric}")
    reason = _obstacle(home, bundle, device)
    if reason is not None:
        return ExportChoice(bundle, reason)
    return _export(home, bundle, progress)


def _obstacle(home: Home, bundle: Bundle, device: str) -> str | None:
    """Why the model is not exported, or None."""
    if device not in ("auto", "cpu") or (device == "auto" and not without_gpu()):
        return "not exported: it runs on the GPU"
    if openvino() is None:
        return "not exported: OpenVINO is not installed"
    with closing(EmbeddingStore(home.embeddings, bundle.embedding_id, bundle.spec.dim)) as store:
        if len(store):
            return (
                "not exported: the home holds vectors of the model itself (catalens model export "
                "makes the faster form, and an index built with it embeds all photos again)"
            )
    with open_catalog(home) as catalog:
        count = catalog.photo_count()
    if count < LEAST_PHOTOS:
        return f"not exported: {count} photos are too few to judge it by ({LEAST_PHOTOS} needed)"
    return None


def _export(home: Home, bundle: Bundle, progress: OnStage) -> ExportChoice:
    # Slow to load, and not needed for a model that is exported already.
    from indexer.training.export import ReferencePhotos, export_bundle

    with open_catalog(home) as catalog:
        calibration, judges, rows = _drawn(home, catalog, shrink_to(bundle.spec.preprocess))
        photos = ReferencePhotos(calibration, judges, _categories(catalog, rows))
    if len(judges) < LEAST_PHOTOS // 2 or not calibration:
        return ExportChoice(bundle, "not exported: too few photos can be read to judge it by")
    home.make_folder(home.models)
    try:
        with folder_aside(home.models / "export") as aside:
            report = export_bundle(
                bundle, photos, aside / "model", classes=_CLASSES, first=True, progress=progress
            )
            exported = register_model(home, aside / "model")
    # Not near enough, its graph fails here, or a photo was erased meanwhile.
    except (BadModelError, UnknownPhotoError) as error:
        return ExportChoice(bundle, f"not exported: {error}")
    return ExportChoice(exported, _words(report))


def _words(report: dict[str, Any]) -> str:
    parity = report["tried"][-1]
    return (
        f"exported as {report['numeric']}: {parity['photos_per_s']:,.0f} photos/s, mean cosine "
        f"{parity['cosine']['mean']:.4f} to the model's own vectors on {parity['photos']} photos"
    )


def _drawn(
    home: Home, catalog: Catalog, size: int | None
) -> tuple[PhotoSequence, PhotoSequence, list[PhotoRow]]:
    """Readable photos that calibrate, and others that judge, with the rows of these."""
    _, entries = catalog.entries()
    ids = np.unique(entries[:, 1])
    picked = ids[evenly_spaced(len(ids), _CALIBRATION + _JUDGES)]
    # Both are spread alike over the catalog.
    judges = np.zeros(len(picked), bool)
    judges[evenly_spaced(len(picked), len(picked) * _JUDGES // (_CALIBRATION + _JUDGES))] = True
    calibration, _ = _readable(home, catalog, picked[~judges], size)
    return calibration, *_readable(home, catalog, picked[judges], size)


def _readable(
    home: Home, catalog: Catalog, photo_ids: np.ndarray, size: int | None
) -> tuple[PhotoSequence, list[PhotoRow]]:
    """Those that can be decoded. All are, to tell which: held, they would take half a gigabyte."""
    read = PhotoStore(home).read
    rows = list(catalog.photos_by_id(photo_ids.tolist()).values())
    found = decode_all(rows, read, limits=STORED_PHOTO_LIMITS, shrink_to=size)
    good = [row for row, photo in found if isinstance(photo, Photo)]
    readers = [partial(read, row) for row in good]
    return PhotoSequence(readers, limits=STORED_PHOTO_LIMITS, shrink_to=size), good


def _categories(catalog: Catalog, rows: Sequence[PhotoRow]) -> list[Any]:
    holders = catalog.holders([row.photo_id for row in rows])
    first = {photo_id: pids[0] for photo_id, pids in holders.items()}
    products = catalog.by_pids(set(first.values()), tags=False)
    found = []
    for row in rows:
        product = products.get(first.get(row.photo_id, -1))
        found.append(None if product is None else product.category)
    return found
