"""Read the files of a run: tolerate missing ones, report damaged ones."""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from medcli.core.errors import DataError, quantity
from medcli.core.files import read_whole
from medcli.core.json_text import parse_json, recorded_path
from medcli.core.run_provenance import NAME, SCHEMA
from medcli.report.blocks import BLANK, Note, Section

Json = dict[str, Any]


@dataclass(frozen=True)
class RunReport:
    """The report of one run.

    Attributes:
        title: name of the run.
        lead: one or two sentences on it.
        figures: the most important numbers, with units.
        notes: highlighted remarks.
        sections: the results.
        settings: the settings, if the run saves them outside its provenance record.
        seconds: elapsed time, if it is not in the provenance record.
        dataset: ``UltraBones100k`` or ``Veriserum``, set by :func:`medcli.report.runs.runs_in`.
        origin: content of the :class:`ProvenanceRecord`, set there, too.
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
    """A JSON file that contains an object.

    Raises:
        DataError: it cannot be read, or contains something else.
    """
    try:
        found = parse_json(read_whole(path))
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror or error}") from error
    except ValueError as error:
        raise DataError(f"{path} is damaged: {error}", "remove it, and run the command that wrote it again") from error
    if not isinstance(found, dict):
        raise DataError(f"{path} contains {type(found).__name__}, expected an object", "run the command again")
    return found


def read_rows(path: Path) -> list[dict[str, str]]:
    """The rows of a CSV file; none if the file does not exist.

    Raises:
        DataError: it is not a text file.
    """
    if not path.is_file():
        return []
    try:
        with path.open(encoding="utf-8", newline="") as file:
            return [{str(k): v or "" for k, v in row.items() if k is not None} for row in csv.DictReader(file)]
    except (OSError, ValueError, csv.Error) as error:
        raise DataError(f"{path} is damaged: {error}", "run the command that wrote it again") from error


def column(rows: Sequence[Mapping[str, str]], name: str) -> list[float]:
    """A column as numbers, NaN where a cell is empty or not a number."""
    return [to_float(row.get(name, "")) for row in rows]


def to_float(value: Any) -> float:
    """A number; NaN for anything else."""
    try:
        return float(value)
    except (TypeError, ValueError):
        return math.nan


@dataclass(frozen=True)
class ProvenanceRecord:
    """The provenance record of a run, see :mod:`medcli.core.run_provenance`; empty if it does not exist."""

    path: Path = Path()
    content: Json = field(default_factory=dict)

    @property
    def verb(self) -> str:
        """The command, without its options."""
        return str(self.content["verb"])

    @property
    def result(self) -> Json:
        """The result of the command; empty if it is in a separate file."""
        return self.content.get("result") or {}

    @property
    def settings(self) -> Json:
        """The settings of the run."""
        return self.content.get("settings") or {}

    @property
    def root(self) -> Any:
        """The data folder as it was given; None if there is none."""
        return (self.content.get("data") or {}).get("root")

    @property
    def table(self) -> Path:
        """The table that the record belongs to."""
        return self.path.with_name(self.path.name.removesuffix(f".{NAME}") + ".csv")


NO_PROVENANCE = ProvenanceRecord()


def read_provenance(folder: Path) -> list[ProvenanceRecord]:
    """The provenance records in a folder."""
    records = [ProvenanceRecord(path, read_json(path)) for path in sorted(folder.glob(f"*{NAME}"))]
    return [one for one in records if one.content.get("schema") == SCHEMA and one.content.get("verb")]


def find(folder: Path, path: Any) -> Path | None:
    """A file or folder that a run refers to: at its path, or, if the run was moved, near the run's folder."""
    if not path:
        return None
    named = recorded_path(path)
    places = [named, folder / named.name, *(parent / named for parent in [folder, *folder.absolute().parents][:5])]
    return next((place for place in places if place.exists()), None)


def failures_note(result: Mapping[str, Any], what: str) -> list[Note]:
    """The failed items of a result as one remark; none if nothing failed."""
    failures = result.get("failures")
    if not failures:
        return []
    texts = [
        failure if isinstance(failure, str) else ", ".join(f"{k} {v}" for k, v in failure.items())
        for failure in failures
    ]
    shown = texts[:50]
    more = f" The first {len(shown)} are:" if len(texts) > len(shown) else ""
    return [Note(f"{quantity(len(texts), what.removesuffix('s'))} could not be used.{more}", "failure", shown)]


def remarks(result: Mapping[str, Any], what: str) -> list[Note]:
    """The warnings of a result, and its failed items."""
    return [*(Note(sentence(str(text)), "warning") for text in result["warnings"]), *failures_note(result, what)]


def sentence(text: str) -> str:
    """A remark of a run with a capital letter and a full stop."""
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
