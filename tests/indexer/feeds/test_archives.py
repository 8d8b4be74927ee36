"""Zips as Windows, macOS and Chinese systems make them; bombs are refused before they are paid."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import pytest

from indexer.core.errors import BadDataError
from indexer.feeds import archives
from indexer.feeds.archives import check_archive, unpack


def packed(path: Path, *names: bytes, data: bytes = b"x") -> Path:
    """A zip whose names are these bytes, without the mark of UTF-8."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for number in range(len(names)):
            archive.writestr(f"{number}" * len(names[number]), data)
    raw = stream.getvalue()
    for number, name in enumerate(names):
        raw = raw.replace(f"{number}".encode() * len(name), name)
    path.write_bytes(raw)
    return path


@pytest.mark.parametrize(
    ("stored", "meant"),
    [
        ("红色连衣裙/一号.jpg".encode("gbk"), "红色连衣裙/一号.jpg"),
        ("röcke/größe.jpg".encode(), "röcke/größe.jpg"),
        ("röcke/größe.jpg".encode("cp437"), "röcke/größe.jpg"),
        (b"photos\\a.jpg", "photos/a.jpg"),
    ],
)
def test_names_are_what_they_were_meant_to_be(tmp_path: Path, stored: bytes, meant: str) -> None:
    """GBK, UTF-8 without its mark, DOS and backslashes."""
    path = packed(tmp_path / "a.zip", stored)
    assert unpack(path, tmp_path / "out", most_bytes=100) == 1
    assert (tmp_path / "out" / meant).read_bytes() == b"x"


@pytest.mark.parametrize("name", [b"..\\evil.jpg", b"a\\..\\..\\evil", b"\\evil.jpg", b"C:\\evil"])
def test_a_backslash_leads_out_no_more_than_a_slash(tmp_path: Path, name: bytes) -> None:
    """What would leave the folder is refused however it is written."""
    path = packed(tmp_path / "a.zip", name, b"good.jpg")
    with pytest.raises(BadDataError, match=r"leads out|drive"):
        check_archive(path, most_bytes=100)


def test_a_bomb_is_refused_by_its_ratio(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Far more bytes than the archive has are no feed, whatever is allowed; a small one is."""
    path = packed(tmp_path / "a.zip", b"zeros.jpg", data=bytes(2_000_000))
    assert check_archive(path, most_bytes=1 << 40) == 1
    monkeypatch.setattr(archives, "_FREE_BYTES", 1_000_000)
    with pytest.raises(BadDataError, match="200 times its size"):
        check_archive(path, most_bytes=1 << 40)


def test_more_than_the_disk_holds_is_not_begun(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The room there is stands in the refusal, and nothing was written."""
    path = packed(tmp_path / "a.zip", b"a.jpg", data=b"x" * 100)
    usage = archives.shutil.disk_usage(tmp_path)._replace(free=10)
    monkeypatch.setattr(archives.shutil, "disk_usage", lambda _: usage)
    with pytest.raises(BadDataError, match="has room for 10"):
        unpack(path, tmp_path / "out", most_bytes=1000)
    assert list((tmp_path / "out").iterdir()) == []


def test_a_path_longer_than_systems_take_is_refused_by_name(tmp_path: Path) -> None:
    """Before anything is unpacked."""
    path = packed(tmp_path / "a.zip", b"d/" * 3000 + b"a.jpg")
    with pytest.raises(BadDataError, match="too long a name"):
        check_archive(path, most_bytes=100)
