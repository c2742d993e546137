"""How a run came about, and whose data it used: the sections that every report ends with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from medcli.core.run_provenance import DatasetCitation
from medcli.report.blocks import Block, Command, KeyValues, Note, Section, Text
from medcli.report.run_files import Json, RunReport, duration

SETTINGS_CAPTION = "All settings"
_NEXT = "Run it again with:"
_WORDS = {"medcli": "medcli", "python": "Python", "system": "system", "cores": "usable cores", "device": "device"}


def facts(run: RunReport) -> list[str]:
    """Short remarks under the title: when, which version, on what."""
    origin = run.origin
    texts = [_when(str(origin["when"]))] if origin.get("when") else []
    if origin.get("medcli"):
        texts.append(f"medcli {origin['medcli']}")
    if origin.get("device"):
        texts.append(f"on {origin['device']}")
    if run.seconds:
        texts.append(duration(run.seconds))
    data = origin.get("data") or {}
    if data.get("synthetic"):
        texts.append("synthetic data")
    elif run.dataset:
        texts.append(run.dataset)
    return texts


def _when(text: str) -> str:
    """``2026-01-31 12:00 UTC`` from ISO 8601."""
    return text[:16].replace("T", " ") + (" UTC" if text.endswith(("+00:00", "Z")) else "")


def how_section(run: RunReport) -> Section:
    """Command, versions, device, time, seed and settings."""
    origin = run.origin
    blocks: list[Block] = []
    if not origin:
        blocks.append(Note("This run left no note of its command, versions and time."))
    if origin.get("command"):
        blocks.append(Command(str(origin["command"]), _NEXT))
    rows = {words: str(origin[name]) for name, words in _WORDS.items() if origin.get(name)}
    if origin.get("when"):
        rows["when"] = _when(str(origin["when"]))
    if run.seconds:
        rows["time"] = duration(run.seconds)
    settings = {**(origin.get("settings") or {}), **run.settings}
    if "seed" in settings:
        rows["seed"] = str(settings["seed"])
    if rows:
        blocks.append(KeyValues(rows))
    if origin.get("packages"):
        blocks.append(
            KeyValues({str(k): str(v) for k, v in origin["packages"].items()}, "Versions of packages", folded=True)
        )
    if settings:
        blocks.append(KeyValues(_flat(settings), SETTINGS_CAPTION, folded=True))
    return Section("How it was made", blocks)


def _flat(values: Mapping[str, Any], before: str = "") -> dict[str, str]:
    """Settings as names and texts; those of settings inside settings get both names."""
    rows: dict[str, str] = {}
    for name, value in values.items():
        words = f"{before}{name}".replace("_", " ")
        if isinstance(value, Mapping):
            rows |= _flat(value, f"{words}: ")
        elif isinstance(value, (list, tuple)):
            rows[words] = " ".join(map(str, value)) or "none"
        else:
            rows[words] = "not set" if value is None else str(value)
    return rows


def data_section(runs: Sequence[RunReport], synthetic: bool = False) -> Section:
    """Licence and citation of every dataset that the runs used; data that are synthetic are said to be."""
    blocks: list[Block] = []
    seen: set[str] = set()
    for run in sorted(runs, key=lambda one: not one.origin):  # those that say most of their data
        data: Json = run.origin.get("data") or {}
        name = str(data.get("dataset") or run.dataset)
        if not name or name in seen:
            continue
        seen.add(name)
        about = about_of(name)
        if synthetic or data.get("synthetic"):
            blocks.append(
                Note(
                    f"The data of this run are synthetic: made by medcli in the layout of {name}, from formulas and "
                    "random numbers. They show no person and no real implant, and are free of the dataset's licence."
                )
            )
        else:
            blocks.append(
                Text(f"This report shows pictures and numbers derived from {name}; its licence holds for them, too.")
            )
        where = {"data folder": str(data["root"])} if data.get("root") else {}
        blocks.append(
            KeyValues(
                {
                    "dataset": name,
                    "licence": str(data.get("licence") or about.licence),
                    "please cite": str(data.get("citation") or about.citation),
                    **where,
                }
            )
        )
    return Section("Data, licence and citation", blocks)


def about_of(dataset: str) -> DatasetCitation:
    """Licence and citation of a dataset, as ``medcli download`` gives them; dashes for one that is not ours."""
    from medcli.ultrabones.dataset import publication as ultrabones
    from medcli.veriserum.dataset import publication as veriserum

    known = {about.dataset: about for about in (ultrabones.ABOUT, veriserum.ABOUT)}
    return known.get(dataset, DatasetCitation(dataset, "–", "–"))
