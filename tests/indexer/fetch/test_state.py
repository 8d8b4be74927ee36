"""Promise: what is known of a URL lies in one file of the home, and outlives the process."""

from __future__ import annotations

from pathlib import Path

from indexer.fetch.state import FetchState, URLState, stored_urls


def test_what_was_recorded_is_found_again(tmp_path: Path) -> None:
    """All fields come back, also after the file was closed; unknown URLs are absent."""
    states = [
        URLState("http://a/1", "a" * 64, '"x"', "Mon", 12.5, 3),
        URLState("http://a/2", asked=1.0, attempts=4, failures=2, reason="no", transient=True),
    ]
    with FetchState(tmp_path / "fetch.sqlite3") as state:
        for one in states:
            state.record(one)
    with FetchState(tmp_path / "fetch.sqlite3") as state:
        urls = [f"http://a/{n}" for n in range(2000)]
        assert state.find(urls) == {one.url: one for one in states}
        assert state.hashes() == {"a" * 64}
        # What gave no photo cannot be told to be of a product that is there.
        state.forget(["b" * 64])
        assert list(state.find(urls)) == ["http://a/1"]
        state.forget(["a" * 64])
        assert not state.find(urls)
    assert b"http://a/" not in (tmp_path / "fetch.sqlite3").read_bytes()


def test_no_file_is_made_to_look_into(tmp_path: Path) -> None:
    """Whoever only looks leaves no file behind."""
    with stored_urls(tmp_path / "fetch.sqlite3") as state:
        assert state is None
    assert not list(tmp_path.iterdir())
