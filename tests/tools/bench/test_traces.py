"""``bench traces``: what it looks for is found wherever a service might leave it, and by itself the
service leaves none."""

from __future__ import annotations

import base64
import os
import tempfile
from pathlib import Path

import pytest

from tools.bench import traces
from tools.bench.traces import OpenFiles, QueryPhotos, find_files


def test_a_photo_is_found_in_any_form(tmp_path: Path) -> None:
    """Its bytes, its pixels, base64 at any place, its hash as text and as bytes; else nothing."""
    photos = QueryPhotos()
    photo = photos.draw(160)
    digest = photos.hashes[0]
    planted = {
        "part.png": photo[2000:],
        "dump.raw": b"x" + photos.marker,
        **{f"{n}.json": base64.b64encode(b"a" * n + photo) for n in range(3)},
        "note.txt": f"photo {digest}".encode(),
        "rows.db": b"..." + bytes.fromhex(digest),
    }
    for name, data in planted.items():
        (tmp_path / name).write_bytes(data)
    (tmp_path / "other.png").write_bytes(QueryPhotos().draw(160))
    assert find_files(photos, [tmp_path]) == sorted(str(tmp_path / name) for name in planted)


def test_an_open_file_without_a_name_is_looked_into() -> None:
    """As a form parser spools an upload: deleted at once, and written to later."""
    photos = QueryPhotos()
    photo = photos.draw(160)
    with tempfile.TemporaryFile() as spooled:
        watched = OpenFiles(os.getpid(), photos.patterns)
        spooled.write(os.urandom(20_000))
        spooled.flush()
        watched.look()
        assert watched.held == set()
        spooled.write(photo)
        spooled.flush()
        watched.look()
    (name,) = watched.held
    assert name.endswith("(deleted)")


@pytest.mark.long
def test_a_service_leaves_no_query_photo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Photos of 5 MB in every form of request, and half of one: no trace in home, temporary folder
    and log, nor in a file that was open."""
    monkeypatch.setenv("CATALENS_BENCH_PHOTOS", "10")
    row = {"part": "queries", **traces.measure("queries", tmp_path)}
    assert [goal.judge([row])["met"] for goal in traces.GOALS] == [True, True], row
    assert len(row["statuses"]) == 5
