"""Products that are varied from real photos' vectors."""

from __future__ import annotations

import numpy as np

from tools.bench.data.photo_home import _varied


def test_varied_products_keep_the_lengths_of_their_blocks() -> None:
    from indexer.model.network import Network

    spec = Network.frozen_spec("efficientnet_lite0")
    rng = np.random.default_rng(0)
    real = rng.standard_normal((5, spec.dim)).astype(np.float32)
    real /= np.linalg.norm(real, axis=1, keepdims=True)
    places, vectors = _varied(real, spec, 40)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    np.testing.assert_allclose(vectors[:5], real, atol=1e-6)
    cosine = (vectors * real[places]).sum(axis=1)[5:]
    assert 0.85 < cosine.min() < cosine.max() < 0.99
