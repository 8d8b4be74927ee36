"""Erasure of deleted photos from classes that were made from them."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from indexer.catalog.deletions import Deletions
from indexer.catalog.store import Catalog
from indexer.classification.class_editing import fit_anew
from indexer.core.errors import CatalensError
from indexer.core.home import Home
from indexer.core.regular_files import read_json
from indexer.index.active_model import active_model, serve_decision
from indexer.index.embedding_store import EmbeddingStore
from indexer.model.bundle import DECISION, Bundle
from indexer.model.decision_layer import FewShot

# Of so many other photos, whose vectors are not known, a row holds no single photo's.
_ENOUGH_OTHERS = 2


@dataclass(frozen=True)
class _ErasedPhotos:
    """Tells photos that were erased lately, and that no product has by now."""

    catalog: Catalog
    deletions: Deletions

    def among(self, hashes: tuple[str, ...], number: int) -> frozenset[str]:
        """Those of class ``number``, which keeps what was given for it afterwards."""
        gone = self.deletions.erased_among(hashes)
        gone -= self.deletions.given_among(gone, number)
        return gone - frozenset(self.catalog.photos_by_hash(gone))


def erase_classes(home: Home, catalog: Catalog) -> int:
    """Take erased photos out of the classes of the model that serves; how many classes changed.

    A class is fitted anew from its other photos where the catalog has them all. Where it has not, a
    row that two or more of them made stays, as weights that were trained on a photo do. A class of
    which too little would be left stays as it is: see ``standing_classes``. Raises ``BusyError``,
    ``StorageError``.
    """
    erased = _ErasedPhotos(catalog, Deletions(catalog.database))
    if home.active() is None or not any(True for _ in _held(home.models, erased)):
        return 0
    with home.lock("decision", wait_s=30.0):
        active, bundle = active_model(home)
        before = bundle.decision.few_shot
        rows = tuple(_without(home, catalog, bundle, entry, erased) for entry in before)
        changed = sum(row is not entry for row, entry in zip(rows, before, strict=True))
        if changed:
            serve_decision(home, active, bundle, replace(bundle.decision, few_shot=rows))
        return changed


def models_of_erased(models: Path, catalog: Catalog) -> frozenset[str]:
    """Those in the folder ``models`` that hold a class of an erased photo."""
    held = _held(models, _ErasedPhotos(catalog, Deletions(catalog.database)))
    return frozenset(model for model, _ in held)


def standing_classes(home: Home, catalog: Catalog) -> dict[str, str]:
    """What keeps an erased photo in a model: where it lies -> why, and what removes it."""
    return {
        f"models/{model}": f"class {number} was made from an erased photo: "
        f"{class_removal(home, model, number)}"
        for model, number in _held(home.models, _ErasedPhotos(catalog, Deletions(catalog.database)))
    }


def class_removal(home: Home, model_version: str, number: int) -> str:
    """The commands that take a class out of a model of the home: out of the one that serves, and
    then the revisions that held it."""
    where = f"--home {shlex.quote(str(home.path))}"
    active = home.active()
    if active is None or active.model_version != model_version:
        return (
            f"catalens index erase {where}, once the version that is kept for rollback with this "
            "model is gone (build two)"
        )
    return f"catalens class remove --id {number} {where}, then catalens index erase {where}"


def class_number(entry: FewShot) -> int:
    """The id by which a class is removed."""
    return entry.id if entry.category is None else entry.category


def _held(models: Path, erased: _ErasedPhotos) -> Iterator[tuple[str, int]]:
    """Model and number of each class that was made from an erased photo."""
    folders = sorted(models.glob("[!.]*")) if models.is_dir() else []
    for folder in folders:
        for entry in stored_classes(folder):
            number = int(entry["id"] if entry["category"] is None else entry["category"])
            if erased.among(tuple(map(str, entry["photos"])), number):
                yield folder.name, number


def stored_classes(folder: Path) -> list[dict[str, Any]]:
    """As they are written; none where the model cannot be read, which ``verify`` says."""
    try:
        return list(read_json(folder / DECISION)["few_shot"])
    except (OSError, ValueError, KeyError, TypeError, CatalensError):
        return []


def _without(
    home: Home, catalog: Catalog, bundle: Bundle, entry: FewShot, erased: _ErasedPhotos
) -> FewShot:
    """A class without its erased photos; itself where it has none, or too little would be left."""
    gone = erased.among(entry.photos, class_number(entry))
    others = tuple(name for name in entry.photos if name not in gone)
    if not gone or not others:
        return entry
    vectors = _vectors(home, catalog, bundle, others)
    if vectors is not None:
        logits = bundle.numpy_network().logits
        return fit_anew(home, catalog, bundle, entry, others, vectors, logits)
    return replace(entry, photos=others) if len(others) >= _ENOUGH_OTHERS else entry


def _vectors(
    home: Home, catalog: Catalog, bundle: Bundle, hashes: tuple[str, ...]
) -> np.ndarray | None:
    """Unit vectors float32 [n, D] of photos of the catalog; None where one is not there."""
    known = catalog.photos_by_hash(hashes)
    if len(known) < len(hashes):
        return None
    ids = np.array([known[name].photo_id for name in hashes])
    path = home.embeddings
    with closing(
        EmbeddingStore(path, bundle.embedding_id, bundle.spec.dim, catalog=catalog)
    ) as store:
        there, vectors = store.find(ids)
    if not np.isin(ids, there).all():
        return None
    return vectors[np.searchsorted(there, ids)].astype(np.float32)
