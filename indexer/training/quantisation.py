"""Int8 graphs: which layers stay in wider numbers, by the kind of network."""

from __future__ import annotations

import io
import logging
from collections.abc import Iterator
from contextlib import redirect_stdout
from dataclasses import dataclass
from typing import Any

import numpy as np

from indexer.model.openvino_runtime import openvino, sums_overflow

# How many layers stay in bf16, fewest first. Of a network of BatchNorm convolutions those nearest
# to the photo: they cost little time, and their few channels of wide range most of the cosine
# (EfficientNet-Lite0, clothing: .9944 with none left out, .9973 with three). Of others those that 8
# bits blur most: a transformer's single wide features lie anywhere.
_FIRST_LEFT_OUT = (3, 8)
_NOISIEST_LEFT_OUT = (4, 12)
# Photos that show how wide a layer's inputs are.
_SHOWN = 16
_CONVOLUTIONS = ("Convolution", "GroupConvolution")
_ATTENTION = ("ScaledDotProductAttention", "Softmax")
_LAYER_NORMS = ("MVN", "LayerNormalization", "RMS")


@dataclass(frozen=True)
class QuantisedGraph:
    """A graph in int8, and how much of it is not."""

    model: Any
    # For ``parity.json``: how many layers stayed, by which rule.
    left_out: dict[str, Any]


def quantised_graphs(model: Any, pixels: np.ndarray) -> Iterator[QuantisedGraph]:
    """Quantise ``model`` by NNCF, calibrated on ``pixels`` [N, H, W, 3]: the quickest form first,
    each next one leaves more layers out.
    """
    kinds = {node.get_type_name() for node in model.get_ordered_ops()}
    attention = not kinds.isdisjoint(_ATTENTION)
    if not attention and kinds.isdisjoint(_LAYER_NORMS):
        order = [node.get_friendly_name() for node in _weighted(model, _CONVOLUTIONS)]
        for count in _FIRST_LEFT_OUT:
            graph = _quantised(model, pixels, order[:count], transformer=False)
            yield QuantisedGraph(graph, {"convolutions_left_out": count})
        return
    graph = _quantised(model, pixels, [], transformer=attention)
    yield QuantisedGraph(graph, {"noisiest_layers_left_out": 0})
    blurred = _blurred(graph)
    order = [name for name in layers_by_noise(model, pixels[:_SHOWN]) if name in blurred]
    for count in _NOISIEST_LEFT_OUT:
        graph = _quantised(model, pixels, order[:count], transformer=attention)
        yield QuantisedGraph(graph, {"noisiest_layers_left_out": count})


def layers_by_noise(model: Any, pixels: np.ndarray) -> list[str]:
    """Name the layers with weights by what 8 bits for their whole input would blur, most first.

    The noise of rounding to 255 steps of the range over ``pixels`` [N, H, W, 3], relative to the
    input's own mean square: one feature far beyond the others leaves these no steps.
    """
    probe = model.clone()
    layers = _weighted(probe, (*_CONVOLUTIONS, "MatMul"))
    own = len(probe.outputs)
    for layer in layers:
        probe.add_outputs(layer.input_value(0))
    compiled = openvino().Core().compile_model(probe, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    low = np.full(len(layers), np.inf)
    high = np.full(len(layers), -np.inf)
    square = np.zeros(len(layers))
    for number in range(len(pixels)):
        found = compiled(pixels[number : number + 1])
        for place in range(len(layers)):
            values = np.asarray(found[own + place], np.float64)
            low[place] = min(low[place], values.min())
            high[place] = max(high[place], values.max())
            square[place] += np.mean(values**2) / len(pixels)
    noise = ((high - low) / 255) ** 2 / 12 / np.maximum(square, 1e-30)
    return [layers[place].get_friendly_name() for place in np.argsort(-noise, kind="stable")]


def _weighted(model: Any, kinds: tuple[str, ...]) -> list[Any]:
    """List the layers of these kinds with constant weights, in the order of the data."""
    return [
        node
        for node in model.get_ordered_ops()
        if node.get_type_name() in kinds and _constant(node.input_value(1).get_node())
    ]


def _blurred(graph: Any) -> set[str]:
    """Name the layers of a quantised graph whose input is rounded."""
    return {
        node.get_friendly_name()
        for node in graph.get_ordered_ops()
        if node.get_type_name() in (*_CONVOLUTIONS, "MatMul")
        and node.input_value(0).get_node().get_type_name() == "FakeQuantize"
    }


def _constant(node: Any) -> bool:
    """Whether a node is a constant, or made of constants alone."""
    inputs = node.input_values()
    if not inputs:
        return bool(node.get_type_name() == "Constant")
    return all(_constant(value.get_node()) for value in inputs)


def _quantised(model: Any, pixels: np.ndarray, left_out: list[str], *, transformer: bool) -> Any:
    """Quantise ``model``, symmetric, but for the layers ``left_out``.

    Where sums overflow, weights use 7 of their 8 bits (EfficientNet-Lite0, drawn shapes, AVX2 and
    no VNNI: mean cosine .9911 with 8 bits, .9955 with 7).
    """
    # nncf loads it, and it misses a GPU
    logging.getLogger("torch.utils.cpp_extension").setLevel(logging.ERROR)
    # nncf draws bars of its own
    with redirect_stdout(io.StringIO()):
        import nncf

        nncf.set_log_level(logging.ERROR)
        overflow = nncf.OverflowFix.ENABLE if sums_overflow() else nncf.OverflowFix.FIRST_LAYER
        return nncf.quantize(
            model,
            nncf.Dataset([pixels[number : number + 1] for number in range(len(pixels))]),
            subset_size=len(pixels),
            preset=nncf.QuantizationPreset.PERFORMANCE,
            model_type=nncf.ModelType.TRANSFORMER if transformer else None,
            ignored_scope=nncf.IgnoredScope(names=left_out),
            advanced_parameters=nncf.AdvancedQuantizationParameters(overflow_fix=overflow),
        )
