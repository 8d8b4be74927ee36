"""Distributed training: rank, share of a batch and the writing process, under ``torchrun``."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from indexer.core.errors import BadRequestError, TrainingError
from indexer.core.native import torch

_PATIENCE = timedelta(hours=2)  # the first process reads all photos while the others wait


@dataclass(frozen=True)
class TrainingProcesses:
    """The processes of one training run. All see the same files; the first one (rank 0) writes."""

    rank: int = 0
    size: int = 1
    # of this process, where there is a GPU for each; None: as the caller says
    device: str | None = None

    def shard(self, count: int) -> slice:
        """Return this process's share of ``count`` rows, nearly equal for all."""
        return slice(self.rank * count // self.size, (self.rank + 1) * count // self.size)

    def wait(self) -> None:
        """Wait until all processes are here."""
        if self.size > 1:
            torch.distributed.barrier()

    @contextmanager
    def first(self) -> Iterator[bool]:
        """Run the body in the first process, then in the others; True in the first.

        Where it fails in the first, nobody waits for hours: the others raise ``TrainingError``.
        """
        if self.rank > 0 and not self.broadcast(True):
            raise TrainingError("the first process of the training failed: its message says why")
        done = False
        try:
            yield self.rank == 0
            done = True
        finally:
            if self.rank == 0:
                self.broadcast(done)

    def broadcast(self, value: bool) -> bool:
        """Broadcast the value of the first process to all."""
        if self.size == 1:
            return value
        values: list[Any] = [value]
        torch.distributed.broadcast_object_list(values, src=0)
        return bool(values[0])

    def wrap_ddp(self, module: Any) -> Any:
        """Wrap ``module`` in DistributedDataParallel, which averages gradients over the processes.

        A single process gets ``module`` itself. To be called again when other parameters are
        trained. BatchNorm statistics are frozen, so no buffer is sent.
        """
        if self.size == 1:
            return module
        return torch.nn.parallel.DistributedDataParallel(module, broadcast_buffers=False)


ALONE = TrainingProcesses()


@contextmanager
def team(device: str = "auto") -> Iterator[TrainingProcesses]:
    """Join the processes that ``torchrun``'s environment names, or run alone.

    NCCL with a GPU for each, else Gloo. GPUs have not been tried. Raises ``BadRequestError`` for an
    environment that is not complete.
    """
    size = os.environ.get("WORLD_SIZE", "1")
    if size == "1":
        yield ALONE
        return
    try:
        rank = int(os.environ["RANK"])
        local = int(os.environ["LOCAL_RANK"])
        count = int(size)
    except (KeyError, ValueError) as error:
        raise BadRequestError(
            f"WORLD_SIZE is {size}, but RANK or LOCAL_RANK is missing or no number: {error}"
        ) from None
    on_gpu = device != "cpu" and torch.cuda.is_available() and torch.cuda.device_count() > local
    if on_gpu:
        torch.cuda.set_device(local)
    torch.distributed.init_process_group("nccl" if on_gpu else "gloo", timeout=_PATIENCE)
    try:
        yield TrainingProcesses(rank, count, "cuda" if on_gpu else None)
    finally:
        torch.distributed.destroy_process_group()
