"""Report of ``medcli demo``: its steps, each with the report of its run."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from medcli.core.errors import DataError, quantity
from medcli.core.json_text import read_object
from medcli.report.blocks import (
    Block,
    Command,
    Compare,
    ImageBlock,
    KeyFigures,
    KeyValues,
    Note,
    PointCloud,
    Section,
    Table,
    Text,
)
from medcli.report.embedded_images import NARROW, WIDE, embed_image, gallery
from medcli.report.provenance import SETTINGS_CAPTION, how_section
from medcli.report.run_files import Json, RunReport, duration, failures_note, read_json, to_float
from medcli.report.runs import runs_in
from medcli.ultrabones.dataset.folder_layout import IMAGE_FOLDER
from medcli.workspace.demo_folder import RESULT, SCHEMA, SETTINGS, demo_command

_OF_XRAY = {"veriserum", "pose", "trial", "kinematics"}
"""Verbs and nouns of commands on X-ray pairs; all others of the demonstration concern ultrasound."""
_LEAD = "All steps of medcli on small synthetic versions of both datasets, each with its command, results and time."


def is_demo(folder: Path) -> bool:
    """Whether a folder was written by ``medcli demo``."""
    return (folder / RESULT).is_file()


def read_demo(folder: Path) -> tuple[RunReport, list[RunReport]]:
    """The demonstration, and the runs of its steps.

    Raises:
        DataError: ``demo.json`` is damaged or of another version.
    """
    path = folder / RESULT
    content = read_json(path)
    if content.get("schema") != SCHEMA:
        raise DataError(f"{path} is of schema {content.get('schema')}, expected {SCHEMA}", "run medcli demo again")
    sections, runs = [], []
    for step in content["steps"]:
        section, found = _step(folder, step)
        sections.append(section)
        runs += found
    origin = min((run.origin for run in runs if run.origin), key=lambda one: str(one.get("when")), default={})
    versions: Json = {
        name: origin[name] for name in ("medcli", "python", "system", "when", "packages") if name in origin
    }
    if started := read_object(folder / SETTINGS).get("started"):
        versions["when"] = started
    demo = RunReport(
        title="Demonstration of medcli",
        lead=_LEAD,
        figures=_figures(content),
        notes=[
            Note(
                "All data are synthetic: they show that the steps work, not how accurate they are on real recordings."
            ),
            *failures_note(content, "items"),
        ],
        sections=[
            Section("What was run", [_parts(content), _overview(content)]),
            *(dataclasses.replace(section, folded=True) for section in _repeated_folded(sections)),
        ],
        origin={
            **versions,
            "medcli": content.get("version") or versions.get("medcli", ""),
            "cores": content.get("cores", ""),
            "command": demo_command(folder) or "",
            "settings": {"seed": content.get("seed"), "quick": content.get("quick")},
            "data": {"synthetic": True},
        },
        seconds=to_float(content.get("seconds")),
    )
    return demo, runs


def _figures(content: Json) -> dict[str, str]:
    """Steps and time, and the headline numbers of the demonstration."""
    figures = {str(name): str(value) for name, value in (content.get("figures") or {}).items()}
    for name in [name for name in figures if f"{name}".replace("untrained", "trained") != name]:
        trained = name.replace("untrained", "trained")
        if trained in figures:
            figures[trained] += f"; untrained {figures.pop(name)}"
    return figures | {
        "time": f"{duration(to_float(content.get('seconds')))}; {quantity(len(content['steps']), 'step')}"
    }


def _parts(content: Json) -> Block:
    """The steps of each dataset in one row: what was done, and how long it took."""
    parts: dict[str, list[Json]] = {}
    for step in content["steps"]:
        words = str(step.get("command")).split()
        is_xray = not _OF_XRAY.isdisjoint(words[1:3])
        name = "synthetic data" if "--data-only" in words else "X-ray pairs" if is_xray else "ultrasound"
        parts.setdefault(name, []).append(step)
    rows = [
        [
            name,
            ", ".join(dict.fromkeys(str(step.get("command")).split()[1] for step in steps if step.get("command"))),
            duration(sum(to_float(step.get("seconds")) for step in steps)),
        ]
        for name, steps in parts.items()
    ]
    return Table(["part", "commands", "time"], rows, "Below, each step with its command, results and images")


def _overview(content: Json) -> Block:
    rows = [
        [str(i), str(step["title"]), f"{to_float(step.get('seconds')):.1f}"]
        for i, step in enumerate(content["steps"], 1)
    ]
    return Table(["step", "title", "seconds"], rows, "Every step and its time", folded=True)


def _step(folder: Path, step: Json) -> tuple[Section, list[RunReport]]:
    blocks: list[Block] = [Text(str(step["about"]))] if step.get("about") else []
    if step.get("command"):
        blocks.append(Command(str(step["command"]), f"Command; it took {duration(to_float(step.get('seconds')))}:"))
    if step.get("numbers"):
        blocks.append(KeyFigures({str(name): str(value) for name, value in step["numbers"].items()}))
    blocks += _images(folder, step.get("images") or [])
    if step.get("before_after"):
        blocks.append(_slider(folder, step["before_after"]))
    runs: list[RunReport] = []
    if step.get("folder"):
        try:
            runs = runs_in(folder / str(step["folder"]))
        except DataError as error:
            blocks.append(Note(error.message, "warning"))
        if not runs and (folder / str(step["folder"])).is_dir():
            blocks.append(Note(f"The folder {step['folder']} contains no run that this version can read.", "warning"))
        if (folder / str(step["folder"]) / IMAGE_FOLDER).is_dir():
            blocks.append(Note(f"Below is one record of this step, {step['folder']}; the others are left out."))
    sections = [_below(run) for run in runs]
    return Section(str(step["title"]), blocks, sections), runs


def _below(run: RunReport) -> Section:
    """The contents of the run's own report; versions and licence are given once, at the end of the page."""
    first: list[Block] = [Text(run.lead), *run.notes]
    if run.known_figures:
        first.append(KeyFigures(run.known_figures))
    how = how_section(run)
    settings = [block for block in how.blocks if isinstance(block, KeyValues) and block.caption == SETTINGS_CAPTION]
    return _tables_folded(Section(run.title, [*first, *settings], run.sections))


def _tables_folded(section: Section) -> Section:
    """Collapse tables; curves, images and 3D views stay open."""
    blocks: list[Block] = []
    for block in section.blocks:
        if isinstance(block, Table) or (isinstance(block, KeyValues) and block.caption):
            blocks.append(dataclasses.replace(block, folded=True))
        else:
            blocks.append(block)
    below = [_tables_folded(one) for one in section.sections]
    return dataclasses.replace(section, blocks=blocks, sections=[_last_folded(one, below) for one in below])


def _last_folded(section: Section, siblings: Sequence[Section]) -> Section:
    """Collapse the second and further 3D views: they show nothing new."""
    similar = [one for one in siblings if any(isinstance(block, PointCloud) for block in one.blocks)]
    return dataclasses.replace(section, folded=section in similar[1:])


def _repeated_folded(sections: Sequence[Section]) -> list[Section]:
    """Of several runs of one kind the last shows the result: collapse the earlier ones."""
    last = {below.title: section.title for section in sections for below in section.sections}
    return [
        dataclasses.replace(
            section,
            sections=[
                dataclasses.replace(below, folded=last[below.title] != section.title) for below in section.sections
            ],
        )
        for section in sections
    ]


def _images(folder: Path, given: Sequence[Any]) -> list[Block]:
    """One or two images below each other, more side by side."""
    width = NARROW if len(given) > 2 else WIDE
    shown = [
        embed_image(
            folder / str(one["path"]),
            str(one.get("alt") or "Image of this step."),
            str(one.get("caption") or ""),
            width,
        )
        for one in given
    ]
    return gallery(shown) if len(given) > 2 else list(shown)


def _slider(folder: Path, given: Json) -> Block:
    alt = str(given.get("alt") or "")
    halves = [embed_image(folder / str(given[side]), f"{alt} ({side})".strip()) for side in ("before", "after")]
    for half in halves:
        if not isinstance(half, ImageBlock):
            return half
    before, after = (half for half in halves if isinstance(half, ImageBlock))
    return Compare(before, after, str(given.get("caption") or ""))
