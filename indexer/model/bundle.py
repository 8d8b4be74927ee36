"""Model bundle: a folder of safetensors weights, spec, decision layer, metrics, checksums."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from indexer.core.atomic_files import (
    canonical_json,
    folder_aside,
    make_folder,
    publish_folder,
    replace_folder,
    sha256_file,
    write_json,
)
from indexer.core.disk_failures import disk_failure
from indexer.core.errors import BadModelError, BadRequestError, NewerFormatError, StorageError
from indexer.core.file_names import is_plain_name
from indexer.core.regular_files import open_regular, read_json
from indexer.model.decision_check import check_decision
from indexer.model.decision_layer import Decision
from indexer.model.numpy_network import NumpyNetwork, check_tensors
from indexer.model.spec import ModelSpec

if TYPE_CHECKING:
    from indexer.model.network import Network

FORMAT = 1
MANIFEST = "manifest.json"
EMBEDDING = "embedding.safetensors"
HEADS = "heads.safetensors"
SPEC = "spec.json"
DECISION = "decision.json"
METRICS = "metrics.json"
TRAINING = "training.json"
# Only where the decision layer has few-shot entries.
DECISION_VECTORS = "decision.safetensors"
# Only of an exported model: the backbone as a graph, its features of the probe pictures, and how
# near it comes.
GRAPH = "graph.xml"
GRAPH_WEIGHTS = "graph.bin"
PROBES = "probes.safetensors"
PARITY = "parity.json"
# Only where block t is: the text tower that shares its space.
TEXT = "text.safetensors"
TEXT_CONFIG = "text.json"
TOKENIZER = "tokenizer.json"
# The tower as a graph, and its vectors of the probe texts; only of an exported model.
TEXT_GRAPH = "text_graph.xml"
TEXT_GRAPH_WEIGHTS = "text_graph.bin"
TEXT_PROBES = "text_probes.safetensors"
TEXT_FILES = (TEXT, TEXT_CONFIG, TOKENIZER)
_BACKBONE = "backbone."
# Of some hundred thousand tensors; reading one costs more than its bytes.
_LONGEST_HEADER = 4 << 20
_FILES = (EMBEDDING, HEADS, SPEC, DECISION, METRICS, TRAINING)


@dataclass(frozen=True)
class Bundle:
    """A verified model folder. Weights stay on the disk until ``network`` is called."""

    path: Path
    # Of the whole bundle.
    model_version: str
    # Of all that the vector depends on.
    embedding_id: str
    spec: ModelSpec
    decision: Decision
    metrics: Mapping[str, Any]
    # How it was made: arguments, seed, data.
    training: Mapping[str, Any]
    # File name -> SHA-256.
    checksums: Mapping[str, str]

    def network(self) -> Network:
        """Load the network with its weights, in eval mode. Raises ``BadModelError``."""
        from indexer.core.native import torch

        stored = {**_load_tensors(self.path / EMBEDDING), **_load_tensors(self.path / HEADS)}
        check_tensors(self.spec, stored, where=str(self.path))
        network = _empty_network(self.spec, stored, self.path)
        state = {name: torch.from_numpy(tensor) for name, tensor in stored.items()}
        counters = {
            name: value
            for name, value in network.state_dict().items()
            if name.endswith("num_batches_tracked")
        }
        _fill(network, {**counters, **state}, self.path)
        self._check(embedding_id(self.spec, network, self.checksums))
        return network.eval()

    def numpy_network(self) -> NumpyNetwork:
        """Load neck and heads alone, without torch: what an exported model needs beside its graph.

        Raises ``BadModelError``.
        """
        stored = {**_load_tensors(self.path / EMBEDDING), **_load_tensors(self.path / HEADS)}
        network = NumpyNetwork(self.spec, stored, where=str(self.path))
        described = canonical_json(self.spec.embedding_part()).decode()
        backbone = _part(described, stored, "backbone.")
        self._check(_embedding_id(self.spec, backbone, stored, self.checksums))
        return network

    def _check(self, found: str) -> None:
        if found != self.embedding_id:
            raise BadModelError(
                f"{self.path}: its manifest says {self.embedding_id}, its weights give {found}"
            )

    @property
    def exported(self) -> bool:
        """Whether it holds the backbone as a graph too (``indexer.training.export``)."""
        return GRAPH in self.checksums

    def copy_text_tower(self, folder: Path) -> None:
        """Copy the files of the text tower, where there is one, into another model folder."""
        for name in TEXT_FILES:
            if name in self.checksums:
                shutil.copyfile(self.path / name, folder / name)

    @property
    def parity(self) -> Mapping[str, Any]:
        """Parity of an exported model with the one it was made of; empty for others."""
        return _read_object(self.path / PARITY) if self.exported else {}

    def probe_features(self) -> np.ndarray:
        """Load the features float32 [P, F] of the probe pictures, as the graph's export gave."""
        return _load_tensors(self.path / PROBES)["features"]

    def text_probes(self) -> np.ndarray:
        """Load the vectors float32 [P, D] that the text tower gave of the probe texts."""
        return _load_tensors(self.path / TEXT_PROBES).get("vectors", np.empty(0))

    def general_spread(self) -> np.ndarray | None:
        """Return the covariance float64 [dim, dim] of block g for isotropic features.

        None: it is isotropic itself.
        """
        projection = _load_tensors(self.path / EMBEDDING).get("neck.general")
        if projection is None:
            return None
        rows = projection.astype(np.float64)
        return np.asarray(rows @ rows.T)


def embedding_id(spec: ModelSpec, network: Network, checksums: Mapping[str, str]) -> str:
    """Hash the spec without heads and every tensor of backbone and neck; of int8 the graph too."""
    described = canonical_json(spec.embedding_part()).decode()
    neck = {f"neck.{name}": array for name, array in _arrays(network.neck).items()}
    return _embedding_id(spec, tensors_digest(described, network.backbone), neck, checksums)


def _embedding_id(
    spec: ModelSpec, backbone: str, tensors: Mapping[str, np.ndarray], checksums: Mapping[str, str]
) -> str:
    digest = hashlib.sha256(backbone.encode())
    digest.update(_part("neck", tensors, "neck.").encode())
    if spec.numeric == "int8":
        digest.update(f"{checksums.get(GRAPH)} {checksums.get(GRAPH_WEIGHTS)}".encode())
    return "e" + digest.hexdigest()[:32]


def tensors_digest(name: str, module: Any) -> str:
    """Hash ``name`` and every tensor that the module's output depends on, hex SHA-256."""
    return _digest(name, _arrays(module))


def _part(name: str, tensors: Mapping[str, np.ndarray], prefix: str) -> str:
    """Hash the tensors whose names begin with ``prefix``, without it."""
    return _digest(
        name,
        {key.removeprefix(prefix): part for key, part in tensors.items() if key.startswith(prefix)},
    )


def _digest(name: str, tensors: Mapping[str, np.ndarray]) -> str:
    digest = hashlib.sha256(name.encode())
    for key, tensor in sorted(tensors.items()):
        # As torch names its types.
        digest.update(f"\n{key} torch.{tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.tobytes())
    return digest.hexdigest()


def _empty_network(spec: ModelSpec, stored: Mapping[str, np.ndarray], path: Path) -> Network:
    """Make the network of ``spec``; ``stored``: its weights, beyond which it takes no memory."""
    from indexer.model.backbones import find
    from indexer.model.network import Network
    from indexer.model.network_cost import check_network

    try:
        backbone = find(spec.backbone)
    except BadRequestError as error:
        raise BadModelError(f"{path}: {error}") from error
    if backbone.feature_dim != spec.feature_dim:
        raise BadModelError(
            f"{path}: {spec.backbone} gives {backbone.feature_dim} features, not {spec.feature_dim}"
        )
    own = {
        name.removeprefix(_BACKBONE): tensor
        for name, tensor in stored.items()
        if name.startswith(_BACKBONE)
    }
    check_network(backbone, spec.preprocess, own, where=str(path))
    return Network.empty(spec)


def _fill(network: Network, state: Mapping[str, Any], path: Path) -> None:
    try:
        network.load_state_dict(state, strict=True)
    except RuntimeError as error:
        reason = str(error).splitlines()[-1].strip()
        raise BadModelError(f"{path}: weights do not fit the spec: {reason}") from error


def write_bundle(
    out: Path,
    network: Network,
    decision: Decision,
    *,
    metrics: Mapping[str, Any],
    training: Mapping[str, Any],
    replace: bool = False,
    add_files: Callable[[Path], None] | None = None,
) -> Bundle:
    """Write a model folder; a full disk leaves the previous model as it was.

    ``add_files`` adds those of an exported model or of a text tower to the folder it is given.
    Raises ``BadModelError`` where ``check_out`` does, ``StorageError`` for weights that cannot be
    written.
    """
    from safetensors.torch import save_file

    out = out.absolute()
    check_out(out, replace=replace)
    make_folder(out.parent)
    with folder_aside(out) as aside:
        state = _state(network)
        heads = {name: tensor for name, tensor in state.items() if name.startswith("heads.")}
        embedding = {name: tensor for name, tensor in state.items() if name not in heads}
        _save_tensors(save_file, embedding, aside / EMBEDDING)
        _save_tensors(save_file, heads, aside / HEADS)
        write_json(aside / SPEC, network.spec.to_json())
        _write_decision(aside, decision)
        write_json(aside / METRICS, dict(metrics))
        write_json(aside / TRAINING, dict(training))
        if add_files is not None:
            add_files(aside)
        files = {
            path.name: {"sha256": sha256_file(path), "size": path.stat().st_size}
            for path in _contents(aside)
        }
        checksums = {name: str(known["sha256"]) for name, known in files.items()}
        _write_manifest(aside, files, embedding_id(network.spec, network, checksums))
        replace_folder(aside, out)
    return load_bundle(out)


def write_revision(bundle: Bundle, decision: Decision, models: Path) -> Bundle:
    """Write ``bundle`` with another decision layer, below ``models`` by its model version.

    The vectors' files are hard links (copies where the file system has none), so the embedding id
    stays. A crash leaves nothing or the whole. Weights were verified when ``bundle`` was opened and
    are not read again.
    """
    with folder_aside(models / "revision") as aside:
        known = read_json(bundle.path / MANIFEST)["files"]
        for name in known:
            if name not in (DECISION, DECISION_VECTORS):
                _link(bundle.path / name, aside / name)
        _write_decision(aside, decision)
        files = {
            path.name: {"sha256": sha256_file(path), "size": path.stat().st_size}
            if path.name in (DECISION, DECISION_VECTORS)
            else known[path.name]
            for path in _contents(aside)
        }
        _write_manifest(aside, files, bundle.embedding_id)
        final = models / _model_version(files)
        if not final.exists():
            publish_folder(aside, final)
    return load_bundle(final)


def _link(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except OSError:  # no hard links here
        shutil.copyfile(source, target)


def _contents(folder: Path) -> list[Path]:
    """List the files of a model folder, without its manifest."""
    return sorted(path for path in folder.iterdir() if path.name != MANIFEST)


def _write_decision(folder: Path, decision: Decision) -> None:
    from safetensors.numpy import save_file

    write_json(folder / DECISION, decision.to_json())
    if decision.few_shot:
        _save_tensors(save_file, decision.tensors(), folder / DECISION_VECTORS)


def _write_manifest(folder: Path, files: Mapping[str, Mapping[str, Any]], embedding: str) -> None:
    manifest = {
        "format": FORMAT,
        "model_version": _model_version(files),
        "embedding_id": embedding,
        "files": dict(files),
    }
    write_json(folder / MANIFEST, manifest)


def check_out(out: Path, *, replace: bool) -> None:
    """Check that a model may be written to ``out``.

    Raises ``BadModelError`` where it holds something else, or a model to keep.
    """
    if not out.exists():
        return
    if not out.is_dir():
        raise BadModelError(f"{out} is a file: choose another name for the model folder")
    if any(out.iterdir()) and not (replace and (out / MANIFEST).is_file()):
        raise BadModelError(
            f"{out} exists and is not a model folder to replace: choose another name"
        )


def load_bundle(path: Path | str) -> Bundle:
    """Open a model folder and verify every checksum.

    Raises ``BadModelError`` that names the file, or ``NewerFormatError``.
    """
    path = Path(path).absolute()
    manifest = _read_json(path / MANIFEST, f"{path} is not a model folder: it has no {MANIFEST}")
    if not isinstance(manifest, dict) or not isinstance(manifest.get("format"), int):
        raise BadModelError(f"{path / MANIFEST} has no format number")
    if manifest["format"] > FORMAT:
        raise NewerFormatError(
            f"model {path} has format {manifest['format']}, this Catalens knows up to {FORMAT}: "
            "upgrade"
        )
    files = manifest.get("files")
    if not isinstance(files, dict) or set(_FILES) - set(files):
        raise BadModelError(f"{path / MANIFEST} does not list every file of a model")
    if GRAPH in files and {GRAPH_WEIGHTS, PROBES, PARITY} - set(files):
        raise BadModelError(f"{path / MANIFEST} does not list every file of an exported model")
    if TEXT_GRAPH in files and {TEXT_GRAPH_WEIGHTS, TEXT_PROBES, TEXT} - set(files):
        raise BadModelError(f"{path / MANIFEST} does not list every file of a text tower's graph")
    for name, known in files.items():
        if not is_plain_name(name) or not isinstance(known, dict):
            raise BadModelError(f"model {path}: {MANIFEST} names {name!a}, no plain file name")
        file = path / name
        if not file.is_file():
            raise BadModelError(f"model {path}: {name} is missing")
        if file.stat().st_size != known.get("size") or sha256_file(file) != known.get("sha256"):
            raise BadModelError(
                f"model {path}: {name} was changed or damaged (its checksum is not the manifest's)"
            )
    if manifest.get("model_version") != _model_version(files):
        raise BadModelError(
            f"model {path}: {MANIFEST} was edited: model_version does not follow from its files"
        )
    if not is_plain_name(manifest.get("embedding_id")):
        raise BadModelError(f"model {path}: {MANIFEST} has no usable embedding_id")
    spec = ModelSpec.from_json(_read_json(path / SPEC), where=str(path / SPEC))
    texts = [name in files for name in TEXT_FILES]
    if len({*texts, spec.block("t") is not None}) > 1:
        raise BadModelError(f"model {path}: block t and the files of a text tower go together")
    decision = _read_decision(path, files)
    check_decision(decision, spec, where=str(path / DECISION))
    return Bundle(
        path=path,
        model_version=manifest["model_version"],
        embedding_id=str(manifest.get("embedding_id")),
        spec=spec,
        decision=decision,
        metrics=_read_object(path / METRICS),
        training=_read_object(path / TRAINING),
        checksums={name: str(known["sha256"]) for name, known in files.items()},
    )


def _read_decision(path: Path, files: Mapping[str, Any]) -> Decision:
    tensors = {}
    if DECISION_VECTORS in files:
        tensors = _load_tensors(path / DECISION_VECTORS)
    return Decision.from_json(
        _read_json(path / DECISION), where=str(path / DECISION), tensors=tensors
    )


def _model_version(files: Mapping[str, Mapping[str, Any]]) -> str:
    sums = {name: known["sha256"] for name, known in files.items()}
    return "m" + hashlib.sha256(canonical_json(sums)).hexdigest()[:16]


def _state(module: Any) -> dict[str, Any]:
    """Copy a module's tensors to the CPU, without batch counters: no vector depends on them."""
    return {
        name: tensor.detach().cpu().contiguous()
        for name, tensor in module.state_dict().items()
        if not name.endswith("num_batches_tracked")
    }


def _arrays(module: Any) -> dict[str, np.ndarray]:
    return {name: tensor.numpy() for name, tensor in _state(module).items()}


def _save_tensors(
    save_file: Callable[[Any, Path], None], tensors: Mapping[str, Any], file: Path
) -> None:
    from safetensors import SafetensorError

    try:
        save_file(tensors, file)
    except SafetensorError as error:  # the library's own form of an OSError
        failure = disk_failure(error, file)
        raise failure or StorageError(f"{file} cannot be written: {error}") from error


def _load_tensors(file: Path) -> dict[str, np.ndarray]:
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        with open_regular(file) as stream:
            header = int.from_bytes(stream.read(8), "little")
        if header > _LONGEST_HEADER:
            raise ValueError(f"its header has {header:,} bytes")
        return load_file(file)
    # A type that numpy has not, such as bfloat16.
    except (SafetensorError, OSError, ValueError, TypeError, AttributeError) as error:
        raise BadModelError(f"{file} is not a safetensors file: {error}") from error


def _read_object(file: Path) -> dict[str, Any]:
    found = _read_json(file)
    if not isinstance(found, dict):
        raise BadModelError(f"{file} holds no object")
    return found


def _read_json(file: Path, missing: str | None = None) -> Any:
    try:
        return read_json(file)
    except FileNotFoundError:
        raise BadModelError(missing or f"{file} is missing") from None
    except (OSError, ValueError) as error:
        raise BadModelError(f"{file} is not readable: {error}") from error
