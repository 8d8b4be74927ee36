"""Photos that a feed names by path: what costs nothing to refuse is refused so."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from indexer.core.home import Home
from indexer.feeds.import_options import ImportOptions
from indexer.feeds.notice import Notice
from indexer.feeds.photo_intake import PhotoIntake
from indexer.feeds.product import PhotoReference


def test_an_empty_photo_is_named_without_being_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An archive may name 70,000 of them; each has its reason."""
    (tmp_path / "empty.jpg").touch()
    home = Home.create(tmp_path / "home")
    monkeypatch.delattr(PhotoIntake, "_open")
    with ThreadPoolExecutor(1) as pool:
        intake = PhotoIntake(home, None, tmp_path, ImportOptions(), None, pool)
        (found,) = intake.take_files([PhotoReference("line 2", "empty.jpg")])
    assert isinstance(found, Notice)
    assert (found.where, found.code) == ("line 2", "bad-photo")
    assert found.reason.endswith("empty.jpg: the image is empty (0 bytes)")
