"""What says something of people or opens doors is its owner's alone, whoever writes it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from indexer.catalog.store import open_catalog
from indexer.core.home import Home
from indexer.operations.jobs import Jobs
from indexer.operations.sync_source import SyncSource, SyncSources
from indexer.reviews.store import open_reviews
from service.access.keys import KeyFile

pytestmark = pytest.mark.skipif(os.name == "nt", reason="no modes")


@pytest.fixture
def open_home(tmp_path: Path) -> Iterator[Home]:
    """A home that others may read, in a process whose files are so too."""
    home = Home.create(tmp_path / "home")
    home.path.chmod(0o755)
    before = os.umask(0o022)
    yield home
    os.umask(before)


def use_all(home: Home) -> None:
    """Open and read what a service does."""
    open_catalog(home).close()
    open_reviews(home).close()
    KeyFile(home).read()
    for source in SyncSources(home).all():
        assert source.feed
    for job in Jobs(home).list():
        assert Jobs(home).get(job.job_id) == job


def test_every_writer_makes_private_files_and_every_reader_mends_open_ones(open_home: Home) -> None:
    """The catalog, reviews, keys, feeds' addresses and jobs; made by a release before, they are
    closed when they are used."""
    use_all(open_home)
    KeyFile(open_home).create("page", "search")
    SyncSources(open_home).add(SyncSource("shop", "https://user:secret@shop.invalid/f.csv", 60.0))
    Jobs(open_home).add("import", {"data": "a.csv"})
    (job,) = (open_home.path / "jobs").iterdir()
    private = [
        open_home.catalog_file,
        open_home.reviews_file,
        open_home.keys_file,
        open_home.path / "sync" / "shop.json",
        job / "job.json",
    ]
    assert [path.stat().st_mode & 0o777 for path in private] == [0o600] * 5
    for path in private:
        path.chmod(0o644)
    use_all(open_home)
    assert [path.stat().st_mode & 0o777 for path in private] == [0o600] * 5
