"""Tests of ``indexer.core.lru``."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from indexer.core.lru import LRUCache, cache_texts


def test_the_least_recently_used_entry_goes_first() -> None:
    """Reading counts as use; ``put`` returns what it dropped, the oldest first."""
    cache = LRUCache[str, int](2)
    assert cache.put("a", 1) == []
    assert cache.put("b", 2) == []
    assert cache.get("a") == 1
    assert cache.put("c", 3) == [("b", 2)]
    assert cache.get("b") is None
    assert cache.items() == [("a", 1), ("c", 3)]
    assert cache.put("a", 4) == []
    assert cache.items() == [("c", 3), ("a", 4)]


def test_weight_is_a_limit_of_its_own() -> None:
    """Entries go until the rest weighs no more than allowed; the newest one always stays."""
    cache = LRUCache[str, str](100, max_weight=5, weigh=len)
    cache.put("a", "xx")
    cache.put("b", "xx")
    assert cache.put("c", "xxx") == [("a", "xx")]
    assert cache.put("d", "x" * 9) == [("b", "xx"), ("c", "xxx")]
    assert cache.items() == [("d", "x" * 9)]
    assert cache.pop("d") == "x" * 9
    assert cache.pop("d") is None
    cache.put("e", "xxxxx")
    assert len(cache) == 1


@given(st.lists(st.tuples(st.sampled_from("gpx"), st.integers(0, 5), st.integers(0, 4))))
def test_it_never_holds_more_than_allowed(steps: list[tuple[str, int, int]]) -> None:
    """Whatever the order of calls, both limits hold and the weight is that of what is held."""
    cache = LRUCache[int, int](3, max_weight=6, weigh=lambda value: value)
    for action, key, value in steps:
        if action == "g":
            cache.get(key)
        elif action == "p":
            cache.put(key, value)
            assert cache.get(key) == value
        else:
            cache.pop(key)
        assert len(cache) <= 3
        weight = sum(value for _, value in cache.items())
        assert weight <= 6
        assert cache._weight == weight
    cache.clear()
    assert cache.items() == []


def test_long_texts_are_not_remembered() -> None:
    """A number of entries bounds no bytes where strangers choose how long each is."""
    asked: list[tuple[str, int]] = []

    @cache_texts(2, longest=5)
    def double(text: str, times: int = 2) -> str:
        """Say it twice."""
        asked.append((text, times))
        return text * times

    assert [double("a"), double("a"), double("a", times=3)] == ["aa", "aa", "aaa"]
    assert asked == [("a", 2), ("a", 3)]
    for _ in range(2):
        assert double("123456", 1) == "123456"
    assert asked[2:] == [("123456", 1)] * 2
    assert double.__doc__ == "Say it twice."
