"""The small GPU proof: silent nowhere, and a check that fails says why."""

from __future__ import annotations

import json

import numpy as np
import pytest
from click.testing import CliRunner

from indexer.index import gpu
from tools.cli import cli
from tools.gpu_selftest import _at_least, _check, prove


def test_without_a_gpu_it_says_that_nothing_ran(monkeypatch: pytest.MonkeyPatch) -> None:
    """No GPU is no failure and no success: ``ran`` is false, with the reason; the command prints it
    and exits 0."""
    monkeypatch.setattr(gpu, "gpus", lambda: 0)
    found = prove()
    assert (found["gpus"], found["ran"], found["checks"]) == (0, False, [])
    assert "GPU" in found["why"]
    done = CliRunner().invoke(cli, ["doctor", "--selftest-gpu", "--json"])
    assert done.exit_code == 0
    assert json.loads(done.stdout)["gpu_selftest"]["ran"] is False


def test_a_failing_check_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a GPU is announced and does not work, each check fails with what FAISS said, none ends
    the others."""
    monkeypatch.setattr(gpu, "gpus", lambda: 1)

    def broken(*_: object, **__: object) -> object:
        raise RuntimeError("CUDA error 2: out of memory")

    monkeypatch.setattr(gpu, "_resources", broken)
    found = prove(entries=1000, dim=16)
    assert found["ran"]
    assert len(found["checks"]) == 5
    assert not any(check["ok"] for check in found["checks"])
    assert "did not go on the GPU" in found["checks"][0]["detail"]


def test_low_recall_is_a_failure() -> None:
    """A GPU that answers wrongly does not pass."""
    with pytest.raises(ValueError, match=r"0\.5000, wanted 0\.99"):
        _at_least(0.5, 0.99)
    checked = _check("x", lambda rows, queries: _at_least(0.5, 0.99), np.empty(0), np.empty(0))
    assert checked == {
        "name": "x",
        "ok": False,
        "detail": "ValueError: recall@10 0.5000, wanted 0.99",
    }
