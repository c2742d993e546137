"""What an evaluation of masks compares and how; imports nothing that computes."""

from __future__ import annotations

from dataclasses import dataclass

PROTOCOLS = ("paper", "strict")
VISIBLE_GREY = 107.0
"""Grey value from which a pixel is visible."""


@dataclass(frozen=True)
class EvaluationSettings:
    """What is evaluated and how.

    Attributes:
        specimens: None for all that have labelled frames.
        labels: ``partial``, ``full``, or a mask folder such as ``LabelsManual``.
        protocols: ``paper``, ``strict`` or both.
        visible_grey: grey value, 0 to 255, from which a pixel is visible (published: 107).
        train: specimens that the model was trained on, if it does not say itself.
        figures: also draw the curves and examples of frames.
    """

    specimens: tuple[int, ...] | None = None
    labels: str = "partial"
    protocols: tuple[str, ...] = ("paper",)
    visible_grey: float = VISIBLE_GREY
    train: tuple[int, ...] | None = None
    figures: bool = True
