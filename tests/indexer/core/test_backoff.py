"""What failed is tried again, ever more rarely."""

from __future__ import annotations

from indexer.core.backoff import Backoff


def test_pauses_double_up_to_the_longest_and_begin_anew_after_a_success() -> None:
    backoff = Backoff(2.0, 9.0)
    assert backoff.is_due
    assert [backoff.fail() for _ in range(4)] == [2, 4, 8, 9]
    assert not backoff.is_due
    backoff.hurry()
    assert backoff.is_due
    assert backoff.fail() == 9
    backoff.succeed()
    assert backoff.is_due
    assert backoff.fail() == 2
