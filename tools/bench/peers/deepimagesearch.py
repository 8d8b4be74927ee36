"""DeepImageSearch's vector store as a process of its own: how long one delete takes there.

python -m tools.bench.peers.deepimagesearch VECTORS.npy FOLDER INDEX_TYPE DELETES  # prints one JSON
document

The package asks for faiss-cpu, which owns the same files as faiss-gpu, so it is installed without
its dependencies into a folder of its own; only its store is imported, over the faiss that is there.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
import types
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from indexer.core.errors import CatalensError

PACKAGE, VERSION = "DeepImageSearch", "3.0.3"
ROOT = Path(__file__).parents[3]


def install(folder: Path) -> Path:
    """The peer's code below ``folder``. Raises ``CatalensError`` where the registry does not give
    it."""
    target = folder / f"{PACKAGE}-{VERSION}"
    if not (target / PACKAGE).is_dir():
        command = [
            sys.executable,
            "-m",
            "pip",
            "install",
            "--quiet",
            "--no-deps",
            "--disable-pip-version-check",
        ]
        done = subprocess.run(
            [*command, "--target", str(target), f"{PACKAGE}=={VERSION}"],
            capture_output=True,
            text=True,
        )
        if done.returncode:
            raise CatalensError(
                f"{PACKAGE} {VERSION} cannot be installed: {done.stderr.strip()[-300:]}"
            )
    return target


def measure(vectors: Path, folder: Path, index_type: str, deletes: int) -> dict[str, Any]:
    """Seconds of each of ``deletes`` single deletes from a store of ``vectors`` (.npy), in memory
    and saved to disk."""
    command = [sys.executable, "-m", __spec__.name if __name__ == "__main__" else __name__]
    done = subprocess.run(
        [*command, str(vectors), str(install(folder)), index_type, str(deletes)],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    if done.returncode:
        raise CatalensError(f"{PACKAGE} failed: {done.stderr.strip()[-500:]}")
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def _store_class(target: Path) -> Any:
    """The store's class. Its package's own ``__init__`` imports the whole product, so it is stood
    in for."""
    from indexer.core import native

    sys.modules.setdefault("faiss", native.faiss)
    package = types.ModuleType(PACKAGE)
    package.__path__ = [str(target / PACKAGE)]
    sys.modules[PACKAGE] = package
    return import_module(f"{PACKAGE}.vectorstores.faiss_store").FAISSStore


def _run(vectors: Path, target: Path, index_type: str, deletes: int) -> dict[str, Any]:
    rows = np.load(vectors).astype(np.float32)
    store = _store_class(target)(rows.shape[1], index_type)
    ids = [f"p{number:07d}" for number in range(len(rows))]
    started = time.perf_counter()
    store.add(ids, rows, [{"title": f"Product {number}"} for number in range(len(rows))])
    built_s = time.perf_counter() - started
    in_memory, saved = [], []
    with tempfile.TemporaryDirectory() as folder:
        store.save(folder)
        for number in range(deletes):
            started = time.perf_counter()
            store.delete([ids[number]])
            in_memory.append(time.perf_counter() - started)
            store.save(folder)  # else the product is back after a restart
            saved.append(time.perf_counter() - started)
    if store.count() != len(rows) - deletes:
        raise CatalensError(f"{store.count()} vectors are left, not {len(rows) - deletes}")
    return {
        "peer": PACKAGE,
        "peer_version": VERSION,
        "index_type": index_type,
        "vectors": list(rows.shape),
        "built_s": built_s,
        "delete_s": in_memory,
        "delete_saved_s": saved,
    }


if __name__ == "__main__":
    print(json.dumps(_run(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3], int(sys.argv[4]))))
