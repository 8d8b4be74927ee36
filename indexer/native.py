"""The one door to torch and faiss: thread counts are set before either is loaded, torch before faiss."""

from __future__ import annotations

import os

# OpenMP reads these once, when the first library that uses it is loaded. CATALENS_THREADS is for people who share a
# machine; without it OpenMP takes every core, which is right for one process that owns one model.
if "CATALENS_THREADS" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", os.environ["CATALENS_THREADS"])

import torch

import faiss  # isort: skip


def _cores() -> int:
    """Cores this process may use, which a container may have made fewer than the machine has."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def one_blas_thread() -> None:
    """For a process that answers one small question after another: numpy's BLAS keeps to the calling thread.

    Its second thread would spin for tens of milliseconds after each product and take a core from everyone else.
    """
    from threadpoolctl import threadpool_limits

    threadpool_limits(limits=1, user_api="blas")


# Threads for what OpenMP's own settings do not reach.
THREADS = int(os.environ.get("OMP_NUM_THREADS") or _cores())

__all__ = ["THREADS", "faiss", "one_blas_thread", "torch"]
