"""What root makes in a home of another user is that user's, and nothing else becomes so."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog
from PIL import Image

from indexer.core.atomic_files import folder_aside, publish_folder, publish_into, write_atomic
from indexer.core.errors import ReadOnlyError
from indexer.core.file_owner import give, touch
from indexer.core.home import Home
from indexer.feeds.importer import import_feed
from indexer.index.version import Versions
from indexer.operations.jobs import Jobs
from indexer.operations.sync_source import SyncSource, SyncSources
from indexer.reviews.store import open_reviews
from service.access.rate_limit import RateLimiter
from service.background.leadership import Leadership
from tests.indexer.index_build.test_pipeline import build
from tools import cli

USER = 12345
pytestmark = pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root gives files to others"
)


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """A folder of another user, for a root whose own files nobody else may read."""
    path = tmp_path / "theirs"
    path.mkdir()
    os.chown(path, USER, USER)
    before = os.umask(0o077)
    yield path
    os.umask(before)


def foreign(top: Path) -> list[str]:
    """What below ``top`` is not its user's."""
    paths = [path for path in top.rglob("*") if not path.is_symlink()]
    assert paths
    return [str(path.relative_to(top)) for path in paths if path.stat().st_uid != USER]


def test_all_that_commands_of_root_leave_in_a_home_is_its_users(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The service of the home's user reads what was written beside it: a key that was revoked
    ends, and what was activated serves."""
    feed = tmp_path / "feed"
    feed.mkdir()
    for number in range(2):
        Image.new("RGB", (40, 40), (80 * number, 9, 9)).save(feed / f"p{number}.png")
    home = Home.create(folder / "home")
    import_feed(home, feed)
    versions = Versions(home)
    for number in (1, 2):
        build(home)
        versions.activate(f"v00000{number}", model_embedding_id=lambda _: "e1")
        versions.clear_half_built()
    versions.rollback(model_embedding_id=lambda _: "e1")
    for words in (
        ["keys", "create", "bob", "--role", "search"],
        ["keys", "revoke", "bob"],
        ["alerts", "secret"],
        ["backup", str(folder / "backups")],
    ):
        assert cli.run([*words, "--home", str(home.path)]) == 0, capsys.readouterr().err
    open_reviews(home).close()
    SyncSources(home).add(SyncSource("shop", "https://shop.invalid/f.csv", 60.0))
    jobs = Jobs(home)
    jobs.mark_made(jobs.add("import", {"data": "a.csv"}).job_id)
    jobs.report(jobs.list()[0].job_id, "read", 0, 1)
    RateLimiter(home, structlog.get_logger()).close()
    leads = Leadership(home)
    assert leads.holds()
    leads.release()
    assert foreign(folder) == []


def test_only_what_root_made_there_is_given(folder: Path, tmp_path: Path) -> None:
    """Links are not followed, what has a second name elsewhere stays, and so does what lies in
    root's own folder."""
    (tmp_path / "own").write_text("x")
    (folder / "link").symlink_to(tmp_path / "own")
    os.link(tmp_path / "own", folder / "second")
    for name in ("link", "second"):
        give(folder / name)
    with folder_aside(folder / "tree") as aside:
        (aside / "below").mkdir()
        write_atomic(aside / "below" / "file", b"x")
        os.link(tmp_path / "own", aside / "below" / "second")
        (aside / "below" / "link").symlink_to(tmp_path)
        publish_folder(aside, folder / "tree")
    mount = folder / "mount"
    mount.mkdir()
    os.chown(mount, USER, USER)
    with folder_aside(folder / "filled") as aside:
        touch(aside / "home.json")
        publish_into(aside, mount, ("home.json",))
    write_atomic(tmp_path / "roots", b"x")
    assert foreign(folder) == ["second", "tree/below/second"]
    assert [path.stat().st_uid for path in (tmp_path, tmp_path / "own", tmp_path / "roots")] == [
        0,
        0,
        0,
    ]


def test_a_root_that_may_give_nothing_writes_nothing(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What its user could not read would end a service; the file before stays."""
    write_atomic(folder / "keys.json", b"old")

    def refuse(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "fchown", refuse)
    with pytest.raises(ReadOnlyError, match=r"number 12345.*run this as that user"):
        write_atomic(folder / "keys.json", b"new")
    assert [path.read_bytes() for path in folder.iterdir()] == [b"old"]
