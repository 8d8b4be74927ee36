"""Signals that were tried for unknown kinds: each says what it stands for."""

from __future__ import annotations

import numpy as np

from indexer.classification.open_set import auroc, fit_unknown
from tools.bench.parts.unknown_signals import BEFORE, TaughtPhotos, combined, signals_of

WIDTH = 128


def drawn(labels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Unit rows [N, 128], each kind around an axis of the first half."""
    rows = np.eye(WIDTH)[labels]
    rows[:, :64] += 0.15 * rng.normal(size=(len(labels), 64))
    rows[:, 64:] += 0.02 * rng.normal(size=(len(labels), 64))
    return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True), np.float32)


def test_every_signal_is_lower_for_what_no_photo_resembles() -> None:
    """Of pictures that point where no kind does, alone and beside the rule; shapes are one."""
    rng = np.random.default_rng(0)
    labels, held = rng.integers(0, 6, 400), rng.integers(0, 6, 100)
    taught, known = drawn(labels, rng), drawn(held, rng)
    rule = fit_unknown(taught, labels, known, np.zeros((100, 6)), general=slice(0, WIDTH))
    assert rule is not None
    strange = rng.normal(size=(60, WIDTH))
    strange = (strange / np.linalg.norm(strange, axis=1, keepdims=True)).astype(np.float32)
    signals = signals_of(np.concatenate([known, strange]), TaughtPhotos(taught, labels), rule)
    assert set(BEFORE.split(", ")) < set(signals)
    for name, signal in signals.items():
        assert signal.shape == (160,), name
        assert auroc(-signal[100:], -signal[:100]) > 0.5, name
        score = combined(signals, 100, name)
        assert auroc(score[100:], score[:100]) > 0.9, name
    np.testing.assert_allclose(combined(signals, 100, None)[:100].mean(), 0, atol=1e-6)
