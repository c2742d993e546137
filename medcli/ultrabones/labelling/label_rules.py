"""Rules by which labels follow from the section of the bones with a frame's plane, by the names that ``--kind`` takes.

A new rule is one function of the section and one entry in :data:`LABEL_RULES`, with the folder of its labels in each
record. The section itself is made in :mod:`medcli.ultrabones.labelling.mesh_section`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
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
        in_image: what remains of that label in the frame's image, from the label, the grey values (rows, columns) and
            the spacing in millimetres; None: all of it, and the image is not read.
        name: of a choice that is not the default, for the stamp of the labels.
    """

    folder: str
    compute: Callable[[NDArray[np.uint8]], NDArray[np.uint8]]
    about: str
    in_image: Callable[[NDArray[np.uint8], NDArray[np.uint8], float], NDArray[np.uint8]] | None = None
    name: str = ""


def whole_section(section: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The full label: the section as it is."""
    return section


def partial_label(section: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The part of the section that the probe sees: along each column the first unbroken run, counted from row 0.

    The published generator of partial labels is not public; this is the rule used here.
    """
    from medcli.ultrabones.labelling.mesh_section import first_runs

    seen: NDArray[np.uint8] = first_runs(section)
    return seen


LABEL_RULES: dict[str, LabelRule] = {
    "full": LabelRule("Labels_full", whole_section, "the whole section"),
    "partial": LabelRule("Labels", partial_label, "what the probe sees of it"),
}
FIRST_RUN, ECHO = "first-run", "echo"
VISIBLE_RULES = (FIRST_RUN, ECHO)
"""What counts as visible, by the names that ``--visible-rule`` takes; the first is the default."""
BOTH = "both"
"""The two published kinds."""


def refuse_initial_poses(refine: bool, poses: str | None) -> None:
    """Refuse labels from ``initial`` poses where the poses are refined.

    Raises:
        UsageError: both are asked for.
    """
    if refine and poses == "initial":
        raise UsageError("--refine makes labels from refined poses: leave --poses away, or say --poses optimized")


def echo_in_image(label: NDArray[np.uint8], grey: NDArray[np.uint8], spacing_mm: float) -> NDArray[np.uint8]:
    """The pixels of a label that return an echo, see :mod:`medcli.ultrabones.labelling.visible_echo`."""
    from medcli.ultrabones.labelling.visible_echo import echo_part

    return echo_part(label, grey, spacing_mm)


def visible_rule(name: str = FIRST_RUN) -> LabelRule:
    """The rule of partial labels that ``--visible-rule`` names.

    Raises:
        UsageError: there is none of this name.
    """
    if name not in VISIBLE_RULES:
        raise UsageError(f"--visible-rule '{name}' is not one of {', '.join(VISIBLE_RULES)}")
    partial = LABEL_RULES["partial"]
    return partial if name == FIRST_RUN else replace(partial, in_image=echo_in_image, name=name)


def rules_of(kind: str, visible: str = FIRST_RUN) -> tuple[LabelRule, ...]:
    """The rules that ``--kind`` and ``--visible-rule`` name.

    Raises:
        UsageError: there is none of this name.
    """
    rules = {**LABEL_RULES, "partial": visible_rule(visible)}
    if kind == BOTH:
        return rules["full"], rules["partial"]
    if kind not in rules:
        raise UsageError(f"--kind '{kind}' is not one of {', '.join((*LABEL_RULES, BOTH))}")
    return (rules[kind],)
