"""What a network costs, found on shapes alone before any memory is taken."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any

from indexer.core.errors import BadModelError
from indexer.core.native import torch
from indexer.model.backbone import Backbone
from indexer.model.preprocessing import input_sizes
from indexer.model.spec import Preprocess

# Numbers, of 4 bytes each. One result of a layer for one photo, and all of them: several times what
# the largest network of timm has at its own size.
_MOST_RESULT = 1 << 28
_MOST_RESULTS = 1 << 36
# Buffers that are not among the weights, such as masks of windows.
_MOST_BUFFERS = 1 << 26


def check_network(
    backbone: Backbone, preprocess: Preprocess, stored: Mapping[str, Any], *, where: str
) -> None:
    """Compare what ``backbone`` would take with the tensors ``stored``, by name, and bound what a
    photo takes in it. Raises ``BadModelError``."""
    network = _shapes_of(backbone.make)
    expected = {
        name: tuple(value.shape)
        for name, value in network.state_dict().items()
        if not name.endswith("num_batches_tracked")
    }
    found = {name: tuple(value.shape) for name, value in stored.items()}
    for name in sorted(expected.keys() ^ found.keys()):
        raise BadModelError(
            f"{where}: weights do not fit the spec: {name!a} of {backbone.name} is "
            + ("missing" if name in expected else "not known")
        )
    for name, shape in expected.items():
        if found[name] != shape:
            raise BadModelError(
                f"{where}: weights do not fit the spec: {name} is {list(found[name])}, not "
                f"{list(shape)}"
            )
    buffers = sum(value.numel() for value in network.buffers())
    own = sum(math.prod(shape) for shape in expected.values())
    if buffers > own + _MOST_BUFFERS:
        raise BadModelError(
            f"{where}: {backbone.name} wants {buffers:,} numbers beside its {own:,} weights"
        )
    largest = max(input_sizes(preprocess), key=math.prod)
    _check_results(backbone.make, largest, f"{where}: {backbone.name}")


# A row of the registry makes the same network each time. To make it and to run it takes four fifths
# of the time in which a model is opened, and a process opens the same one again and again.
@lru_cache(maxsize=4)
def _shapes_of(make: Callable[[], Any]) -> Any:
    with torch.device("meta"):
        return make().eval()


_Mode: Any = torch.utils._python_dispatch.TorchDispatchMode


class _Results(_Mode):
    """Counts the numbers in what the operations give."""

    def __init__(self) -> None:
        super().__init__()
        self.largest = 0
        self.total = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        given = func(*args, **(kwargs or {}))
        for one in given if isinstance(given, (tuple, list)) else (given,):
            if isinstance(one, torch.Tensor):
                self.largest = max(self.largest, one.numel())
                self.total += one.numel()
                if self.largest > _MOST_RESULT or self.total > _MOST_RESULTS:
                    raise _TooLargeError
        return given


class _TooLargeError(Exception):
    """A photo takes more than any network needs."""


@lru_cache(maxsize=32)
def _run_on_shapes(make: Callable[[], Any], width: int, height: int) -> None:
    with torch.no_grad(), _Results():
        _shapes_of(make)(torch.zeros(1, 3, height, width, device="meta"))


def _check_results(make: Callable[[], Any], size: tuple[int, int], said: str) -> None:
    width, height = size
    try:
        _run_on_shapes(make, width, height)
    except _TooLargeError:
        raise BadModelError(
            f"{said} would take more memory for a photo of {width} x {height} px than any network "
            "needs"
        ) from None
    # It meets an input that it was not made for: it raises whatever it likes.
    except Exception as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
        raise BadModelError(f"{said} cannot see {width} x {height} px: {reason}") from error
