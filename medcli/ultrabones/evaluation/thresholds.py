"""Thresholds for results, as tests in scripts want them: ``f1@0.5=0.6``, ``recall.invisible@1.0=0.3``, ``assd_mm=1.5``.

Of a measure for which higher is better (shares, Dice) the value is the lowest that passes; of one for which lower is
better (distances) it is the highest.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from medcli.ultrabones.evaluation.aggregation import SegmentationResult
    from medcli.ultrabones.evaluation.metrics import Measure

_FORM = re.compile(r"^(?P<key>[a-z0-9_]+)(?:\.(?P<region>[a-z]+))?(?:@(?P<at>\d*\.?\d+))?=(?P<limit>\d*\.?\d+)$")


@dataclass(frozen=True)
class PassThreshold:
    """A value that a result must reach, or must not exceed where lower is better.

    Attributes:
        measure: one of :data:`medcli.ultrabones.evaluation.metrics.MEASURES`.
        limit: the last value that passes.
        region: ``all``, ``visible`` or ``invisible``; of curves only.
        at: place among the thresholds (0.1 mm apart); of curves only.
    """

    measure: Measure
    limit: float
    region: str = "all"
    at: int = 0

    @staticmethod
    def parse(text: str) -> PassThreshold:
        """Read ``CURVE[.REGION]@MM=VALUE`` or ``SCALAR=VALUE``; ValueError says what is expected."""
        from medcli.ultrabones.evaluation.metrics import MEASURES, REGIONS, THRESHOLDS_MM

        match = _FORM.match(text.strip().lower())
        if match is None:
            raise ValueError("of the form f1@0.5=0.6, recall.invisible@1.0=0.3, dice=0.7 or assd_mm=1.5")
        measure = next((one for one in MEASURES if one.key == match["key"]), None)
        if measure is None:
            raise ValueError(f"a threshold of one of {', '.join(one.key for one in MEASURES)}")
        region, at, limit = match["region"], match["at"], float(match["limit"])
        if measure.kind == "scalar":
            if region or at:
                raise ValueError(f"of the form {measure.key}=VALUE: {measure.key} is one number")
            return PassThreshold(measure, limit)
        if region not in (None, *REGIONS):
            raise ValueError(f"of one of the regions {', '.join(REGIONS)}")
        place = round(float(at) * 10) if at else -1
        if not (0 <= place < len(THRESHOLDS_MM) and math.isclose(float(at) * 10, place)):
            raise ValueError(f"at a distance of 0.0, 0.1 … 2.0 mm, as in {measure.key}@0.5=0.6")
        return PassThreshold(measure, limit, region or "all", place)

    def __str__(self) -> str:
        return f"{self.what}={self.limit:g}"

    @property
    def what(self) -> str:
        """The value meant, such as ``f1.visible@0.5``."""
        if self.measure.kind == "scalar":
            return self.measure.key
        region = "" if self.region == "all" else f".{self.region}"
        return f"{self.measure.key}{region}@{self.at / 10}"

    def value_in(self, result: SegmentationResult) -> float:
        """The value that an evaluation has for it, NaN when it has none."""
        if self.measure.kind == "scalar":
            return result.scalars[self.measure.key]
        return result.curves[self.measure.key][self.region][self.at]

    def miss_in(self, result: SegmentationResult) -> str | None:
        """How the result misses it, None where it does not; a value that does not exist misses every threshold."""
        value = self.value_in(result)
        is_most = self.measure.better == "lower"
        if value <= self.limit if is_most else value >= self.limit:
            return None
        wanted = f"at {'most' if is_most else 'least'} {self.limit:g}"
        return f"{self.what} is {value:.4f} by the {result.protocol} protocol, wanted {wanted}"
