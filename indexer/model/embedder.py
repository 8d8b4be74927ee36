"""A bundle ready to embed: photos -> unit vectors, vectors -> logits."""

from __future__ import annotations

from indexer.model.bundle import Bundle
from indexer.model.runtime import TorchRuntime


class Embedder(TorchRuntime):
    """The network of one bundle, and the identities its vectors carry."""

    def __init__(self, bundle: Bundle, *, device: str = "auto") -> None:
        super().__init__(bundle.network(), device=device)
        self.embedding_id = bundle.embedding_id
        self.model_version = bundle.model_version
        self.dim = bundle.spec.dim
