"""Tests of ``indexer.core.regular_files``: what somebody put in a file's place costs nothing."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from indexer.core.atomic_files import sha256_file
from indexer.core.errors import BadHomeError, BadModelError, CatalensError, DamagedIndexError
from indexer.core.home import Home
from indexer.core.manifest import read_manifest
from indexer.core.regular_files import parse_json, read_json, read_small
from indexer.feeds.profile import profile_text
from indexer.feeds.vendor_categories import read_numbers
from indexer.model.bundle import load_bundle
from indexer.moderation.policy import load_policies
from indexer.text.glossary import read_glossary


@pytest.fixture(params=["pipe", "device", "large", "deep"])
def trap(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A folder whose files cannot be read to their end, or not at a bounded cost."""
    folder = tmp_path / "v000001"
    folder.mkdir()
    for name in ("manifest.json", "home.json"):
        path = folder / name
        if request.param == "pipe":
            os.mkfifo(path)
        elif request.param == "device":
            path.symlink_to("/dev/zero")
        elif request.param == "large":
            with path.open("wb") as file:
                # Of holes: it takes no room.
                file.truncate(1 << 40)
        else:
            path.write_bytes(b"[" * 100_000)
    return folder


def test_a_trap_is_refused_at_once(trap: Path) -> None:
    """A pipe is not waited for, a device not read, a large file not held, nesting no crash."""
    with pytest.raises((OSError, ValueError)):
        read_json(trap / "manifest.json")
    with pytest.raises(DamagedIndexError, match="manifest"):
        read_manifest(trap)
    with pytest.raises(BadModelError, match="manifest"):
        load_bundle(trap)
    with pytest.raises(BadHomeError):
        Home(trap)


def test_a_checksum_is_of_a_regular_file(tmp_path: Path) -> None:
    """Neither a pipe nor a device has an end to take a checksum of."""
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", Path("/dev/zero")):
        with pytest.raises(OSError, match="regular"):
            sha256_file(path)


def test_a_file_at_the_bound_is_whole(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"12345")
    assert read_small(tmp_path / "file", 5) == b"12345"
    with pytest.raises(OSError, match="more than"):
        read_small(tmp_path / "file", 4)


@pytest.mark.parametrize("read", [read_glossary, profile_text, read_numbers, load_policies])
@pytest.mark.parametrize("kind", ["pipe", "device"])
def test_files_that_are_named_are_regular(
    tmp_path: Path, read: Callable[[Path], object], kind: str
) -> None:
    """A glossary, profile, file of categories or policy that never ends is refused at once."""
    path = tmp_path / "named.yaml"
    if kind == "pipe":
        os.mkfifo(path)
    else:
        path.symlink_to("/dev/zero")
    with pytest.raises(CatalensError, match="cannot be read"):
        read(path)


@pytest.mark.parametrize("text", ["NaN", "-Infinity", "1e999", "1" + "0" * 400])
def test_a_number_that_none_can_count_with_is_refused(text: str, tmp_path: Path) -> None:
    """A stranger's manifest, spec or decision layer with one is damaged: turned into another kind
    of number by whoever reads it, it would be a traceback, and no number decides anything."""
    with pytest.raises(ValueError, match=r"no finite number|401 digits"):
        parse_json(f'{{"a": [{text}]}}')
    assert parse_json("[1e300, -12, 0.5]") == [1e300, -12, 0.5]
    assert parse_json("9" * 300) == 10**300 - 1
    (tmp_path / "home.json").write_text(f'{{"format": {text}}}')
    with pytest.raises(BadHomeError):
        Home(tmp_path)
