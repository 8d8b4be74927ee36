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
UNITS = ("catalens.service", "catalens-backup.service", "catalens-backup.timer")


@pytest.mark.parametrize("name", ["Dockerfile", "compose.yaml", *UNITS])
def test_what_never_ran_says_so_in_its_first_line(name: str) -> None:
    """Nobody takes a recipe for tried that was not."""
    first = (DEPLOY / name).read_text().splitlines()[0].lower()
    assert first.startswith("# ")
    assert "never run" in first or "never started" in first


def test_variables_of_the_container_are_settings() -> None:
    """A variable that is no setting would end the start."""
    known = {setting.variable for setting in describe_settings(Settings).values()}
    known |= {"CATALENS_CACHE"}
    for name in ("Dockerfile", "compose.yaml", *UNITS[:2]):
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
    drain = Settings.model_fields["drain_s"].default
    assert int(service["stop_grace_period"].rstrip("s")) > drain
    recipe = (DEPLOY / "Dockerfile").read_text()
    # Whatever restarts the unhealthy must not end a service that only is not ready.
    for asked in (service["healthcheck"]["test"][-1], recipe.partition("HEALTHCHECK")[2]):
        assert "/livez" in asked
        assert "/readyz" not in asked
    assert "USER catalens" in recipe.partition("ENTRYPOINT")[0]
    assert "uid 10001" in recipe
    unit = (DEPLOY / "catalens.service").read_text()
    assert int(re.findall(r"TimeoutStopSec=(\d+)", unit)[0]) > drain


def test_the_image_takes_the_torch_that_the_package_asks_for() -> None:
    """Another one would be replaced by PyPI's, with its seven gigabytes for the GPU."""
    recipe = (DEPLOY / "Dockerfile").read_text()
    wanted = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    bounds = [name for name in wanted if re.match(r"torch(vision)?[<>=]", name)]
    assert len(bounds) == 2
    assert [bound for bound in bounds if f"'{bound}'" not in recipe] == []


def test_an_image_is_built_from_the_code_alone() -> None:
    """Homes, backups, feeds and the checkout's environment stay out of the builder's hands; all
    that is copied is let in."""
    lines = (ROOT / ".dockerignore").read_text().splitlines()
    assert lines[1] == "*"
    taken = [line[1:] for line in lines if line.startswith("!")]
    recipe = (DEPLOY / "Dockerfile").read_text()
    copied = re.findall(r"^COPY (?!--from)(.+) \S+$", recipe, re.M)
    assert sorted(taken) == sorted(" ".join(copied).split())


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


def test_a_home_that_cannot_be_served_ends_the_tries() -> None:
    """So often within that time as a start every few seconds comes to."""
    unit = (DEPLOY / "catalens.service").read_text()
    numbers = {
        name: int(re.findall(rf"(?m)^{name}=(\d+)", unit)[0])
        for name in ("StartLimitIntervalSec", "StartLimitBurst", "RestartSec")
    }
    # The interval is in minutes. A start that fails may take half a minute.
    slowest = numbers["StartLimitBurst"] * (numbers["RestartSec"] + 30)
    assert slowest <= numbers["StartLimitIntervalSec"] * 60


def test_the_nightly_backup_is_the_one_of_the_guide() -> None:
    """The same command as by hand, into the same folder, of the same home."""
    told = (ROOT / "docs/guides/deploy.md").read_text()
    unit = (DEPLOY / "catalens-backup.service").read_text()
    (command,) = re.findall(r"(?m)^ExecStart=\S+/catalens (.+)$", unit)
    assert f"as_catalens {command}\n" in told
    assert "CATALENS_HOME=/var/lib/catalens CATALENS_CACHE=/var/cache/catalens" in unit
    for name in UNITS[1:]:
        assert name in told


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="no systemd-analyze")
@pytest.mark.parametrize("name", UNITS[:2])
def test_the_unit_is_valid_and_hardened(name: str, tmp_path: Path) -> None:
    """``systemd-analyze verify`` finds nothing, ``security`` an exposure of at most 3 of 10."""
    for other in UNITS:
        text = (DEPLOY / other).read_text()
        text = re.sub(r"(?m)^ExecStart=\S+", "ExecStart=/bin/true", text)
        (tmp_path / other).write_text(text)
    unit = tmp_path / name
    timers = [tmp_path / other for other in UNITS if other == f"{unit.stem}.timer"]
    checked = subprocess.run(
        ["systemd-analyze", "verify", unit, *timers], capture_output=True, text=True, timeout=60
    )
    assert (checked.returncode, checked.stderr) == (0, "")
    judged = subprocess.run(
        ["systemd-analyze", "security", "--offline=true", "--threshold=30", unit],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert judged.returncode == 0, judged.stdout
