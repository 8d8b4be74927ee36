"""Index versions of a serving home: activate, and undo the last activation."""

from __future__ import annotations

import pytest

from indexer.index_build.pipeline import build_index
from indexer.model.registry import resolve
from service.engine import Engine


def test_a_rollback_and_an_undo_embed_no_photos(
    own: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both answer at once: photos that wait for the network may be ten thousand, and are the
    background's."""
    asked: list[str] = []
    monkeypatch.setattr(own.snapshots, "follow_some", lambda: asked.append("embed") or True)
    build_index(own.home, bundle=resolve(own.home, None), activate=True)
    own.snapshots.follow()
    assert own.ready().index_version == "v000002"
    assert own.versions.roll_back(instead_of="v000002").content.activated == "v000001"
    assert own.ready().index_version == "v000001"
    own.products.patch("ring-tan", {"title": "changed"})
    (write, *_) = own.actions.list(limit=1, writes=True).content.actions
    own.actions.undo(write.name, dry_run=False)
    assert own.products.get("ring-tan").content.title != "changed"
    assert asked == []
