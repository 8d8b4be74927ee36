"""Interface of a runtime: a network on a device that embeds photos. Needs no torch."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import numpy as np

from indexer.imaging.decode import Photo
from indexer.model.preprocessing import photos_to_pixels, shrink_to, to_batch
from indexer.model.spec import ModelSpec


class Runtime(ABC):
    """A network, ready to embed. Not for concurrent use: one thread owns it.

    A ``ParallelRuntime`` has methods for many threads beside these. Vectors and features are
    float32 [N, D] and [N, F]; rows of the former are of unit length.
    """

    engine: str

    def __init__(self, spec: ModelSpec, device: str) -> None:
        self.spec = spec
        self.device = device
        # What ``decode_photo`` takes as ``shrink_to``, px.
        self.shrink_to = shrink_to(spec.preprocess)

    @property
    @abstractmethod
    def backbone_digest(self) -> str:
        """SHA-256 of the backbone's name, weights and numeric class.

        Features depend on these and on preprocessing, on nothing else.
        """

    @property
    @abstractmethod
    def network(self) -> Any:
        """The network itself, in eval mode, for ``gradcam``.

        Only the thread that owns the runtime calls it, and nobody changes it.
        """

    def configure_threads(self) -> None:  # noqa: B027 - most have nothing to configure
        """Set thread counts; a process that only embeds and serves calls it once, at its start."""

    def inputs(self, photos: Sequence[Photo]) -> Any:
        """Return the network's input: a torch tensor float32 [N x V, 3, H, W] on its device."""
        pixels = photos_to_pixels(photos, self.spec.preprocess)
        return to_batch(pixels, self.spec.preprocess, self.device)

    @abstractmethod
    def embed(self, photos: Sequence[Photo]) -> np.ndarray:
        """Embed decoded photos: unit vectors [N, D]."""

    @abstractmethod
    def extract_features(self, photos: Sequence[Photo]) -> np.ndarray:
        """Return the backbone's pooled features with colour statistics behind them, [N, F + K]."""

    @property
    def feature_width(self) -> int:
        """F + K, the length of a row of ``extract_features``."""
        return self.spec.feature_dim + self.spec.colour_width

    @abstractmethod
    def embed_features(self, features: np.ndarray) -> np.ndarray:
        """Map features [N, F + K] to unit vectors [N, D], by the neck alone."""

    @abstractmethod
    def logits(self, vectors: np.ndarray) -> dict[str, np.ndarray]:
        """Map unit vectors [N, D] to {head name: float32 [N, C]}; heads are linear.

        Any thread may call this at any time.
        """


class ParallelRuntime(Runtime):
    """A runtime that up to ``workers`` threads may use at once, one photo each.

    Such a thread calls ``to_pixels``, then ``extract_photo_features``, and passes the rows of one
    or more photos to ``embed_features``, which is safe in any thread too. The methods of
    ``Runtime`` keep their one owner.
    """

    # Threads that give most photos per second.
    workers: int

    def to_pixels(self, photo: Photo) -> np.ndarray:
        """Preprocess a decoded photo: uint8 [V, H, W, 3]. Any thread may call this."""
        return photos_to_pixels([photo], self.spec.preprocess)

    @abstractmethod
    def extract_photo_features(self, pixels: np.ndarray) -> np.ndarray:
        """Return what ``embed_features`` takes of one photo, [F] or [F + K], on one core."""
