"""Zips as Windows, macOS and Chinese systems make them; bombs are refused before they are paid."""

from __future__ import annotations

import errno
import io
import zipfile
from pathlib import Path

import pytest

from indexer.core.errors import BadDataError, DiskFullError, StorageError
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


def test_folders_that_only_names_of_files_speak_of_are_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A thousand files in a thousand folders each of their own would be a million folders; files
    in the same ones cost nothing more."""
    monkeypatch.setattr(archives, "MOST_FILES", 100)
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for number in range(30):
            archive.writestr(f"{number}/b/c/d/photo.jpg", b"x")
    with pytest.raises(BadDataError, match="lie in 120 folders"):
        check_archive(path, most_bytes=1000)
    with zipfile.ZipFile(path, "w") as archive:
        for number in range(90):
            archive.writestr(f"a.{number % 3}/b/{number % 2}/{number}.jpg", b"x")
    assert check_archive(path, most_bytes=1000) == 90


def test_folders_in_one_another_have_an_end(tmp_path: Path) -> None:
    """Walking and removing them costs by their depth."""
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a/" * 64 + "photo.jpg", b"x")
    assert check_archive(path, most_bytes=100) == 1
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a/" * 65 + "photo.jpg", b"x")
    with pytest.raises(BadDataError, match="more than 64 folders in one another"):
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
    with pytest.raises(DiskFullError, match="has room for 10: make room"):
        unpack(path, tmp_path / "out", most_bytes=1000)
    assert list((tmp_path / "out").iterdir()) == []


def test_a_path_longer_than_systems_take_is_refused_by_name(tmp_path: Path) -> None:
    """Before anything is unpacked."""
    path = packed(tmp_path / "a.zip", b"d/" * 3000 + b"a.jpg")
    with pytest.raises(BadDataError, match="too long a name"):
        check_archive(path, most_bytes=100)


@pytest.mark.parametrize("name", ["", ".", "./", "a/..", "/", "\0"])
def test_a_name_of_nothing_is_refused(tmp_path: Path, name: str) -> None:
    """No index error: whatever a directory holds, the refusal is of the archive."""
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(zipfile.ZipInfo(name or "x"), b"x")
    if not name:
        path.write_bytes(_nameless(path.read_bytes()))
    with pytest.raises(BadDataError):
        check_archive(path, most_bytes=100)
    with pytest.raises(BadDataError):
        unpack(path, tmp_path / "out", most_bytes=100)
    assert list((tmp_path / "out").iterdir()) == []


def _nameless(data: bytes) -> bytes:
    """A zip of one entry called x, with its name of no length."""
    central = data.index(b"PK\1\2")
    end = data.index(b"PK\5\6")
    entry = data[central : central + 28] + b"\0\0" + data[central + 30 : central + 46]
    tail = data[end : end + 12] + len(entry).to_bytes(4, "little") + data[end + 16 :]
    return data[:central] + entry + tail


@pytest.mark.parametrize(
    "method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA]
)
def test_damage_of_any_kind_is_said_of_the_archive(tmp_path: Path, method: int) -> None:
    """Each unpacker has errors of its own; none gets out, and the entry is named."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", method) as archive:
        archive.writestr("one.jpg", bytes(range(256)) * 64)
    good = stream.getvalue()
    body = 30 + len("one.jpg")
    path = tmp_path / "a.zip"
    messages = []
    for at in range(0, min(good.index(b"PK\1\2"), body + 64)):
        path.write_bytes(good[:at] + bytes([good[at] ^ 0x55]) + good[at + 1 :])
        folder = tmp_path / f"out{at}"
        try:
            unpack(path, folder, most_bytes=1 << 20)
        except BadDataError as error:
            messages.append(str(error))
    assert len(messages) > 20
    assert any("'one.jpg' is damaged" in message for message in messages)


def test_folders_count_before_an_object_is_made_of_each(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A directory of folders alone took memory and seconds until it was counted."""
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for number in range(300):
            archive.writestr(f"{number}/", b"")
    monkeypatch.setattr(archives, "MOST_FILES", 299)
    monkeypatch.setattr(zipfile, "ZipInfo", None)
    with pytest.raises(BadDataError, match="more than 299 files and folders"):
        check_archive(path, most_bytes=100)
    monkeypatch.setattr(archives, "MOST_FILES", 1000)
    monkeypatch.setattr(archives, "_MOST_DIRECTORY", 1000)
    with pytest.raises(BadDataError, match="directory has"):
        check_archive(path, most_bytes=100)


def test_a_full_disk_is_not_the_archive_s_fault(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was sent is right: it can be sent again when there is room."""
    path = packed(tmp_path / "a.zip", b"a.jpg", data=b"x" * 100)

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "open", full)
    with pytest.raises(StorageError):
        unpack(path, tmp_path / "out", most_bytes=1000)


def test_an_archive_of_empty_photos_is_refused_before_one_is_unpacked(tmp_path: Path) -> None:
    """Each takes as long to unpack as a photo, and none is one; a few are the feed's own affair."""
    path = tmp_path / "empty.zip"
    for count in (1000, 1001):
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("products.csv", "product_id,image\n" + "a,0.jpg\n" * 9)
            for number in range(count):
                archive.writestr(f"{number}.jpg", b"")
        if count == 1000:
            assert check_archive(path, most_bytes=1 << 20) == count + 1
    for act in (
        lambda: check_archive(path, most_bytes=1 << 20),
        lambda: unpack(path, tmp_path / "out", most_bytes=1 << 20),
    ):
        with pytest.raises(BadDataError, match="1001 files of the archive are empty"):
            act()
    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (("./a.jpg", "a.jpg"), "stands in it twice"),
        (("b//a.jpg", "b/./a.jpg"), "stands in it twice"),
        (("a", "a/b.jpg"), "'a/b.jpg' lies in a file"),
        (("a/b.jpg", "a"), "'a/b.jpg' lies in a file"),
    ],
)
def test_names_that_are_one_are_refused_before_anything_is_unpacked(
    tmp_path: Path, names: tuple[str, str], said: str
) -> None:
    """What the disk takes for one name was met halfway, and called a file and a folder at once."""
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for name in names:
            archive.writestr(name, b"x" * 100)
    with pytest.raises(BadDataError, match=said):
        check_archive(path, most_bytes=1000)
