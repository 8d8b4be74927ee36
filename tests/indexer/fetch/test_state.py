"""Promise: what is known of a URL lies in one file of the home, and outlives the process."""

from __future__ import annotations

from pathlib import Path

from indexer.fetch.state import FetchState, URLState


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
        assert state.sources(["a" * 64, "b" * 64]) == {"a" * 64: "http://a/1"}
        state.forget(["a" * 64])
        assert list(state.find(urls)) == ["http://a/2"]
