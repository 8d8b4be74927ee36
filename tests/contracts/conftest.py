"""What the contracts read is let go after the last of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.contracts.source_trees import forget_trees

HERE = Path(__file__).parent


def pytest_runtest_teardown(nextitem: pytest.Item | None) -> None:
    """The tests after the contracts run without the trees of the whole source in memory."""
    if nextitem is None or nextitem.path.parent != HERE:
        forget_trees()
