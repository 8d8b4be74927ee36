"""Policy file of a shop: models, loading, and messages that name file, line and key."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, Self, get_args

from pydantic import (
    AfterValidator,
    BeforeValidator,
    ValidationError,
    ValidationInfo,
    create_model,
    field_validator,
    model_validator,
)
from pydantic_core import ErrorDetails

from indexer.core.errors import BadPolicyError
from indexer.core.regular_files import read_small
from indexer.moderation.alarm_budget import BUDGET, LARGEST
from indexer.moderation.detector import DETECTORS, DetectorConfig
from indexer.moderation.located_yaml import LocatedYaml, YamlMistakeError, YamlScalar, parse_yaml

# Of the file. In version 1 each gallery has a false-alarm budget of its own, since 2 all share one.
FORMATS = (1, 2)
Action = Literal["review", "block"]
_NO_KEYS = "must be keys with values"
_NO_LIST = "must be a list with at least one entry"
_NO_TEXT = "must be a text"
# pydantic's kinds of errors in the words of the file
_REASONS = {
    "model_type": _NO_KEYS,
    "dict_type": _NO_KEYS,
    "tuple_type": _NO_LIST,
    "frozen_set_type": _NO_LIST,
    "too_short": _NO_LIST,
    "string_type": _NO_TEXT,
}


@dataclass(frozen=True)
class Policy:
    """One policy: the strictest answer it may give, and the sections of its detectors by name."""

    name: str
    action: Action
    rules: Mapping[str, DetectorConfig]

    @property
    def detectors(self) -> tuple[str, ...]:
        """Names of the detectors it uses, in the order of the registry."""
        return tuple(self.rules)


@dataclass(frozen=True)
class PolicySet:
    """All policies of a file.

    ``policy_version``: SHA-256 (hex) of the file's bytes and of every gallery photo's.
    ``false_alarms``: the share of ordinary photos that all galleries together may ask about; None:
    each has its own budget.
    """

    path: Path
    policy_version: str
    policies: tuple[Policy, ...]
    false_alarms: float | None = None


def load_policies(path: Path | str) -> PolicySet:
    """Read and check a policy file with its galleries.

    Raises ``BadPolicyError`` naming the file, the line and the key.
    """
    path = Path(path)
    data, document = _read(path)
    model, _ = _file_model()
    try:
        loaded = model.model_validate(document.data, context={"folder": path.parent})
    except ValidationError as error:
        raise BadPolicyError(_explain(path, document, error)) from error
    policies = tuple(
        Policy(name, section.action, section.rules()) for name, section in loaded.policies.items()
    )
    digest = hashlib.sha256(data)
    for policy in policies:
        for rule in policy.rules.values():
            for name, content_hash in rule.files():
                digest.update(f"\n{policy.name}\0{name}\0{content_hash}".encode())
    return PolicySet(path, digest.hexdigest(), policies, loaded.budget)


def _read(path: Path) -> tuple[bytes, LocatedYaml]:
    """The file's bytes and its data."""
    try:
        data = read_small(path)
        document = parse_yaml(data.decode("utf-8"))
    except OSError as error:
        raise BadPolicyError(
            f"policy file {path} cannot be read: {error.strerror or error}"
        ) from error
    except UnicodeDecodeError as error:
        raise BadPolicyError(f"policy file {path} is not UTF-8 text") from error
    except YamlMistakeError as error:
        raise BadPolicyError(_message(path, error.line, error.loc, str(error))) from error
    if document is None:
        raise BadPolicyError(f"policy file {path} is empty")
    return data, document


def _scalar(value: Any) -> Any:
    """A single value as YAML reads it."""
    if isinstance(value, list | dict):
        raise ValueError("must be a single value")
    return value.value if isinstance(value, YamlScalar) else value


def _check_version(value: Any) -> int:
    version = _scalar(value)
    # Neither true nor 1.0, which equal 1.
    if type(version) is not int or version not in FORMATS:
        raise ValueError(f"must be {' or '.join(map(str, FORMATS))}")
    return version


def _check_budget(value: Any) -> float:
    given = _scalar(value)
    number = not isinstance(given, bool) and isinstance(given, int | float)
    if not number or not 0 < given <= LARGEST:
        raise ValueError(f"must be a share above 0 and at most {LARGEST:g}, not {str(given)!r}")
    return float(given)


def _check_action(value: Any) -> str:
    if not isinstance(value, str) or not value.strip():
        raise ValueError(_NO_TEXT)
    if value not in get_args(Action):
        raise ValueError(f"must be review or block, not {str(value)!r}")
    return str(value)


class _Section(DetectorConfig):
    """A policy's section; ``_file_model`` adds a field for each detector."""

    action: Annotated[Action, BeforeValidator(_check_action)] = "block"

    @model_validator(mode="after")
    def _require_detector(self) -> Self:
        if not self.rules():
            raise ValueError(f"has no detector (there are: {', '.join(DETECTORS.names())})")
        return self

    def rules(self) -> dict[str, DetectorConfig]:
        """The sections of the detectors that it uses, by name."""
        given = {name: getattr(self, name) for name in DETECTORS.names()}
        return {name: rule for name, rule in given.items() if rule is not None}


def _require_policy(policies: dict[str, _Section]) -> dict[str, _Section]:
    if not policies:
        raise ValueError("names no policy")
    return policies


class _File(DetectorConfig):
    """The whole file; ``_file_model`` narrows the sections."""

    version: Annotated[int, BeforeValidator(_check_version)]
    false_alarms: Annotated[float | None, BeforeValidator(_check_budget)] = None
    policies: Annotated[dict[str, _Section], AfterValidator(_require_policy)]

    @field_validator("false_alarms")
    @classmethod
    def _require_second(cls, given: float | None, info: ValidationInfo) -> float | None:
        if info.data.get("version") == 1:
            raise ValueError(
                "needs version: 2 (in version 1 each gallery has a false-alarm budget of its own)"
            )
        return given

    @model_validator(mode="after")
    def _require_shared_budget(self) -> Self:
        for name, section in self.policies.items():
            if self.version == 1 and "prompts" in section.rules():
                raise ValueError(
                    f"policies.{name}.prompts needs version: 2 (prompts share the file's one "
                    "false-alarm budget)"
                )
        return self

    @property
    def budget(self) -> float | None:
        """The share of ordinary photos that all galleries may ask about; None: each its own."""
        return None if self.version == 1 else self.false_alarms or BUDGET


def _file_model() -> tuple[type[_File], type[_Section]]:
    """The models of the file and of a policy, with all detectors registered by now."""
    sections: dict[str, Any] = {
        detector.name: (detector.config | None, None) for detector in DETECTORS
    }
    section = create_model("_DetectorSection", __base__=_Section, **sections)
    policies = Annotated[dict[str, section], AfterValidator(_require_policy)]  # type: ignore[valid-type]
    return create_model("_PolicyFile", __base__=_File, policies=(policies, ...)), section


def _explain(path: Path, document: LocatedYaml, error: ValidationError) -> str:
    """The first mistake in the file, in one line."""
    found = error.errors(include_url=False, include_input=False)
    # A misspelt key is both unknown and missing: the first says more.
    unknown = {mistake["loc"][:-1] for mistake in found if mistake["type"] == "extra_forbidden"}
    mistakes = [
        _locate(document, mistake)
        for mistake in found
        if mistake["type"] != "missing" or mistake["loc"][:-1] not in unknown
    ]
    line, names, reason = min(mistakes, key=lambda mistake: mistake[0])
    return _message(path, line, names, reason)


def _locate(document: LocatedYaml, mistake: ErrorDetails) -> tuple[int, list[str], str]:
    """The line of a mistake, its keys, and what is wrong."""
    kind, loc = mistake["type"], mistake["loc"]
    line, names = document.locate(loc, key=kind == "extra_forbidden")
    if kind == "extra_forbidden":
        return line, names, f"unknown key (known: {', '.join(_known_keys(loc))})"
    if kind == "missing":
        return line, names, f"needs {loc[-1]}{_known_keys(loc).get(str(loc[-1]), '')}"
    if "error" in mistake.get("ctx", {}):
        return line, names, str(mistake["ctx"]["error"])
    return line, names, _REASONS.get(kind, mistake["msg"])


def _known_keys(loc: Sequence[str | int]) -> dict[str, str]:
    """The keys that may stand where ``loc`` ends, each with what it takes if its model says so."""
    file, section = _file_model()
    if len(loc) == 1:
        model: type[DetectorConfig] = file
    elif len(loc) == 3:
        model = section
    elif len(loc) == 4:
        model = DETECTORS[str(loc[2])].config
    else:
        # A section within a detector's section.
        return {}
    return {
        str(field.validation_alias or name): f": {field.description}" if field.description else ""
        for name, field in model.model_fields.items()
    }


def _message(path: Path, line: int, names: Sequence[str | int], reason: str) -> str:
    place = f", line {line}" if line else ""
    key = ".".join(name for name in names if isinstance(name, str) and name)
    return f"policy file {path}{place}: {key}{' ' if key else ''}{reason}"
