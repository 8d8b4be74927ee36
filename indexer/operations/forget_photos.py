"""Forgetting of photos: embedded, signed and kept as a thumbnail, then their bytes are dropped."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from indexer.catalog.photo_store import PhotoStore
from indexer.catalog.records import NewPhoto, PhotoRow, SkippedPhoto
from indexer.catalog.store import Catalog, open_catalog
from indexer.core.errors import BadModelError
from indexer.core.home import Home
from indexer.core.native import THREADS
from indexer.core.process_limits import limit_worker
from indexer.duplicates.hash_store import SignatureStore, sign_photos
from indexer.imaging.decode import Photo
from indexer.imaging.parallel import decoding_threads
from indexer.index.embedding_store import EmbeddingStore
from indexer.index_build.embed import embed_photos
from indexer.model.bundle import Bundle
from indexer.model.registry import by_version, resolve
from indexer.model.runtime_base import Runtime
from indexer.operations.automatic_export import choose_exported
from indexer.operations.garbage_collection import photo_files

# Photos embedded between two commits; and those that choose the model's exported form.
_PART = 256
_FIRST = 400
_LOOK_S = 1.0


@dataclass
class ForgottenPhotos:
    """What was made of photos before their bytes were dropped. ``model_version``: by which model;
    ``reason``: why in this form. ``skipped`` could not be read whole, and have no vector."""

    model_version: str
    reason: str | None = None
    forgotten: int = 0
    skipped: list[SkippedPhoto] = field(default_factory=list)


class PhotoForgetter:
    """Keeps the bytes of new photos until ``settle`` has made all that is to be kept of them.

    It is the ``photo_keeper`` of an import. Bytes wait in the home's folder of photos, so that a
    kill loses none: the next forgetter of the home goes on with them.
    """

    def __init__(
        self,
        home: Home,
        bundle: Bundle | None,
        *,
        model: str | None = None,
        embedder: Runtime | None = None,
    ) -> None:
        """``bundle`` None: the registered version ``model``, or what an index build would take, is
        made ready by a process of its own, so that this one loads no torch."""
        self._home = home
        self._model = model
        self._bundle = bundle
        self._embedder = embedder
        # Photos without a catalog look like a home that lost it.
        open_catalog(home).close()
        self._photos = PhotoStore(home)
        self._lock = threading.Lock()
        # Waiting; of those left by a kill, only the ones that the catalog has as forgotten count.
        self._waiting = {
            path.name for path in photo_files(home) if path.is_relative_to(home.photos)
        }
        self._chosen = embedder is not None
        self.report = ForgottenPhotos("" if bundle is None else bundle.model_version)

    def keep(self, data: bytes, photo: Photo) -> NewPhoto:
        """Keep the bytes for now, and describe the photo as one that is forgotten."""
        kept = replace(self._photos.add(data, photo), storage="forget")
        with self._lock:
            self._waiting.add(kept.content_hash)
        return kept

    def settle(self, *, least: int = 1) -> int:
        """Embed, sign and drop the waiting photos that the catalog has; returns how many.

        Nothing where there are fewer than ``least``. Raises what opening the model raises.
        """
        done = 0
        with open_catalog(self._home) as catalog:
            rows = self._rows(catalog)
            if len(rows) < least:
                return 0
            bundle, embedder = self._open()
            with (
                closing(
                    EmbeddingStore(
                        self._home.embeddings,
                        bundle.embedding_id,
                        bundle.spec.dim,
                        catalog=catalog,
                    )
                ) as store,
                closing(SignatureStore(self._home, catalog)) as signatures,
            ):
                for start in range(0, len(rows), _PART):
                    part = rows[start : start + _PART]
                    ids = np.array([row.photo_id for row in part], np.int64)
                    missing = store.missing(ids)
                    skipped = embed_photos(catalog, self._photos, store, embedder, missing)
                    sign_photos(catalog, self._photos, signatures, ids)
                    self._drop(part, catalog)
                    self.report.skipped += skipped
                    done += len(part)
        self.report.forgotten += done
        return done

    def _rows(self, catalog: Catalog) -> list[PhotoRow]:
        """The waiting photos that are in the catalog; others wait on, or are no longer ours."""
        with self._lock:
            waiting = list(self._waiting)
        found = catalog.photos_by_hash(waiting)
        other = {name for name, row in found.items() if row.storage != "forget"}
        with self._lock:
            self._waiting -= other
        return sorted(
            (row for name, row in found.items() if name not in other),
            key=lambda row: row.photo_id,
        )

    def _open(self) -> tuple[Bundle, Runtime]:
        from indexer.model.open_runtime import open_embedder

        if not self._chosen:
            # While there are still photos to judge its exported form by, and before any vector.
            version = self._model if self._bundle is None else self._bundle.model_version
            version, self.report.reason = _choose(self._home, version)
            self._bundle = by_version(self._home, version)
            self.report.model_version = version
            self._chosen = True
        assert self._bundle is not None
        if self._embedder is None:
            self._embedder = open_embedder(self._bundle)
            self._embedder.configure_threads()
        return self._bundle, self._embedder

    def _drop(self, rows: Sequence[PhotoRow], catalog: Catalog) -> None:
        """Keep thumbnails, which take longer than the network, and drop the bytes; of photos that
        were erased meanwhile nothing stays."""
        # Two at least: one waits for the disk while the other computes.
        with ThreadPoolExecutor(decoding_threads(max(2, THREADS))) as pool:
            list(pool.map(self._photos.drop, rows))
        hashes = {row.content_hash for row in rows}
        if erased := hashes - set(catalog.photos_by_hash(hashes)):
            self._photos.collect_thumbnails(catalog, erased)
        with self._lock:
            self._waiting -= hashes


def _choose(home: Home, model: str | None) -> tuple[str, str | None]:
    """``choose_exported`` in a process of its own: what torch and an export take, it gives back by
    ending.

    Raises ``BadModelError`` where that process fails.
    """
    command = [sys.executable, "-m", "indexer.operations.forget_photos"]
    root = str(Path(__file__).parents[2])
    path = os.pathsep.join([root, *filter(None, [os.environ.get("PYTHONPATH")])])
    done = subprocess.run(
        [*command, str(home.path), *([model] if model else [])],
        env={**os.environ, "PYTHONPATH": path},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        check=False,
    )
    if done.returncode:
        raise BadModelError(
            f"model {model or 'for this home'} could not be prepared (status {done.returncode})"
        )
    found = json.loads(done.stdout.splitlines()[-1])
    return found["model_version"], found["reason"]


@contextmanager
def forgetting(home: Home, model: str | None = None) -> Iterator[PhotoForgetter]:
    """A forgetter that settles in a thread while photos come, and what is left at the end.

    ``model``: a model folder or registered version; None: what an index build would take. Raises
    ``UnknownModelError``, ``BadModelError``, and at the end what the thread raised.
    """
    version = None if model is None else resolve(home, model).model_version
    forgetter = PhotoForgetter(home, None, model=version)
    ended = threading.Event()
    failures: list[BaseException] = []

    def work() -> None:
        least = _FIRST
        try:
            while not ended.is_set():
                if forgetter.settle(least=least):
                    least = 1
                else:
                    ended.wait(_LOOK_S)
        except BaseException as error:
            failures.append(error)

    thread = threading.Thread(target=work, name="forget-photos", daemon=True)
    thread.start()
    try:
        yield forgetter
    finally:
        ended.set()
        thread.join()
    if failures:
        raise failures[0]
    forgetter.settle()


def main(arguments: Sequence[str]) -> None:
    """Print the form of a home's model that is to embed its photos, exported where that fits."""
    limit_worker()
    home = Home(arguments[0])
    choice = choose_exported(home, resolve(home, arguments[1] if len(arguments) > 1 else None))
    print(json.dumps({"model_version": choice.bundle.model_version, "reason": choice.reason}))


if __name__ == "__main__":
    main(sys.argv[1:])
