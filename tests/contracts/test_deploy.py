"""Files that run the service elsewhere: their names are those of the code."""

from __future__ import annotations

import re
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest
import yaml

from service.settings import Settings
from service.settings.description import describe_settings
from tools.settings_reference import settings_file

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"


@pytest.mark.parametrize("name", ["Dockerfile", "compose.yaml", "catalens.service"])
def test_what_never_ran_says_so_in_its_first_line(name: str) -> None:
    """Nobody takes a recipe for tried that was not."""
    first = (DEPLOY / name).read_text().splitlines()[0].lower()
    assert first.startswith("# ")
    assert "never run" in first or "never started" in first


def test_variables_of_the_container_are_settings() -> None:
    """A variable that is no setting would end the start."""
    known = {setting.variable for setting in describe_settings(Settings).values()}
    known |= {"CATALENS_CACHE"}
    for name in ("Dockerfile", "compose.yaml", "catalens.service"):
        found = set(re.findall(r"\bCATALENS_[A-Z_]+", (DEPLOY / name).read_text()))
        assert found
        assert found <= known, name


def test_the_settings_file_holds_every_setting_with_its_default() -> None:
    """Each line without its # is the default, so that taking one away changes nothing by itself."""
    text = (DEPLOY / "catalens.toml").read_text()
    assert text == settings_file()
    found = tomllib.loads(re.sub(r"(?m)^# (?=[a-z_]+ = )", "", text))
    assert list(found) == list(Settings.model_fields)
    given = {name: value for name, value in found.items() if value != "PATH"}
    default = Settings()
    assert default.replace(**given) == default.replace(home=Path(given["home"]))


def test_the_container_runs_as_nobody_with_a_read_only_root() -> None:
    """No root, no capabilities, a health check, and time to answer what was begun."""
    service = yaml.safe_load((DEPLOY / "compose.yaml").read_text())["services"]["catalens"]
    assert service["user"] == "10001:10001"
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["ports"] == ["127.0.0.1:8000:8000"]
    assert "/readyz" in service["healthcheck"]["test"][-1]
    drain = Settings.model_fields["drain_s"].default
    assert int(service["stop_grace_period"].rstrip("s")) > drain
    recipe = (DEPLOY / "Dockerfile").read_text()
    assert "USER catalens" in recipe.partition("ENTRYPOINT")[0]
    assert "uid 10001" in recipe
    unit = (DEPLOY / "catalens.service").read_text()
    assert int(re.findall(r"TimeoutStopSec=(\d+)", unit)[0]) > drain


def test_each_alert_has_its_line_in_the_runbook() -> None:
    """Who is woken finds what to do by the alert's name."""
    rules = yaml.safe_load((DEPLOY / "prometheus-alerts.yml").read_text())["groups"][0]["rules"]
    told = re.findall(r"^\| (Catalens\w+) \|", (ROOT / "docs/guides/runbook.md").read_text(), re.M)
    assert told == [rule["alert"] for rule in rules]


def test_what_the_runbook_looks_for_in_the_log_is_logged() -> None:
    """Events and fields that it quotes are the code's."""
    told = (ROOT / "docs/guides/runbook.md").read_text()
    events = set(re.findall(r"`([a-z]+(?: [a-z]+)+)`", told))
    events = {event for event in events if not event.startswith(("catalens ", "systemctl "))}
    fields = set(re.findall(r"\(`(\w+)` in the log\)", told))
    assert events
    assert fields
    code = "".join(path.read_text() for path in (ROOT / "service").rglob("*.py"))
    assert [event for event in sorted(events) if f'"{event}"' not in code] == []
    assert [field for field in sorted(fields) if f"{field}=" not in code] == []


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="no systemd-analyze")
def test_the_unit_is_valid_and_hardened(tmp_path: Path) -> None:
    """``systemd-analyze verify`` finds nothing, ``security`` an exposure of at most 3 of 10."""
    unit = tmp_path / "catalens.service"
    text = (DEPLOY / "catalens.service").read_text()
    unit.write_text(re.sub(r"(?m)^ExecStart=\S+", "ExecStart=/bin/true", text))
    checked = subprocess.run(
        ["systemd-analyze", "verify", unit], capture_output=True, text=True, timeout=60
    )
    assert (checked.returncode, checked.stderr) == (0, "")
    judged = subprocess.run(
        ["systemd-analyze", "security", "--offline=true", "--threshold=30", unit],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert judged.returncode == 0, judged.stdout
