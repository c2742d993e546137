"""Floors for results, as tests in scripts want them: ``f1@0.5=0.6``, ``recall.invisible@1.0=0.3``, ``dice=0.7``."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Any

CURVES = ("precision", "recall", "f1")
_FORM = re.compile(r"^(?P<name>[a-z0-9]+)(?:\.(?P<region>[a-z]+))?(?:@(?P<at>\d*\.?\d+))?=(?P<floor>\d*\.?\d+)$")


@dataclass(frozen=True)
class Floor:
    """A result that must reach a value.

    Attributes:
        name: ``precision``, ``recall``, ``f1`` or ``dice``.
        floor: the least value that passes.
        region: ``all``, ``visible`` or ``invisible``; of curves only.
        threshold: index of the threshold (0.1 mm apart), of curves only.
    """

    name: str
    floor: float
    region: str = "all"
    threshold: int = 0

    @staticmethod
    def parse(text: str) -> Floor:
        """Read ``NAME[.REGION]@MM=VALUE`` or ``dice=VALUE``; ValueError says what is expected."""
        match = _FORM.match(text.strip().lower())
        if match is None:
            raise ValueError("of the form f1@0.5=0.6, recall.invisible@1.0=0.3 or dice=0.7")
        name, region, at, floor = match["name"], match["region"] or "all", match["at"], float(match["floor"])
        if name == "dice" and at is None and match["region"] is None:
            return Floor(name, floor)
        if name not in CURVES or region not in ("all", "visible", "invisible"):
            raise ValueError("one of precision, recall, f1 (with .visible or .invisible) or dice")
        if at is None or not math.isclose(float(at) * 10, round(float(at) * 10)) or float(at) > 2:
            raise ValueError("at a threshold of 0.0, 0.1 … 2.0 mm, as in f1@0.5=0.6")
        return Floor(name, floor, region, round(float(at) * 10))

    def __str__(self) -> str:
        return f"{self.what}={self.floor:g}"

    @property
    def what(self) -> str:
        """The result meant, such as ``f1.visible@0.5``."""
        if self.name not in CURVES:
            return self.name
        region = "" if self.region == "all" else f".{self.region}"
        return f"{self.name}{region}@{self.threshold / 10}"

    def value_in(self, result: Any) -> float:
        """The value that an evaluation has for it, NaN when it has none."""
        value = getattr(result, self.name)
        return float(value if self.name not in CURVES else value[self.region][self.threshold])

    def is_missed_by(self, result: Any) -> bool:
        """Whether the result is lower, or is none at all."""
        return not self.value_in(result) >= self.floor
