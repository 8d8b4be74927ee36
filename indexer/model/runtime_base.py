"""What every way to run a network is; this much needs no torch."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import numpy as np

from indexer.imaging.decode import Photo
from indexer.imaging.lab_color import WIDTH
from indexer.model.preprocessing import photos_to_pixels, shrink_to, to_batch
from indexer.model.spec import ModelSpec


class Runtime(ABC):
    """A network, ready to embed. Not for concurrent use, but where it says otherwise: one thread
    owns it.

    Vectors and features are float32 [N, D] and [N, F]; rows of the former are of unit length.
    """

    engine: str
    # threads that do best to call ``describe_beside`` at once; 0: only ``embed`` is there, with one
    # owner
    workers = 0

    def __init__(self, spec: ModelSpec, device: str) -> None:
        self.spec, self.device = spec, device
        self.shrink_to = shrink_to(spec.preprocess)  # what ``images.decode`` is to be told

    @property
    @abstractmethod
    def backbone_digest(self) -> str:
        """SHA-256 of the backbone's name, weights and numeric class: what features depend on beside
        preprocessing."""

    @property
    @abstractmethod
    def network(self) -> Any:
        """The network itself, in eval mode, for ``decisions.explain``; its one owner calls it,
        nobody changes it."""

    def settle_threads(self) -> None:  # noqa: B027 - most have nothing to settle
        """Called once by a process that does nothing but embed and answer, before it does."""

    def inputs(self, photos: Sequence[Photo]) -> Any:
        """Decoded photos -> the network's input, a torch tensor float32 [N, 3, H, W]
        on its device."""
        return to_batch(
            photos_to_pixels(photos, self.spec.preprocess), self.spec.preprocess, self.device
        )

    @abstractmethod
    def embed(self, photos: Sequence[Photo]) -> np.ndarray:
        """Decoded photos -> unit vectors [N, D]."""

    def pixels(self, photo: Photo) -> np.ndarray:
        """A decoded photo as ``describe_beside`` takes it, uint8 [1, H, W, 3]. Any thread may call
        this."""
        return photos_to_pixels([photo], self.spec.preprocess)

    def describe_beside(self, pixels: np.ndarray) -> np.ndarray:
        """What ``embed_features`` takes of one photo, in one of ``workers`` threads, where there
        are any."""
        raise NotImplementedError

    @abstractmethod
    def features(self, photos: Sequence[Photo]) -> np.ndarray:
        """Decoded photos -> [N, F + K]: the backbone's pooled features, and colour statistics
        behind them."""

    @property
    def feature_width(self) -> int:
        """F + K, the length of a row of ``features``."""
        return self.spec.feature_dim + WIDTH

    @abstractmethod
    def embed_features(self, features: np.ndarray) -> np.ndarray:
        """Features [N, F + K] -> unit vectors [N, D]: the rest of the way that ``embed`` goes."""

    @abstractmethod
    def logits(self, vectors: np.ndarray) -> dict[str, np.ndarray]:
        """Unit vectors [N, D] -> {head name: float32 [N, C]}; heads are linear, so no photo is
        needed.

        Any thread may call this at any time.
        """
