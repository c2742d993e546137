"""The published result: curves of the authors' network on specimens 2, 7 and 8, and how far another result is from it.

``published_curves.csv`` holds precision, recall and F1 by region and threshold as the authors' evaluation code wrote
them (``result.npz``) for the network trained on the eleven other specimens, ``epoch_100``: repository
luohwu/a7v9x0qp4zmnzx78q, CC BY 4.0. The protocol leaves out frames without any prediction.
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from medcli.ultrabones.dataset.constants import TEST_SPECIMENS
from medcli.ultrabones.evaluation.aggregation import Curves, PublishedDifference, SegmentationResult
from medcli.ultrabones.evaluation.metrics import LISTED, REGIONS, THRESHOLDS_MM
from medcli.ultrabones.evaluation.settings import VISIBLE_GREY

TOLERANCE = 0.005
"""A value is reproduced when it differs from the published one by at most this."""
_TABLE = files("medcli.ultrabones.evaluation") / "published_curves.csv"


@cache
def published_curves() -> dict[str, Curves]:
    """By measure (``precision``, ``recall``, ``f1``) and region, the value at each of the 21 thresholds."""
    rows = list(csv.DictReader(_TABLE.read_text("utf-8").splitlines()))
    return {
        key: {region: [float(row[key]) for row in rows if row["region"] == region] for region in REGIONS}
        for key in ("precision", "recall", "f1")
    }


def is_of_published_test(result: SegmentationResult) -> bool:
    """Whether a result is of the protocol, specimens, labels and threshold of the published one."""
    return (result.protocol, result.labels, result.visible_grey, tuple(result.specimens)) == (
        "paper",
        "partial",
        VISIBLE_GREY,
        TEST_SPECIMENS,
    )


def compare_with_published(result: SegmentationResult) -> list[PublishedDifference]:
    """The differences at 0.5, 1 and 2 mm, by region, then threshold, then measure."""
    return [
        PublishedDifference(region, float(THRESHOLDS_MM[k].round(1)), key, curves[region][k], found)
        for region in REGIONS
        for k in LISTED
        for key, curves in published_curves().items()
        for found in [result.curves[key][region][k]]
    ]


@dataclass(frozen=True)
class Verdict:
    """Whether the differences are all within :data:`TOLERANCE`.

    Attributes:
        beyond: how many are not.
        largest: the largest of them, or of all; one that does not exist counts as the largest.
    """

    beyond: int
    largest: PublishedDifference

    @staticmethod
    def of(differences: Sequence[PublishedDifference]) -> Verdict:
        beyond = [one for one in differences if not abs(one.difference) <= TOLERANCE]
        largest = max(differences, key=lambda one: (one.difference != one.difference, abs(one.difference)))
        return Verdict(len(beyond), largest)
