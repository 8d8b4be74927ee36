"""YAML document as plain data, with the line of every value."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import yaml

# What PyYAML raises for a text that is no value of its tag: `!!int x`, `!!bool x`, `!!timestamp x`.
_UNREADABLE = (
    yaml.YAMLError,
    ValueError,
    KeyError,
    AttributeError,
    TypeError,
    IndexError,
    OverflowError,
)


class YamlMistakeError(ValueError):
    """Part of a document is no data; ``line`` and ``loc`` say which, the message what is wrong."""

    def __init__(self, line: int, loc: Sequence[str | int], reason: str) -> None:
        super().__init__(reason)
        self.line = line
        self.loc = tuple(loc)


class YamlScalar(str):
    """A single value as it is written: a name may be spelt like a number."""

    node: yaml.ScalarNode

    @property
    def value(self) -> Any:
        """The value as YAML reads it. Raises ``ValueError`` for a tag that YAML does not know,
        and for a text that is no value of its tag."""
        try:
            return yaml.constructor.SafeConstructor().construct_object(self.node)
        except _UNREADABLE as error:
            raise ValueError("is not a value that YAML knows") from error


class LocatedYaml:
    """A composed document: ``data`` of dicts, lists and ``YamlScalar``, and where each stands."""

    def __init__(self, root: yaml.Node) -> None:
        self._root = root
        self._converted: dict[int, Any] = {}
        self.data = self._convert(root, ())

    def locate(self, loc: Sequence[str | int], *, key: bool = False) -> tuple[int, list[str]]:
        """The line, from 1, and the keys of a place in ``data``, or of the nearest part around it.

        A name in ``loc`` that the document does not have is passed over. ``key``: the line of the
        last key, not of its value.
        """
        node = self._root
        mark = node.start_mark
        names = []
        for step in loc:
            if isinstance(step, int):
                if isinstance(node, yaml.SequenceNode) and step < len(node.value):
                    node = node.value[step]
                    mark = node.start_mark
                continue
            for name, value in node.value if isinstance(node, yaml.MappingNode) else ():
                if name.value == step:
                    node = value
                    mark = name.start_mark if key else value.start_mark
                    names.append(step)
                    break
        return mark.line + 1, names

    def _convert(self, node: yaml.Node, loc: tuple[str | int, ...]) -> Any:
        """Each node once: what an alias names again is the same object."""
        if id(node) in self._converted:
            return self._converted[id(node)]
        if isinstance(node, yaml.ScalarNode):
            scalar = YamlScalar(node.value)
            scalar.node = node
            self._converted[id(node)] = scalar
        elif isinstance(node, yaml.SequenceNode):
            entries: list[Any] = []
            self._converted[id(node)] = entries
            for place, entry in enumerate(node.value):
                entries.append(self._convert(entry, (*loc, place)))
        else:
            fields: dict[str, Any] = {}
            self._converted[id(node)] = fields
            for key, value in node.value:
                name = key.value if isinstance(key, yaml.ScalarNode) else ""
                line = key.start_mark.line + 1
                if not name:
                    raise YamlMistakeError(line, (*loc, name), "is no name")
                if name in fields:
                    raise YamlMistakeError(line, (*loc, name), "stands there twice")
                fields[name] = self._convert(value, (*loc, name))
        return self._converted[id(node)]


def parse_yaml(text: str) -> LocatedYaml | None:
    """Parse one document; None of an empty one.

    Raises ``YamlMistakeError`` for what is no YAML, a key that stands twice and one that is no
    name.
    """
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
        return None if root is None else LocatedYaml(root)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        reason = getattr(error, "problem", None) or "not YAML"
        raise YamlMistakeError(mark.line + 1 if mark else 0, (), reason) from error
    except RecursionError as error:
        raise YamlMistakeError(0, (), "is nested too deeply") from error
    except YamlMistakeError:
        raise
    except (ValueError, OverflowError) as error:
        # A character code beyond Unicode, a version number of thousands of digits.
        raise YamlMistakeError(0, (), f"not YAML: {error}") from error
