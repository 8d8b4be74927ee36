"""Unit vectors: conversion, normalisation and checks; evenly spaced samples."""

from __future__ import annotations

import numpy as np

from indexer.core.errors import BadVectorsError

UNIT_TOLERANCE = 1e-3
# Shorter rows count as zero.
_SHORTEST = 1e-12
# No finite float16 is so large.
_NOT_HALF = 65536.0


def to_float32(vectors: np.ndarray) -> np.ndarray:
    """float16 or float32 to float32 of the same shape.

    Halves by their bits, eight times as fast as numpy, which converts one by one: the exponent
    moves into its place and the product corrects its bias; numbers below the smallest normal half
    come out right too.
    """
    if vectors.dtype == np.float32:
        return vectors
    if vectors.dtype != np.float16:
        return vectors.astype(np.float32)
    bits = np.ascontiguousarray(vectors).view(np.int16).astype(np.int32)
    bits <<= 13
    # Sign, exponent and fraction; not what the sign was stretched to.
    bits &= np.int32(-0x70002000)
    found = bits.view(np.float32)
    found *= np.float32(2.0**112)
    # inf and nan have no such exponent.
    if found.size and (found.max() >= _NOT_HALF or found.min() <= -_NOT_HALF):
        return vectors.astype(np.float32)
    return found


def unit_rows(rows: np.ndarray) -> np.ndarray:
    """``rows`` [..., D] divided by their L2 lengths, float32; a row of zeros stays zero."""
    lengths = np.linalg.norm(rows, axis=-1, keepdims=True)
    return np.asarray(rows / np.maximum(lengths, _SHORTEST), np.float32)


def evenly_spaced(count: int, limit: int, *, nearest: bool = False) -> np.ndarray:
    """At most ``limit`` of the places 0..count-1 at even distances, both ends included: int64 [n],
    ascending, each once.

    Places between two are rounded down, or to the ``nearest`` (halves to the even one).

    >>> evenly_spaced(10, 4).tolist()
    [0, 3, 6, 9]
    >>> evenly_spaced(3, 100).tolist()
    [0, 1, 2]
    """
    places = np.linspace(0, max(count - 1, 0), num=min(limit, count))
    return (places.round() if nearest else places).astype(np.int64)


def check_unit(vectors: np.ndarray, dim: int) -> None:
    """Raise ``BadVectorsError``, naming the first bad row, unless ``vectors`` is [N, dim], finite
    and unit within 1e-3."""
    if vectors.ndim != 2:
        raise BadVectorsError(
            f"vectors must be two-dimensional [N, {dim}], not {list(vectors.shape)}"
        )
    if vectors.shape[1] != dim:
        raise BadVectorsError(f"index has D={dim}, vectors have D={vectors.shape[1]}")
    if vectors.dtype not in (np.float16, np.float32, np.float64):
        raise BadVectorsError(f"vectors must be floating point, not {vectors.dtype}")
    for start in range(0, len(vectors), 65536):
        chunk = to_float32(vectors[start : start + 65536])
        with np.errstate(over="ignore", invalid="ignore"):
            lengths = np.sqrt(np.vecdot(chunk, chunk))
            # NaN compares false, so it counts as bad.
            bad = ~(np.abs(lengths - 1.0) <= UNIT_TOLERANCE)
        if bad.any():
            row = int(np.argmax(bad))
            what = (
                f"length {lengths[row]:.4g}, not 1"
                if np.isfinite(lengths[row])
                else "values that are not finite"
            )
            raise BadVectorsError(
                f"vector {start + row} has {what}: give L2-normalised vectors, they are not "
                "normalised for you"
            )


def log_sum_exp(values: np.ndarray, axis: int, *, keepdims: bool = False) -> np.ndarray:
    """Log of the sum of exponentials along ``axis``, float64.

    SciPy's asks torch's types where torch is in the process, and fails while another thread loads
    it, which a service does with the first question that needs it.
    """
    total = np.asarray(np.logaddexp.reduce(values, axis=axis, dtype=np.float64, keepdims=True))
    return total if keepdims else total.squeeze(axis)
