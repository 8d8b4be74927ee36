"""Quick gradients of depthwise convolutions: the same numbers as torch's own, only sooner."""

from __future__ import annotations

import pytest

from indexer.core.native import torch
from indexer.training.cpu_kernels import kept_memory, quick_depthwise

functional = torch.nn.functional


def gradients(
    photos: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor | None,
    stride: int,
    padding: int,
    dilation: int,
) -> list[torch.Tensor]:
    leaves = [part.clone().requires_grad_() for part in (photos, weight, bias) if part is not None]
    out = functional.conv2d(
        *leaves[:2],
        leaves[2] if bias is not None else None,
        stride,
        padding,
        dilation,
        groups=photos.shape[1],
    )
    (out.float() * torch.arange(out.numel()).view(out.shape).remainder(7)).sum().backward()
    return [out.detach().float(), *(leaf.grad.float() for leaf in leaves if leaf.grad is not None)]


@pytest.mark.parametrize("kernel", [3, 5])
@pytest.mark.parametrize(
    ("stride", "padding", "dilation"), [(1, 0, 1), (1, 2, 1), (2, 1, 1), (2, 0, 1), (1, 2, 2)]
)
@pytest.mark.parametrize("side", [16, 17])
def test_gradients_are_those_of_float32(
    kernel: int, stride: int, padding: int, dilation: int, side: int
) -> None:
    """Within bfloat16's eight bits, for every stride, padding, dilation and parity of the photo's
    side."""
    generator = torch.Generator().manual_seed(0)
    photos = torch.randn(2, 6, side, side, generator=generator).bfloat16().float()
    weight = torch.randn(6, 1, kernel, kernel, generator=generator).bfloat16().float()
    bias = torch.randn(6, generator=generator).bfloat16().float()
    exact = gradients(photos, weight, bias, stride, padding, dilation)
    with torch.autocast("cpu", torch.bfloat16), quick_depthwise():
        quick = gradients(photos, weight, bias, stride, padding, dilation)
    for found, wanted in zip(quick, exact, strict=True):
        assert float((found - wanted).abs().max()) <= 0.02 * float(wanted.abs().max())


def test_other_convolutions_stay_as_they_are() -> None:
    """Dense ones, and depthwise ones that nobody asks gradients of, are torch's own to the bit."""
    photos, weight = torch.randn(2, 4, 8, 8), torch.randn(6, 4, 3, 3)
    lone = torch.randn(4, 1, 3, 3)
    with torch.autocast("cpu", torch.bfloat16):
        plain = functional.conv2d(photos, weight), functional.conv2d(photos, lone, groups=4)
        with quick_depthwise():
            again = functional.conv2d(photos, weight), functional.conv2d(photos, lone, groups=4)
    assert all(torch.equal(one, other) for one, other in zip(plain, again, strict=True))


def test_memory_is_given_back_after_an_error_too() -> None:
    with pytest.raises(ZeroDivisionError), kept_memory():
        1 / 0  # noqa: B018
    with kept_memory():
        assert float(torch.ones(1000).sum()) == 1000
