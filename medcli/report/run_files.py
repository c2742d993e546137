"""Read what a run left: tolerant of what is missing, clear about what is damaged."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from medcli.core.errors import DataError
from medcli.core.run_provenance import NAME, SCHEMA
from medcli.report.blocks import BLANK, Note, Section

Json = dict[str, Any]


@dataclass(frozen=True)
class RunReport:
    """What a report says of one run.

    Attributes:
        title: what was run.
        lead: a sentence or two on it.
        figures: the numbers that matter most, with units.
        notes: what must not be overlooked.
        sections: the results.
        settings: what was asked for, where the run keeps it apart from the note.
        seconds: how long it took, where the note does not say it.
        dataset: ``UltraBones100k`` or ``Veriserum``; :func:`medcli.report.runs.runs_in` says which.
        origin: content of the :class:`RunNote`, from there, too.
    """

    title: str
    lead: str
    figures: Mapping[str, str] = field(default_factory=dict)
    notes: Sequence[Note] = ()
    sections: Sequence[Section] = ()
    settings: Mapping[str, Any] = field(default_factory=dict)
    seconds: float | None = None
    dataset: str = ""
    origin: Json = field(default_factory=dict)

    @property
    def known_figures(self) -> dict[str, str]:
        """The figures that have a value."""
        return {name: text for name, text in self.figures.items() if text not in BLANK}


def read_json(path: Path) -> Json:
    """A JSON file that holds an object.

    Raises:
        DataError: it cannot be read, or holds something else.
    """
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror or error}") from error
    except ValueError as error:
        raise DataError(f"{path} is damaged: {error}", "remove it, and run the command that wrote it again") from error
    if not isinstance(found, dict):
        raise DataError(f"{path} holds {type(found).__name__}, expected an object", "run the command again")
    return found


def read_rows(path: Path) -> list[dict[str, str]]:
    """The rows of a CSV file; none where there is no file.

    Raises:
        DataError: it is no text.
    """
    if not path.is_file():
        return []
    try:
        with path.open(encoding="utf-8", newline="") as file:
            return [{str(k): v or "" for k, v in row.items() if k is not None} for row in csv.DictReader(file)]
    except (OSError, ValueError, csv.Error) as error:
        raise DataError(f"{path} is damaged: {error}", "run the command that wrote it again") from error


def column(rows: Sequence[Mapping[str, str]], name: str) -> list[float]:
    """A column as numbers, NaN where a cell is empty or no number."""
    return [to_float(row.get(name, "")) for row in rows]


def to_float(value: Any) -> float:
    """A number; NaN for whatever is none."""
    try:
        return float(value)
    except (TypeError, ValueError):
        return math.nan


@dataclass(frozen=True)
class RunNote:
    """What a run left of how it came about, see :mod:`medcli.core.run_provenance`; empty where there is no note."""

    path: Path = Path()
    content: Json = field(default_factory=dict)

    @property
    def verb(self) -> str:
        """The command, without its options."""
        return str(self.content["verb"])

    @property
    def result(self) -> Json:
        """What the command answered; empty where it is in a file of its own."""
        return self.content.get("result") or {}

    @property
    def settings(self) -> Json:
        """What was asked for."""
        return self.content.get("settings") or {}

    @property
    def root(self) -> Any:
        """The data folder as it was called; None where there is none."""
        return (self.content.get("data") or {}).get("root")

    @property
    def table(self) -> Path:
        """The table that the note stands beside."""
        return self.path.with_name(self.path.name.removesuffix(f".{NAME}") + ".csv")


NO_NOTE = RunNote()


def read_notes(folder: Path) -> list[RunNote]:
    """The notes of runs in a folder."""
    notes = [RunNote(path, read_json(path)) for path in sorted(folder.glob(f"*{NAME}"))]
    return [note for note in notes if note.content.get("schema") == SCHEMA and note.content.get("verb")]


def find(folder: Path, path: Any) -> Path | None:
    """A file or folder that a run names: as it is named, or, where the run has moved, near the run's folder."""
    if not path:
        return None
    named = Path(str(path))
    places = [named, folder / named.name, *(parent / named for parent in [folder, *folder.absolute().parents][:5])]
    return next((place for place in places if place.exists()), None)


def failures_note(result: Mapping[str, Any], what: str) -> list[Note]:
    """The items of a result that failed as one remark; none where nothing failed."""
    failures = result.get("failures")
    if not failures:
        return []
    texts = [
        failure if isinstance(failure, str) else ", ".join(f"{k} {v}" for k, v in failure.items())
        for failure in failures
    ]
    shown = texts[:50]
    more = f" The first {len(shown)} are:" if len(texts) > len(shown) else ""
    return [Note(f"{len(texts):,} {what} could not be used.{more}", "failure", shown)]


def sentence(text: str) -> str:
    """A remark as a run words it, with a capital letter and a full stop."""
    text = text[:1].upper() + text[1:]
    return text if text.endswith((".", "!", "?")) else f"{text}."


def duration(seconds: float | None) -> str:
    """``12.3 s``, ``4 min 10 s`` or ``2 h 5 min``."""
    if seconds is None or not math.isfinite(seconds):
        return "–"
    if seconds < 100:
        return f"{seconds:.1f} s"
    minutes, second = divmod(round(seconds), 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours} h {minute} min" if hours else f"{minutes} min {second} s"
