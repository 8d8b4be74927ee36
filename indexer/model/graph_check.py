"""What an exported graph may be, looked at before it is compiled: anybody can write one."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from indexer.core.errors import BadModelError
from indexer.model.preprocessing import input_sizes
from indexer.model.spec import ModelSpec

# A graph has its weights beside it, and is a list of some thousand operations itself.
_LONGEST_GRAPH = 64 << 20
_SPARE_WEIGHTS = 16 << 20
_MOST_OPERATIONS = 100_000
# What repeats, chooses or draws: no network that is exported does.
_REFUSED = frozenset(
    {"If", "Loop", "TensorIterator", "RandomUniform", "Multinomial", "ReadValue", "Assign"}
)
# Numbers in one result for one photo, and in all: as of ``network_cost``.
_MOST_RESULT = 1 << 28
_MOST_RESULTS = 1 << 36


def check_graph_files(graph: Path, graph_weights: Path, embedding: Path) -> None:
    """Compare sizes before anything is read: the graph holds the weights of ``embedding`` again, in
    as many bytes or fewer. Raises ``BadModelError``."""
    if graph.stat().st_size > _LONGEST_GRAPH:
        raise BadModelError(f"{graph} has {graph.stat().st_size:,} bytes: it is no network's graph")
    most = 2 * embedding.stat().st_size + _SPARE_WEIGHTS
    if graph_weights.stat().st_size > most:
        raise BadModelError(
            f"{graph_weights} has {graph_weights.stat().st_size:,} bytes, more than the weights "
            f"that it was made of can give ({most:,})"
        )


def check_graph(model: Any, spec: ModelSpec, *, where: str) -> None:
    """Check a graph that was read and is not compiled: photos go in, features of ``spec`` come out,
    nothing repeats, and every result is bounded, at the largest input too. Raises
    ``BadModelError``."""
    side = spec.preprocess.crop
    ends = ends_of(model)
    if len(model.inputs) != 1 or ends != [[1, side, side, 3], [1, spec.feature_dim]]:
        raise BadModelError(
            f"{where}: its graph takes and gives {ends}, not one photo of {side} px and its "
            f"{spec.feature_dim:,} features"
        )
    if model.inputs[0].get_element_type().get_type_name() != "u8":
        raise BadModelError(f"{where}: its graph does not take bytes")
    check_operations(model, where)
    width, height = max(input_sizes(spec.preprocess), key=math.prod)
    if (width, height) != (side, side):
        largest = model.clone()
        try:
            largest.reshape([1, height, width, 3])
        except RuntimeError as error:
            raise BadModelError(
                f"{where}: its graph does not take photos of {width} x {height} px"
            ) from error
        check_operations(largest, where)


def ends_of(model: Any) -> list[list[int | None]]:
    """List the shapes of what a graph takes and gives."""
    return [_shape(port) for port in (*model.inputs, *model.outputs)]


def check_operations(model: Any, where: str) -> None:
    """Check that nothing in a graph repeats, and that every result is bounded. Raises
    ``BadModelError``."""
    operations = model.get_ops()
    if len(operations) > _MOST_OPERATIONS:
        raise BadModelError(f"{where}: its graph has {len(operations):,} operations")
    total = 0
    for operation in operations:
        kind = operation.get_type_name()
        if kind in _REFUSED:
            raise BadModelError(f"{where}: its graph holds {kind}, which no exported network does")
        for port in operation.outputs():
            shape = _shape(port)
            if None in shape:
                raise BadModelError(f"{where}: {kind} in its graph gives a shape that is not known")
            numbers = math.prod(side or 0 for side in shape)
            total += numbers
            if numbers > _MOST_RESULT or total > _MOST_RESULTS:
                raise BadModelError(
                    f"{where}: {kind} in its graph gives {shape}: that is more memory than any "
                    "network needs"
                )


def _shape(port: Any) -> list[int | None]:
    """The lengths of a port's dimensions; None: not known."""
    shape = port.get_partial_shape()
    if shape.rank.is_dynamic:
        return [None]
    return [side.get_length() if side.is_static else None for side in shape]
