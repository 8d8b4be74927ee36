"""Runtime of a network in torch, on a CPU or a GPU, plain or by ``torch.compile``."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from indexer.core.errors import BadRequestError, OutOfMemoryError
from indexer.core.native import torch
from indexer.imaging.decode import Photo
from indexer.model.bundle import tensors_digest
from indexer.model.network import Network
from indexer.model.numpy_network import HEAD_SCALE
from indexer.model.preprocessing import group_pixels, to_batch
from indexer.model.runtime_base import Runtime

# On a CPU the network's activations should stay in the cache: small batches are faster (measured on
# two Zen 4 cores, EfficientNet-Lite0: 67 photos/s in batches of 16, 100 photos/s one by one).
_CHUNK = {"cpu": 4, "cuda": 128}


def choose_device(device: str) -> str:
    """Resolve ``auto`` to ``cuda`` where torch sees a GPU, else to ``cpu``.

    Raises ``BadRequestError`` for a GPU that is not there.
    """
    if device not in ("auto", "cpu", "cuda"):
        raise BadRequestError(f"unknown device {device!r}: use auto, cpu or cuda")
    available = torch.cuda.is_available()
    if device == "cuda" and not available:
        raise BadRequestError("device cuda asked for, but torch sees no GPU here")
    return "cuda" if available and device != "cpu" else "cpu"


def _multiply_in_float32() -> None:
    """Switch off TF32, which cuDNN has on by default: a catalog embedded on a GPU and asked on a
    processor are of one numeric class, fp32."""
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cuda.matmul.allow_tf32 = False


def _array(tensor: Any) -> np.ndarray:
    return np.asarray(tensor.detach().float().cpu().numpy())


class TorchRuntime(Runtime):
    """A network on its device, by torch. CUDA has not been run on a GPU yet.

    Of the numeric class bf16 the backbone runs under bfloat16 autocast (where a processor has none
    the same values, slowly); the rest is float32. On a GPU a batch that does not fit its memory is
    halved until it does; ``OutOfMemoryError`` where none does. ``compile``: the backbone by
    ``torch.compile`` (on a GPU as CUDA graphs); raises what that raises.
    """

    engine = "torch"

    def __init__(self, network: Network, *, device: str = "auto", compile: bool = False) -> None:
        super().__init__(network.spec, choose_device(device))
        if self.device == "cuda":
            _multiply_in_float32()
        self._network: Any = network.eval().to(self.device)
        self._network.to(memory_format=torch.channels_last)
        self._chunk = _CHUNK[self.device]
        # With fixed shapes a batch is one photo or a whole chunk.
        self._fixed = compile
        self._backbone: Any = self._network.backbone
        if compile:
            mode = "reduce-overhead" if self.device == "cuda" else "default"
            self._backbone = torch.compile(self._network.backbone, dynamic=False, mode=mode)
            self.engine = "compiled"
        # CUDA graphs belong to the thread that recorded them (pytorch#123177): the probe at the
        # start and all requests go through one.
        graphs = compile and self.device == "cuda"
        self._owner = ThreadPoolExecutor(1, "cuda-graphs") if graphs else None
        heads = zip(network.heads.names, network.heads.linear, strict=True)
        self._heads = {
            name: (_array(linear.weight).T, _array(linear.bias)) for name, linear in heads
        }

    @property
    def backbone_digest(self) -> str:
        return tensors_digest(f"{self.spec.backbone} {self.spec.numeric}", self._network.backbone)

    @property
    def network(self) -> Any:
        return self._network

    def embed(self, photos: Sequence[Photo]) -> np.ndarray:
        with_colours = self.spec.block("c") is not None
        return self._run(
            photos,
            lambda pixels: self._network.neck(self._extract(pixels, with_colours)),
            self.spec.dim,
        )

    def extract_features(self, photos: Sequence[Photo]) -> np.ndarray:
        return self._run(photos, lambda pixels: self._extract(pixels, True), self.feature_width)

    def embed_features(self, features: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            batch = torch.from_numpy(np.asarray(features, np.float32)).to(self.device)
            return self._network.neck(batch).cpu().numpy()

    def logits(self, vectors: np.ndarray) -> dict[str, np.ndarray]:
        rows = np.asarray(vectors, np.float32) * np.float32(HEAD_SCALE)
        return {name: rows @ weight + bias for name, (weight, bias) in self._heads.items()}

    def _extract(self, pixels: np.ndarray, with_colours: bool) -> Any:
        """Pool the features of uint8 [N x V, H, W, 3]: float32 [N, F], with colours [N, F + K]."""
        inputs, views = len(pixels), self.spec.preprocess.views
        if self._fixed and views < inputs < self._chunk * views:
            more = self._chunk * views - inputs
            pixels = np.concatenate([pixels, np.zeros((more, *pixels.shape[1:]), np.uint8)])
        batch = to_batch(pixels, self.spec.preprocess, self.device)
        with torch.autocast(self.device, torch.bfloat16, enabled=self.spec.numeric == "bf16"):
            found = self._backbone(batch)[:inputs].float()
        if self._fixed:
            found = found.clone()  # a graph's output is overwritten by its next run
        found = self._network.merge_views(found)
        if not with_colours:
            return found
        colours = self._network.mean_of_views(self._network.colour(batch[:inputs]))
        return torch.cat([found, colours], dim=1)

    def _run(
        self, photos: Sequence[Photo], network: Callable[[np.ndarray], Any], width: int
    ) -> np.ndarray:
        """Run ``network`` over chunks of photos; a GPU computes while the next one is prepared."""
        if self._owner is not None:
            return self._owner.submit(self._run_here, photos, network, width).result()
        return self._run_here(photos, network, width)

    def _run_here(
        self, photos: Sequence[Photo], network: Callable[[np.ndarray], Any], width: int
    ) -> np.ndarray:
        out = np.empty((len(photos), width), np.float32)
        found: list[tuple[np.ndarray, Any]] = []
        start = 0
        with torch.inference_mode():
            while start < len(photos):
                part = photos[start : start + self._chunk]
                try:
                    for places, pixels in group_pixels(part, self.spec.preprocess):
                        found.append((places + start, network(pixels)))
                except torch.cuda.OutOfMemoryError:
                    torch.cuda.empty_cache()
                    if self._chunk == 1:
                        raise OutOfMemoryError(
                            f"{self.device} has no memory for one photo in {self.spec.backbone}"
                        ) from None
                    # Kept: the next batch would not fit either.
                    self._chunk = max(1, self._chunk // 2)
                    continue
                start += len(part)
            for places, values in found:
                out[places] = values.cpu().numpy()
        return out
