"""The one door to torch and faiss: thread counts are set before either is loaded, torch before faiss."""

from __future__ import annotations

import os

# OpenMP reads these once, when the first library that uses it is loaded. CATALENS_THREADS is for people who share a
# machine; without it OpenMP takes every core, which is right for one process that owns one model.
if "CATALENS_THREADS" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", os.environ["CATALENS_THREADS"])

import torch

import faiss  # isort: skip

__all__ = ["faiss", "torch"]
