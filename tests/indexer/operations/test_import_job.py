"""Uploads are judged by what was sent last under their name, and what they leave is bounded."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import pytest

from indexer.catalog.store import open_catalog
from indexer.core.errors import FeedHeldError
from indexer.core.home import Home
from indexer.core.progress import no_progress
from indexer.feeds import run_memory
from indexer.operations.import_job import import_upload
from indexer.operations.jobs import Jobs
from tests.indexer.feeds.test_importer import draw


@pytest.fixture
def home(tmp_path: Path) -> Home:
    draw(tmp_path / "0.png", 1)
    return Home.create(tmp_path / "home")


def send(home: Home, name: str, products: int, **options: Any) -> dict[str, Any]:
    """Import a zip of so many products, called ``name``, as a job does."""

    def save(target: Path) -> None:
        rows = "".join(f"p{at},0.png,T\n" for at in range(products))
        with zipfile.ZipFile(target, "w") as packed:
            packed.write(home.path.parent / "0.png", "0.png")
            packed.writestr("feed.csv", f"product_id,image,title\n{rows}")
            packed.writestr("more.csv", "product_id,image,title\nq0,0.png,T\n")

    options = {"feed": "feed.csv", "most_bytes": 2**30, **options}
    jobs = Jobs(home)
    job = jobs.add("import", options, upload=save, name=name)
    try:
        return import_upload(home, jobs.path(job.job_id), options, no_progress)
    finally:
        jobs.set(job.job_id, state="done")


def test_an_upload_that_shrank_is_held(home: Home) -> None:
    """By its name, and that of the feed in it: a dry run says so, ``accept`` lets it through."""
    send(home, "shop.zip", 20)
    foretold = send(home, "shop.zip", 10, dry_run=True)
    assert "feed-held" in [kind["code"] for kind in foretold["warnings"]]
    with pytest.raises(FeedHeldError, match=r"10 products and had 20 .*50% less"):
        send(home, "shop.zip", 10)
    with open_catalog(home) as catalog:
        assert catalog.last_sequence() == 20
    assert send(home, "other.zip", 10)["counts"]["unchanged"] == 10
    assert send(home, "shop.zip", 1, feed="more.csv")["counts"]["added"] == 1
    assert send(home, "shop.zip", 10, accept=True)["counts"]["unchanged"] == 10
    assert send(home, "shop.zip", 10)["counts"]["unchanged"] == 10


def test_what_uploads_leave_is_bounded(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    """The names that came last are remembered; a feed of a path is none of them."""
    monkeypatch.setattr(run_memory, "_MOST_SENT", 2)
    home.feeds.mkdir()
    (home.feeds / "0123456789abcdef.npz").write_bytes(b"of a path")
    for name in ("a.zip", "b.zip", "b.zip", "c.zip"):
        send(home, name, 6, accept=True)
    left = sorted(path.suffix for path in home.feeds.iterdir())
    assert left == [".npz", ".npz", ".npz", ".photos", ".photos"]
    assert (home.feeds / "0123456789abcdef.npz").exists()
    send(home, "a.zip", 2)
    with pytest.raises(FeedHeldError):
        send(home, "c.zip", 2)
