"""The numbers of runs on bone in space, from their summaries: reconstructions and registrations to CT."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from medcli.core.errors import quantity
from medcli.core.json_text import read_object

REGISTERED = "medcli.register_bone.v1"
_STATUSES = ("good", "doubtful", "failed")


def reconstructions(folder: Path) -> Iterator[dict[str, Any]]:
    """What ``medcli reconstruct`` wrote of each record."""
    for path in sorted(folder.glob("*.json")):
        content = read_object(path)
        if {"made_from", "reconstruction"} <= content.keys():
            yield content


def is_registration(path: Path) -> bool:
    """Whether a file is a result of ``medcli register bone``."""
    return path.suffix.lower() == ".json" and _is_registration(read_object(path))


def _is_registration(content: Mapping[str, Any]) -> bool:
    return content.get("schema") == REGISTERED and isinstance(content.get("registration"), dict)


def registrations(folder: Path) -> Iterator[tuple[Path, dict[str, Any]]]:
    """The files that ``medcli register bone`` wrote, and what they hold."""
    for path in sorted(folder.glob("*.json")):
        content = read_object(path)
        if _is_registration(content):
            yield path, content


def in_words(folder: Path, is_reconstruction: bool) -> tuple[str, str]:
    """Detail and headline of a run of ``medcli reconstruct`` or ``medcli register bone``."""
    return (_reconstructions_in_words if is_reconstruction else _registrations_in_words)(folder)


def _reconstructions_in_words(folder: Path) -> tuple[str, str]:
    records = [content["reconstruction"] for content in reconstructions(folder)]
    means = [record["distance_mm"]["mean"] for record in records if record["distance_mm"]]
    headline = f"mean distance to the CT {sum(means) / len(means):.3f} mm" if means else ""
    return quantity(len(records), "record"), headline


def _registrations_in_words(folder: Path) -> tuple[str, str]:
    found = [content["registration"] for _, content in registrations(folder)]
    counts = {name: sum(one["status"] == name for one in found) for name in _STATUSES}
    medians = [one["distance_mm"]["median"] for one in found if one["distance_mm"]]
    headline = ", ".join(f"{count} {name}" for name, count in counts.items() if count)
    if medians:
        headline += f"; median distance {sum(medians) / len(medians):.2f} mm"
    return quantity(len(found), "cloud"), headline


def recovery_in_words(found: Mapping[str, Any]) -> tuple[str, str]:
    """Detail and headline of a run of ``medcli evaluate registration``."""
    one = found["overall"]
    headline = f"recall {100 * one['recall']:.1f} %, RTE {one['rte_mm'][0]:.2f} mm, RRE {one['rre_deg'][0]:.2f} degrees"
    return f"{quantity(one['starts'], 'start')} of {quantity(len(found['cases']), 'bone')}", headline


def registration_figures(folder: Path) -> dict[str, Any]:
    """Numbers of ``medcli register bone``, by file where there are several."""
    figures: dict[str, Any] = {}
    found = list(registrations(folder))
    for path, content in found:
        one, name = content["registration"], f"{path.stem}: " if len(found) > 1 else ""
        distance = one["distance_mm"] or {}
        figures[f"{name}points within 2 mm, share"] = one["explained"]
        figures[f"{name}median distance, mm"] = distance.get("median")
        figures[f"{name}95 % distance, mm"] = distance.get("percentile_95")
        for kind, unit in (("shift", "mm"), ("turn", "degrees")):
            errors = [each["standard_error"] for each in one["determination"]["directions"] if each["kind"] == kind]
            figures[f"{name}largest standard error of a {kind}, {unit}"] = max(errors)
    return figures


def recovery_figures(found: Mapping[str, Any]) -> dict[str, Any]:
    """Numbers of ``medcli evaluate registration``."""
    one = found["overall"]
    return {
        "recall": one["recall"],
        "RTE, mm, mean": one["rte_mm"][0],
        "RRE, degrees, mean": one["rre_deg"][0],
        "RTE, mm, median": one["median_rte_mm"],
        "RRE, degrees, median": one["median_rre_deg"],
        "starts": one["starts"],
    }
