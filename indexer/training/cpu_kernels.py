"""Faster CPU training: gradients of depthwise convolutions, memory kept between steps."""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from indexer.core.native import torch

functional = torch.nn.functional
_gradient = torch.ops.aten.convolution_backward
# of glibc's mallopt(3)
_TRIM_THRESHOLD = -1
_MMAP_MAX = -4
_MMAP_MAX_DEFAULT = 65_536


class _Depthwise(torch.autograd.Function):
    """A depthwise convolution in bfloat16 whose gradients avoid oneDNN's slow cases.

    Its bfloat16 gradients take 20 to 60 times the forward pass where the stride is 2 (input) or the
    kernel is 5 x 5 (weight); half of a training step of EfficientNet-Lite0 went there. The input's
    gradient of a strided convolution is a plain one of the gradient spread out with zeros; the
    weight's is computed in float32, which is also exacter.
    """

    @staticmethod
    def forward(
        ctx: Any,
        photos: Any,
        weight: Any,
        bias: Any,
        stride: Any,
        padding: Any,
        dilation: Any,
        groups: int,
    ) -> Any:
        ctx.save_for_backward(photos, weight)
        ctx.places = stride, padding, dilation, groups
        ctx.biased = bias is not None
        return functional.conv2d(photos, weight, bias, stride, padding, dilation, groups)

    @staticmethod
    def backward(ctx: Any, *outer: Any) -> Any:
        (gradient,) = outer
        photos, weight = ctx.saved_tensors
        stride, padding, dilation, groups = ctx.places
        to_photos = to_weight = to_bias = None
        if ctx.needs_input_grad[0]:
            reach = [
                step * (size - 1) for step, size in zip(dilation, weight.shape[2:], strict=True)
            ]
            shape = [
                side + 2 * edge - far
                for side, edge, far in zip(photos.shape[2:], padding, reach, strict=True)
            ]
            spread = gradient
            if max(stride) > 1:
                spread = gradient.new_zeros([*photos.shape[:2], *shape]).contiguous(
                    memory_format=torch.channels_last
                )
                spread[:, :, :: stride[0], :: stride[1]] = gradient
            outside = [far - edge for far, edge in zip(reach, padding, strict=True)]
            to_photos = functional.conv2d(
                spread, weight.flip(2, 3), None, 1, outside, dilation, groups
            )
        if ctx.needs_input_grad[1]:
            exact = (gradient.float(), photos.float(), weight.float())
            wanted = (False, True, False)
            found = _gradient(
                *exact, None, stride, padding, dilation, False, (0, 0), groups, wanted
            )
            to_weight = found[1].to(weight.dtype)
        if ctx.biased and ctx.needs_input_grad[2]:
            to_bias = gradient.sum((0, 2, 3))
        return to_photos, to_weight, to_bias, None, None, None, None


class quick_depthwise(torch.overrides.TorchFunctionMode):
    """Within it depthwise convolutions under bfloat16 autocast on a processor have quick gradients;
    else as ever."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func in (functional.conv2d, torch.conv2d) and torch.is_autocast_enabled("cpu"):
            found = _quick(*args, **(kwargs or {}))
            if found is not None:
                return found
        return func(*args, **(kwargs or {}))


def _quick(
    input: Any,
    weight: Any,
    bias: Any = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> Any:
    """Build the depthwise convolution with quick gradients.

    None where it is another kind, or nobody needs gradients.
    """
    depthwise = groups > 1 and groups == weight.shape[0] == input.shape[1]
    asked = torch.is_grad_enabled() and (input.requires_grad or weight.requires_grad)
    places = [
        (value, value) if isinstance(value, int) else value for value in (stride, padding, dilation)
    ]
    if not depthwise or not asked or isinstance(padding, str) or input.device.type != "cpu":
        return None
    with torch.autocast("cpu", enabled=False):
        lower = [
            None if part is None else part.to(torch.bfloat16) for part in (input, weight, bias)
        ]
        return _Depthwise.apply(*lower, *places, groups)


@contextmanager
def kept_memory() -> Iterator[None]:
    """Make glibc keep freed memory for the next step inside this context.

    Otherwise every large tensor's pages are mapped anew. That is worth a third of a training step.
    The memory goes back to the system at the end. Elsewhere than on glibc: nothing.
    """
    if not sys.platform.startswith("linux"):
        yield
        return
    library = ctypes.CDLL(None)
    if not hasattr(library, "mallopt"):
        yield
        return
    library.mallopt(_MMAP_MAX, 0)
    library.mallopt(_TRIM_THRESHOLD, 2**31 - 1)
    try:
        yield
    finally:
        library.mallopt(_MMAP_MAX, _MMAP_MAX_DEFAULT)
        library.mallopt(_TRIM_THRESHOLD, 128 * 1024)
        if hasattr(library, "malloc_trim"):
            library.malloc_trim(0)
