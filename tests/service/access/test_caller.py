"""Who a caller is, for what is counted and for whom its questions wait."""

from __future__ import annotations

from service.access.caller import Asker, Caller


def test_questions_wait_for_the_key_or_for_the_address_of_a_stranger() -> None:
    """A `search` key lies in a page, so its holders are told apart by their addresses; whoever has
    no name of its own by the address too."""
    assert Caller("erp", "write", "127.0.0.1").asker == Asker("name erp")
    assert Caller("page", "search", "127.0.0.1").asker == Asker("address 127.0.0.1", stranger=True)
    assert Caller("page", "search", "::1").asker == Asker("address ::/64", stranger=True)
    assert Caller("", "admin", "127.0.0.1").asker == Asker("address 127.0.0.1")
