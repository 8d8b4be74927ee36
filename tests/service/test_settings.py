"""Settings: one table for file, environment and options; whoever gave a wrong one is named."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner

from indexer.core.errors import BadSettingsError
from indexer.core.sqlite_library import ALLOW_OLD
from service.settings import Settings, load_settings
from service.settings.description import Setting, describe_settings
from service.settings.sources import OTHER_PREFIXES, OTHER_VARIABLES
from tests.conftest import foreign_variables
from tools.commands.serve import serve
from tools.settings_reference import HEADER, settings_table

ROOT = Path(__file__).parents[2]
TABLE = describe_settings(Settings)
KEY = "a-key-of-this-shop-1"


def refusal(
    options: Mapping[str, Any] | None = None,
    *,
    config: Path | None = None,
    environ: Mapping[str, str] | None = None,
) -> str:
    """The message with which these settings are refused."""
    with pytest.raises(BadSettingsError) as caught:
        load_settings(options or {}, config=config, environ=environ or {})
    return str(caught.value)


def write(folder: Path, text: str) -> Path:
    file = folder / "serve.toml"
    file.write_text(text)
    return file


def another_value(setting: Setting, folder: Path) -> Any:
    """A value that the setting takes and that is not its default, as a file holds it."""
    if setting.name == "api_key_file":
        (folder / "keys").write_text(f"{KEY}\n")
        return "keys"
    special: dict[str, Any] = {
        "api_keys": [KEY],
        "host": "127.0.0.2",
        "text_encoder": "package.module:function",
        "allow_old_sqlite": True,
        "allow_urls": True,
        "fetch_private": ["photos.local:8080"],
        "import_root": ".",
        "public_url": "https://shop.example/visual",
        "decoded_slashes": True,
        "trusted_proxies": ["10.0.0.0/8", "127.0.0.1"],
        "user_header": "X-Forwarded-Email",
        "allowed_origins": ["https://shop.example", "http://localhost:3000"],
        "quality_floors": {"blurred": {"fail": 0.9}},
        "out_of_stock": [{"field": "sold_out", "eq": True}],
        "alerts": {"webhooks": [{"url": "https://chat.example/hook"}], "disk_free": 0.2},
    }
    if setting.name in special:
        return special[setting.name]
    if setting.kind in ("whole number", "number"):
        assert setting.high is not None
        return min(setting.high, setting.default + 1)
    if setting.kind == "choice":
        return setting.choices[-1]
    return ["one.example"] if setting.kind == "texts" else "elsewhere"


def as_toml(value: Any) -> str:
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{name} = {as_toml(one)}" for name, one in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(as_toml(one) for one in value) + "]"
    return json.dumps(value)


def as_text(setting: Setting, value: Any) -> str:
    if setting.kind in ("object", "objects"):
        return json.dumps(value)
    return ",".join(value) if setting.kind == "texts" else str(value)


@pytest.mark.parametrize("name", TABLE)
def test_every_setting_can_be_given_everywhere(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """File, variable and option of a setting all lead to the same value."""
    setting, value = TABLE[name], another_value(TABLE[name], tmp_path)
    monkeypatch.chdir(tmp_path)
    file = write(tmp_path, f"{name} = {as_toml(value)}\n")
    from_file = load_settings({}, config=file, environ={})
    text = as_text(setting, value)
    from_variable = load_settings({}, environ={setting.variable: text})
    assert from_variable != Settings()
    found = getattr(from_variable, name)
    assert getattr(from_file, name) == (
        tmp_path / found if name in ("home", "policy_file", "api_key_file") else found
    )
    if setting.option is not None:
        given = [text]
        if setting.kind in ("objects", "texts"):
            given = [one if isinstance(one, str) else json.dumps(one) for one in value]
        arguments = [part for one in given for part in (setting.option, one)]
        assert getattr(from_options(*arguments), name) == found


def from_options(*arguments: str) -> Settings:
    """The settings that ``catalens serve`` would serve with."""
    context = serve.make_context("serve", list(arguments))
    given = {name: value for name, value in context.params.items() if value is not None}
    config = given.pop("config", None)
    return load_settings(given, config=config, environ={})


def test_options_go_before_the_environment_and_that_before_the_file(tmp_path: Path) -> None:
    """Option > environment > file > default, setting by setting."""
    file = write(tmp_path, "port = 1\nthreads = 11\nworking = 21\n")
    environ = {"CATALENS_PORT": "2", "CATALENS_SERVER_THREADS": "12"}
    made = load_settings({"port": 3}, config=file, environ=environ)
    assert (made.port, made.threads, made.working, made.max_batch) == (3, 12, 21, 8)


@pytest.mark.parametrize(
    ("text", "line", "said"),
    [
        ("# mine\nport = 80\n\nprot = 1\n", 4, "unknown setting 'prot' (did you mean port?)"),
        ("\nport = 70_000\n", 2, "port must be a whole number from 0 to 65535, not 70000"),
        ("poll_s = 0\n", 1, "poll_s must be a number from 0.01 to 60 seconds, not 0"),
        ("port = 1\nthreads = 2\nport = 3\n", 3, "setting 'port' is given twice"),
        ("[quality_floors]\n[quality_floors]\n", 2, "setting 'quality_floors' is given twice"),
        ("port = 1\nthreads 2\n", 2, "not TOML"),
        ('device = "tpu"\n', 1, "device must be auto, cpu or cuda, not 'tpu'"),
        ('text_encoder = """\nport = 1\n:"""\nport = "1"\n', 4, "port must be"),
        ('allowed_hosts = [\n "a",\n "",\n]\n', 1, "allowed_hosts must be a list of"),
        ("port = 1\n\n[quality_floors.blurred]\nfail = 1\nfial = 2\n", 3, "unknown key 'fial'"),
        ('port = 1\nhost = "0.0.0.0"\n', 2, "host '0.0.0.0' is reachable from other machines"),
        ('port = 1\nimport_root = "nowhere"\n', 2, "import_root must be an existing folder"),
        ('\napi_key_file = "nowhere"\n', 2, "cannot be read"),
        ('port = 1\nhost = ""\n', 2, "host '' is reachable from other machines"),
        ("port = 1\r\nprot = 2\r\n", 2, "unknown setting 'prot'"),
        ("# a\u2028b\u0085c\nprot = 1\n", 2, "unknown setting 'prot'"),
        ("# a\u2028b\u0085c\nport = 1\nport = 2\n", 3, "setting 'port' is given twice"),
        ("# a\u2028b\u0085c\nport = [\n", 2, "not TOML"),
        ("port = 1\n# a\rb\n", 2, "not TOML"),
        ("\ufeff\nprot = 1\n", 2, "unknown setting 'prot'"),
        ("# mine\n" * 1900 + "prot = 1\n", 1901, "unknown setting 'prot'"),
        ("quality_floors = {}\n[[out_of_stock]]\n[[out_of_stock]]\nx = 1\n", 2, "out_of_stock"),
        ('port = 1\nhome = ""\n', 2, "home must be a path, not empty"),
    ]
    + [
        (f'port = 1\n{name} = "a\\u0000b"\n', 2, f"{name} must be a path without NUL")
        for name in ("home", "policy_file", "import_root", "api_key_file")
    ],
)
def test_a_wrong_setting_of_a_file_is_named_with_its_line(
    tmp_path: Path, text: str, line: int, said: str
) -> None:
    """Unknown, twice given, out of range, no TOML at all: file, line and setting are named."""
    file = tmp_path / "serve.toml"
    file.write_bytes(text.encode())
    message = refusal(config=file)
    assert message.startswith(f"{file}:{line}: ")
    assert said in message


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"port = " + b"9" * 5000, ": a value cannot be read: "),
        (b"home = " + b"[" * 3000 + b"]" * 3000, ": a value is nested too deeply"),
        (b"port = 1\n\nhost = '\xff'\n", ":3: settings file cannot be read: "),
        (b"# mine\n" * 4000 + b"prot = 1\n", ": unknown setting 'prot'"),
        (b"allowed_hosts = [\n" + b"'a',\n" * 1900 + b"'']\n", ": allowed_hosts must be"),
    ],
    ids=["digits", "brackets", "no UTF-8", "long", "long statement"],
)
def test_a_file_that_cannot_be_read_is_named(tmp_path: Path, data: bytes, said: str) -> None:
    """What Python cannot convert, and a file too long to look for the line, is no failure."""
    file = tmp_path / "serve.toml"
    file.write_bytes(data)
    assert refusal(config=file).startswith(f"{file}{said}")


@pytest.mark.parametrize(
    ("condition", "said"),
    [
        ({"eq": 1}, "conditions on fields"),
        ({"field": " ", "eq": 1}, "conditions on fields"),
        ({"field": "a"}, "a takes one of eq, in, exists, or a range of gt or gte and lt or lte"),
        ({"field": "a", "equals": 1}, "not equals"),
        ({"field": "a", "eq": 1, "in": [1]}, "not eq, in"),
        ({"field": "a", "eq": 1, "lt": 2}, "not eq, lt"),
        ({"field": "a", "gt": 1, "gte": 2}, "not gt, gte"),
        ({"field": "a", "exists": 1}, "a exists must be true or false"),
        ({"field": "a", "in": "b"}, "a in must be a list"),
        ({"field": "a", "in": ["b", {}]}, "a in must be texts, finite numbers"),
        ({"field": "a", "eq": [1]}, "a eq must be texts, finite numbers"),
        ({"field": "a", "eq": None}, "a eq must be texts, finite numbers"),
        ({"field": "a", "lte": float("inf")}, "a lte must be texts, finite numbers"),
        ({"field": "a", "gt": 10**400}, "a gt must be texts, finite numbers"),
        ({"field": "a", "eq": float("nan")}, "a eq must be texts, finite numbers"),
    ],
)
def test_a_condition_of_another_shape_is_refused(condition: Any, said: str) -> None:
    """``out_of_stock`` takes conditions as filters do, whichever attributes the catalog has."""
    message = refusal({"out_of_stock": [condition]})
    assert message.startswith("--out-of-stock: out_of_stock must be ")
    assert said in message


def test_conditions_of_every_operator_are_taken() -> None:
    """One of eq, in and exists, or a range with one or both bounds."""
    conditions: list[Any] = [
        {"field": "a", "eq": "b"},
        {"field": "a", "in": [1, 2.5, True, "b"]},
        {"field": "a", "exists": False},
        {"field": "a", "gt": 1},
        {"field": "a", "gte": 1, "lt": 2},
        {"field": "category", "eq": ["Shapes", "ring"]},
    ]
    assert Settings(out_of_stock=tuple(conditions)).out_of_stock == tuple(conditions)


def test_a_byte_order_mark_is_passed_over(tmp_path: Path) -> None:
    """As editors of Windows write it."""
    file = tmp_path / "serve.toml"
    file.write_bytes(b"\xef\xbb\xbfport = 7\n")
    assert load_settings({}, config=file, environ={}).port == 7


@pytest.mark.parametrize("name", ["port", "host", "device", "text_encoder", "home", "x" * 10**5])
def test_a_long_value_is_not_repeated_in_full(name: str) -> None:
    """A message repeats 80 characters of a wrong value or name."""
    value = [1] * 10**5 if name in ("host", "home") else "y" * 10**5
    with pytest.raises(BadSettingsError) as caught:
        Settings.model_validate({name: value})
    assert len(str(caught.value)) < 1500


@pytest.mark.parametrize(
    ("environ", "said"),
    [
        ({"CATALENS_PROT": "1"}, "CATALENS_PROT: unknown setting (did you mean CATALENS_PORT?)"),
        ({"CATALENS_PORT": "70000"}, "CATALENS_PORT: port must be a whole number from 0"),
        ({"CATALENS_PORT": "many"}, "CATALENS_PORT: port must be a whole number from 0"),
        ({"CATALENS_OUT_OF_STOCK": "stock"}, "CATALENS_OUT_OF_STOCK: out_of_stock must be"),
        ({"CATALENS_API_KEYS": "short"}, "CATALENS_API_KEYS: api_keys must hold keys of at least"),
    ],
)
def test_a_wrong_variable_is_named(environ: Mapping[str, str], said: str) -> None:
    """An unknown or bad variable is refused under its name."""
    assert said in refusal(environ=environ)


def test_a_wrong_option_is_named() -> None:
    """A value that only the model can judge is refused under its option; twice given is usage."""
    assert refusal({"import_root": Path("nowhere")}).startswith("--import-root: import_root must")
    done = CliRunner().invoke(serve, ["--port", "1", "--port", "2"])
    assert done.exit_code == 2
    assert "--port': given 2 times" in done.output


def test_no_message_holds_a_key(tmp_path: Path) -> None:
    """A key that is refused is not repeated, wherever it came from."""
    secret = "a key with spaces in it"
    for values in ({"api_keys": [secret]}, {"api_keys": secret}, {"api_keys": [secret, 3]}):
        assert secret not in refusal(values)


def test_other_variables_are_no_settings() -> None:
    """What else Catalens reads is left alone, and an empty variable is not given."""
    others = dict.fromkeys([*OTHER_VARIABLES, *(f"{one}X" for one in OTHER_PREFIXES)], "1")
    assert load_settings({}, environ={**others, "CATALENS_PORT": "", "HOME": "x"}) == Settings()


@pytest.mark.parametrize("service", ["CATALENS", "CATALENS_WEB"])
def test_service_links_of_kubernetes_are_no_settings(service: str) -> None:
    """A Service called catalens, or catalens-web, does not stop the pods of its namespace."""
    address = "tcp://10.0.0.1:8000"
    links = {
        f"{service}_SERVICE_HOST": "10.0.0.1",
        f"{service}_SERVICE_PORT": "8000",
        f"{service}_SERVICE_PORT_HTTP": "8000",
        f"{service}_PORT": address,
        f"{service}_PORT_8000_TCP": address,
        f"{service}_PORT_8000_TCP_PROTO": "tcp",
        f"{service}_PORT_8000_TCP_PORT": "8000",
        f"{service}_PORT_8000_TCP_ADDR": "10.0.0.1",
        f"{service}_PORT_53_UDP": "udp://10.0.0.1:53",
    }
    assert load_settings({}, environ=links) == Settings()
    made = load_settings({}, environ={**links, "CATALENS_PORT": "8080"})
    assert made.port == 8080
    for wrong in ({"CATALENS_PORT": "http://shop"}, {"CATALENS_PORTS": address}):
        assert next(iter(wrong)) in refusal(environ=wrong)


def test_settings_of_a_developer_reach_no_test() -> None:
    """``tests/conftest.py`` takes away every variable but sizes and places of the tests; it sets
    one where this Python's SQLite is old."""
    kept = OTHER_VARIABLES - {"CATALENS_DEBUG"} | {f"{one}X" for one in OTHER_PREFIXES}
    taken = {setting.variable for setting in TABLE.values()} | {"CATALENS_DEBUG", "CATALENS_PROT"}
    assert set(foreign_variables([*kept, *taken, "HOME"])) == taken
    assert set(foreign_variables(os.environ)) <= {ALLOW_OLD}


def test_every_variable_in_the_code_is_known() -> None:
    """Whatever ``CATALENS_`` name code, Makefile or docs hold is a setting's, or is listed."""
    files = [ROOT / "Makefile", *(ROOT / "docs").rglob("*.md"), ROOT / "README.md"]
    for package in ("indexer", "service", "tools"):
        files += (ROOT / package).rglob("*.py")
    known = {setting.variable for setting in TABLE.values()} | OTHER_VARIABLES
    found = {
        name
        for file in files
        for name in re.findall(r"\bCATALENS_[A-Z_]*[A-Z]\b", file.read_text(encoding="utf-8"))
    }
    assert {name for name in found - known if not name.startswith(OTHER_PREFIXES)} == {
        prefix.rstrip("_") for prefix in OTHER_PREFIXES if prefix.rstrip("_") in found
    }


def test_paths_of_a_file_are_relative_to_its_folder(tmp_path: Path) -> None:
    """A file means the same wherever the service is started."""
    file = write(tmp_path, 'home = "shop"\npolicy_file = "/etc/policy.yaml"\n')
    made = load_settings({}, config=file, environ={})
    assert (made.home, made.policy_file) == (tmp_path / "shop", Path("/etc/policy.yaml"))


def test_keys_of_a_file_come_beside_the_others(tmp_path: Path) -> None:
    """``api_key_file`` stands beside ``api_keys``: the file is followed while the service runs."""
    (tmp_path / "keys").write_text(f"{KEY}\nanother-key-of-this-shop\n")
    file = write(tmp_path, f'api_key_file = "keys"\napi_keys = ["{KEY}"]\n')
    made = load_settings({}, config=file, environ={})
    assert (made.api_keys, made.has_keys) == ((KEY,), True)


def test_settings_cannot_be_changed_but_replaced() -> None:
    """Frozen; ``replace`` makes others and checks them anew."""
    made = Settings()
    with pytest.raises(ValueError, match="frozen"):
        made.port = 1  # type: ignore[misc]
    assert (made.replace(port=1).port, made.port) == (1, 8000)
    with pytest.raises(BadSettingsError, match="port"):
        made.replace(port=-1)
    with pytest.raises(BadSettingsError, match="prot"):
        made.replace(prot=1)


def test_the_reference_page_holds_the_table() -> None:
    """docs/reference/settings.md is what ``python -m tools.settings_reference`` prints."""
    page = (ROOT / "docs" / "reference" / "settings.md").read_text(encoding="utf-8")
    start = page.index(HEADER)
    assert page[start : start + len(settings_table())] == settings_table()
    assert page.count(HEADER) == 1


def test_help_names_every_option() -> None:
    """``catalens serve --help`` lists an option for each setting but the keys themselves."""
    shown = serve.get_help(click.Context(serve))
    without = {name for name, setting in TABLE.items() if setting.option is None}
    assert without == {"api_keys", "alerts"}
    for setting in TABLE.values():
        assert setting.option is None or f"\n  {setting.option} " in shown


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[alerts.smtp]\nhost = 'h'\nsender = 'a@b.c'\n", "3: alerts.smtp.to is missing"),
        ("[alerts]\ndisc_free = 0.1\n", "2: alerts.disc_free is unknown"),
        (
            "[[alerts.webhooks]]\nurl = 'ftp://x/'\n",
            "2: alerts.webhooks.0.url must be an http or https address",
        ),
        (
            "[alerts.smtp]\nhost = 'h'\nsender = 'a'\nto = ['a@b.c']\n",
            "3: alerts.smtp.sender must be a mail address like shop@example.com",
        ),
    ],
)
def test_what_is_wrong_in_a_table_of_alerts_is_named(text: str, said: str, tmp_path: Path) -> None:
    """File, line, and the name from the top; a value, which may be a key, is not repeated."""
    with pytest.raises(BadSettingsError) as caught:
        load_settings({}, config=write(tmp_path, text), environ={})
    where, _, reason = said.partition(": ")
    assert f"{reason}" in str(caught.value)
    assert f"serve.toml:{where}" in str(caught.value) or "is missing" in reason


def test_a_password_file_of_alerts_lies_beside_the_settings(tmp_path: Path) -> None:
    """Its path is relative to the settings file, as all paths in it are."""
    text = "[alerts.smtp]\nhost = 'h'\nsender = 'a@b.c'\nto = ['a@b.c']\npassword_file = 'pw'\n"
    made = load_settings({}, config=write(tmp_path, text), environ={})
    assert made.alerts.smtp is not None
    assert made.alerts.smtp.password_file == tmp_path / "pw"
