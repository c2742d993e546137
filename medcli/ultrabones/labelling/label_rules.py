"""Rules by which labels follow from the section of the bones with a frame's plane, by the names that ``--kind`` takes.

A new rule is one function of the section and one entry in :data:`LABEL_RULES`, with the folder of its labels in each
record. The section itself is made in :mod:`medcli.ultrabones.labelling.mesh_section`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from medcli.core.errors import UsageError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True)
class LabelRule:
    """One entry of :data:`LABEL_RULES`.

    Attributes:
        folder: of the labels, in each record.
        compute: from the section, (rows, columns) uint8 of 0 and 255, to the label of the same shape.
        about: what it is, for the help.
    """

    folder: str
    compute: Callable[[NDArray[np.uint8]], NDArray[np.uint8]]
    about: str


def whole_section(section: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The full label: the section as it is."""
    return section


def partial_label(section: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The part of the section that the probe sees: along each column the first unbroken run, counted from row 0.

    The published generator of partial labels is not public; this is the rule used here.
    """
    from medcli.ultrabones.labelling.mesh_section import first_runs

    return first_runs(section)


LABEL_RULES: dict[str, LabelRule] = {
    "full": LabelRule("Labels_full", whole_section, "the whole section"),
    "partial": LabelRule("Labels", partial_label, "what the probe sees of it"),
}
BOTH = "both"
"""The two published kinds."""


def refuse_initial_poses(refine: bool, poses: str | None) -> None:
    """Refuse labels from ``initial`` poses where the poses are refined.

    Raises:
        UsageError: both are asked for.
    """
    if refine and poses == "initial":
        raise UsageError("--refine makes labels from refined poses: leave --poses away, or say --poses optimized")


def rules_of(kind: str) -> tuple[LabelRule, ...]:
    """The rules that ``--kind`` names.

    Raises:
        UsageError: there is none of this name.
    """
    if kind == BOTH:
        return LABEL_RULES["full"], LABEL_RULES["partial"]
    if kind not in LABEL_RULES:
        raise UsageError(f"--kind '{kind}' is not one of {', '.join((*LABEL_RULES, BOTH))}")
    return (LABEL_RULES[kind],)
