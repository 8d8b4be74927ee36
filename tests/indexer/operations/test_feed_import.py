"""An import says what became of photos that are not kept, to whoever asked for it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import pytest

from indexer.catalog.records import SkippedPhoto
from indexer.core.home import Home
from indexer.feeds.import_options import ImportOptions
from indexer.operations import forget_photos
from indexer.operations.feed_import import run_import
from tests.indexer.conftest import draw


def test_a_forgotten_photo_without_a_vector_is_a_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the model could not read is named in the report, and the model in the notes; the wish
    for a model is passed on."""
    asked: list[str | None] = []

    @contextmanager
    def forgetting(home: Home, model: str | None = None) -> Iterator[SimpleNamespace]:
        asked.append(model)
        keeper = forget_photos.PhotoForgetter(home, None)
        yield keeper  # type: ignore[misc]
        # Known only once all are settled.
        keeper.report.model_version = "m1"
        keeper.report.skipped.append(SkippedPhoto(1, "abc", "it is damaged"))

    monkeypatch.setattr(forget_photos, "forgetting", forgetting)
    draw("disc", 1).save(tmp_path / "a.png")
    (tmp_path / "feed.csv").write_text("product_id,image\n1,a.png\n")
    notes: list[str] = []
    report = run_import(
        Home.create(tmp_path / "home"),
        tmp_path / "feed.csv",
        ImportOptions(photos="forget"),
        model="mine",
        note=notes.append,
    )
    assert report.added == 1
    assert asked == ["mine"]
    assert notes == ["photos forgotten: 0; embedded by model m1"]
    assert [(n.where, n.code, n.reason) for n in report.warnings if n.code == "no-vector"] == [
        ("abc", "no-vector", "has no vector: it is damaged")
    ]
