"""One message when a cause begins, one when it ends, whatever comes between."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from indexer.core.atomic_files import read_sealed_json
from indexer.core.home import Home
from service.alerts import monitor as monitoring
from service.alerts.alert import Alert, AlertCause
from service.alerts.channels import AlertNotSentError
from service.alerts.monitor import AlertMonitor
from service.logging import make_log


class Channel:
    """Keeps what it is sent; ``broken`` makes it refuse."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.broken = False
        self.sent: list[tuple[str, bool]] = []

    def send(self, alert: Alert) -> None:
        if self.broken:
            raise AlertNotSentError(f"{self.name}: no")
        self.sent.append((alert.cause.title, alert.ended))


class Probe:
    """Says that ``lasting`` lasts; ``broken`` makes it fail."""

    def __init__(self) -> None:
        self.lasting: dict[str, str] = {}
        self.broken = False

    def owns(self, key: str) -> bool:
        return True

    def causes(self) -> Iterator[AlertCause]:
        if self.broken:
            raise OSError("gone")
        for key, title in self.lasting.items():
            yield AlertCause(key, "failed", title, "detail")


@pytest.fixture(autouse=True)
def no_delay(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(monitoring, "_RETRY_S", 0.0)


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home.create(tmp_path / "home")


def make(home: Home, probe: Any, *channels: Any) -> AlertMonitor:
    return AlertMonitor(home, [probe], channels, log=make_log())


def test_a_cause_is_told_once_and_its_end_once(home: Home) -> None:
    """Its figures may change meanwhile and the service may be started again: nothing is told
    twice."""
    probe, channel = Probe(), Channel("mail")
    probe.lasting = {"a": "a at 3%"}
    make(home, probe, channel).check()
    probe.lasting = {"a": "a at 2%"}
    make(home, probe, channel).check()
    assert channel.sent == [("a at 3%", False)]
    probe.lasting = {}
    make(home, probe, channel).check()
    make(home, probe, channel).check()
    assert channel.sent == [("a at 3%", False), ("a at 2%", True)]
    probe.lasting = {"a": "a again"}
    make(home, probe, channel).check()
    assert channel.sent[2:] == [("a again", False)]


def test_a_channel_that_refuses_is_told_later_and_the_others_are_not_told_twice(
    home: Home,
) -> None:
    probe, good, bad = Probe(), Channel("good"), Channel("bad")
    bad.broken = True
    probe.lasting = {"a": "a"}
    watch = make(home, probe, good, bad)
    assert watch.check().failed == ["bad: no"]
    bad.broken = False
    watch.check()
    assert good.sent == bad.sent == [("a", False)]


def test_who_never_heard_of_a_beginning_hears_of_no_end(home: Home) -> None:
    probe, bad = Probe(), Channel("bad")
    bad.broken = True
    probe.lasting = {"a": "a"}
    watch = make(home, probe, bad)
    watch.check()
    probe.lasting, bad.broken = {}, False
    watch.check()
    watch.check()
    assert bad.sent == []
    assert read_sealed_json(home.path / "alerts.json") == {}


def test_a_probe_that_fails_ends_nothing(home: Home) -> None:
    """What cannot be looked up is not over; absent is not empty."""
    probe, channel = Probe(), Channel("mail")
    probe.lasting = {"a": "a"}
    watch = make(home, probe, channel)
    watch.check()
    probe.broken = True
    watch.check()
    assert channel.sent == [("a", False)]


def test_a_full_disk_is_told_of_once(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    """Open alerts that cannot be stored are kept in memory."""

    def refuse(*_: object) -> None:
        raise OSError(28, "No space left on device")

    probe = Probe()
    channel = Channel("a")
    watch = make(home, probe, channel)
    probe.lasting = {"disk": "Disk"}
    with monkeypatch.context() as patch:
        patch.setattr(monitoring, "write_sealed_json", refuse)
        watch.check()
        watch.check()
    watch.check()
    assert channel.sent == [("Disk", False)]
    probe.lasting = {}
    make(home, probe, channel).check()
    assert channel.sent == [("Disk", False), ("Disk", True)]


def test_a_channel_that_breaks_in_its_own_way_stops_no_other(home: Home) -> None:
    """Whatever it raises; its text is not repeated, since it may hold an address."""

    class Broken(Channel):
        def send(self, alert: Alert) -> None:
            raise ValueError("https://hooks.example/secret")

    probe = Probe()
    good = Channel("good")
    probe.lasting = {"a": "A"}
    watch = make(home, probe, Broken("broken"), good)
    assert watch.check().failed == ["broken: ValueError"]
    watch.check()
    assert good.sent == [("A", False)]


def test_a_kill_has_no_message_told_twice_but_the_one_under_way(home: Home) -> None:
    class Killed(Channel):
        def send(self, alert: Alert) -> None:
            if len(self.sent) == 2:
                raise KeyboardInterrupt
            super().send(alert)

    probe = Probe()
    probe.lasting = {"a": "A", "b": "B", "c": "C"}
    channel = Killed("x")
    with pytest.raises(KeyboardInterrupt):
        make(home, probe, channel).check()
    after = Channel("x")
    make(home, probe, after).check()
    assert after.sent == [("C", False)]


def test_a_cause_that_comes_back_before_its_end_was_told_goes_on(home: Home) -> None:
    probe = Probe()
    channel = Channel("a")
    watch = make(home, probe, channel)
    probe.lasting = {"a": "A"}
    watch.check()
    channel.broken = True
    probe.lasting = {}
    watch.check()
    channel.broken = False
    probe.lasting = {"a": "A"}
    watch.check()
    assert channel.sent == [("A", False)]
