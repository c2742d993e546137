"""What the demonstration leaves in ``demo.json``: one entry for each step."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from medcli.workspace.demo_folder import SCHEMA


@dataclass(frozen=True)
class ResultImage:
    """A picture for the report; ``path`` is relative to the demonstration's folder, with forward slashes."""

    path: str
    alt: str
    caption: str


@dataclass(frozen=True)
class BeforeAfter:
    """Two pictures of the same size, relative to the demonstration's folder."""

    before: str
    after: str
    alt: str
    caption: str


@dataclass(frozen=True)
class Step:
    """One step that has run.

    Attributes:
        name: short, unique.
        title, about: what it does, in a few words and in a few sentences.
        command: what to type for the same, from the folder in which the demonstration was started.
        seconds: how long it took when it ran.
        processor_seconds: processor time of the same, all cores together.
        folder: what it left, relative to the demonstration's folder; None where that is no single folder.
        numbers: headline figures, label -> text with units.
        pictures, before_after: what to look at.
    """

    name: str
    title: str
    about: str
    command: str
    seconds: float
    processor_seconds: float
    folder: str | None = None
    numbers: Mapping[str, str] = field(default_factory=dict)
    pictures: tuple[ResultImage, ...] = ()
    before_after: BeforeAfter | None = None

    @staticmethod
    def from_json(found: Mapping[str, Any]) -> Step:
        """The step again from what :func:`dataclasses.asdict` made of it.

        Raises:
            TypeError, KeyError: it is none.
        """
        pair = found["before_after"]
        return Step(
            **{
                **found,
                "pictures": tuple(ResultImage(**picture) for picture in found["pictures"]),
                "before_after": BeforeAfter(**pair) if pair else None,
            }
        )


@dataclass(frozen=True)
class DemoResult:
    """What ``medcli demo`` answers, and what stands in ``demo.json``.

    Attributes:
        version: of medcli.
        quick: less data and shorter training.
        seed: of the data and of the trainings.
        seconds: of all steps, when each ran.
        cores: that this process may use.
        out: the demonstration's folder.
        report: the HTML page; None where it could not be written.
        figures: the numbers of the steps that say most, by their names.
        steps: those that ran, in order.
        failures: steps, or items of a step, that failed, a line each.
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
