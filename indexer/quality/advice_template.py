"""Advice texts of a finding, in English and Chinese, with the numbers of its evidence."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


class _Number(float):
    """Formats as a whole number unless a format is given."""

    def __format__(self, spec: str) -> str:
        return format(float(self), spec or ".0f")


@dataclass(frozen=True)
class Advice:
    """One sentence in each language.

    ``{name}`` stands for a number of the finding's evidence, ``{name%}`` for the same in per cent.
    """

    en: str
    zh: str

    def fill(self, evidence: Mapping[str, float]) -> dict[str, str]:
        """Return {"en": sentence, "zh": sentence} with the numbers of ``evidence``."""
        values: dict[str, object] = {name: _Number(value) for name, value in evidence.items()}
        values |= {f"{name}%": f"{abs(value):.0%}" for name, value in evidence.items()}
        return {"en": self.en.format_map(values), "zh": self.zh.format_map(values)}
