"""The contents of ``demo.json``: one entry per step."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from medcli.workspace.demo_folder import SCHEMA


@dataclass(frozen=True)
class ResultImage:
    """An image for the report; ``path`` is relative to the demonstration's folder, with forward slashes."""

    path: str
    alt: str
    caption: str


@dataclass(frozen=True)
class BeforeAfter:
    """Two images of the same size; paths are relative to the demonstration's folder."""

    before: str
    after: str
    alt: str
    caption: str


@dataclass(frozen=True)
class Step:
    """One step that has run.

    Attributes:
        name: short, unique.
        title, about: what it does, in a few words and in one or two sentences.
        command: the command line of the same, relative to the folder in which the demonstration was started.
        seconds: elapsed time when it ran.
        processor_seconds: processor time, summed over all cores.
        folder: its output folder, relative to the demonstration's folder; None if it has no single one.
        numbers: headline figures, label -> text with units.
        images, before_after: images to show.
    """

    name: str
    title: str
    about: str
    command: str
    seconds: float
    processor_seconds: float
    folder: str | None = None
    numbers: Mapping[str, str] = field(default_factory=dict)
    images: tuple[ResultImage, ...] = ()
    before_after: BeforeAfter | None = None

    @staticmethod
    def from_json(found: Mapping[str, Any]) -> Step:
        """Build a step from the output of :func:`dataclasses.asdict`.

        Raises:
            TypeError, KeyError: it is not a step.
        """
        pair = found["before_after"]
        return Step(
            **{
                **found,
                "images": tuple(ResultImage(**image) for image in found["images"]),
                "before_after": BeforeAfter(**pair) if pair else None,
            }
        )


@dataclass(frozen=True)
class DemoResult:
    """The result of ``medcli demo``, saved as ``demo.json``.

    Attributes:
        version: of medcli.
        quick: less data and shorter training.
        seed: of the data and of the trainings.
        seconds: sum over all steps of their elapsed time.
        cores: cores available to this process.
        out: the demonstration's folder.
        report: the HTML page; None where it could not be written.
        figures: the most important numbers of the steps, by name.
        steps: the steps that ran, in order.
        failures: steps, or items of a step, that failed; one line each.
    """

    version: str
    quick: bool
    seed: int
    seconds: float
    cores: int
    out: Path
    report: Path | None
    figures: Mapping[str, str]
    steps: tuple[Step, ...]
    failures: tuple[str, ...] = ()
    schema: str = SCHEMA
