"""The axes of every implant of a study, drawn for a person to confirm: ``medcli kinematics axes``."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from medcli.core.errors import DataError, UsageError
from medcli.core.files import make_output_folder, write_json
from medcli.core.json_text import parse_json, to_plain
from medcli.core.progress import SILENT, Progress
from medcli.core.run_provenance import note_run
from medcli.veriserum.dataset.publication import ABOUT
from medcli.veriserum.dataset.study import VeriserumStudy
from medcli.veriserum.kinematics.axes_figure import draw_axes
from medcli.veriserum.kinematics.axes_guess import known_axes
from medcli.veriserum.kinematics.implant_axes import SCHEMA, ImplantAxes, read_axes


@dataclass(frozen=True)
class AxesResult:
    """Result of ``medcli kinematics axes``.

    Attributes:
        out: the file of axes.
        figure: of all implants with their axes.
        implants: ``anatomy_id`` -> axes, with how they were found and what to look at first.
        failures: implants without axes, one line each.
        existing: the file was there with these axes, and was left as it is.
    """

    out: Path
    figure: Path
    implants: dict[int, ImplantAxes]
    seconds: float
    failures: tuple[str, ...] = ()
    existing: bool = False
    schema: str = "medcli.kinematics-axes.v1"


def find_axes(
    root: Path,
    out: Path,
    figure: Path,
    implants: Path | None = None,
    axes: Path | None = None,
    side: str | None = None,
    progress: Progress = SILENT,
    overwrite: bool = False,
) -> AxesResult:
    """Guess the axes of every mesh of a study, write them to a file, and draw them.

    Args:
        root: the dataset's folder.
        out: the JSON file to write, see :mod:`medcli.veriserum.kinematics.implant_axes`.
        figure: the PNG file to draw.
        implants: folder of ``ana_NNNNNN.stl``; None: below ``root``.
        axes: file of axes that are kept as they are, and only drawn.
        side: of the knee, stated in all entries that state none.
        overwrite: replace a file with other axes; one with the same is left as it is.

    Raises:
        UsageError: ``out`` is no JSON file, or has other axes.
        DataError: no mesh, or none whose axes can be guessed; or ``axes`` is broken or of another mesh.
    """
    if out.suffix.lower() != ".json":
        raise UsageError(f"{out} is not a JSON file", "name a file with --out axes.json")
    started = time.perf_counter()
    surfaces = VeriserumStudy(Path(root), implants=implants).surfaces
    if not surfaces.files:
        raise DataError(
            f"no implant in {surfaces.root}: expected ana_000001.stl, …", "get them: medcli download veriserum"
        )
    anatomies = {*surfaces.files, *(read_axes(axes) if axes else ())}
    known = known_axes(surfaces, anatomies, axes, progress)
    if not known.axes:
        raise DataError(next(iter(known.problems.values())), "state the axes in a file: docs/kinematics.md")
    found = {number: replace(one, side=one.side or side) for number, one in sorted(known.axes.items())}
    existing = out.exists() and not overwrite
    if existing and not _holds(out, found):
        raise UsageError(
            f"{out} exists with other axes than these, such as corrected ones",
            "replace it with --overwrite, draw it with --axes FILE, or name another file with --out",
        )
    for target in (out, figure):
        make_output_folder(target.parent)
    if not existing:
        write_json(out, {"schema": SCHEMA, "implants": found})
    if not (existing and figure.is_file()):
        draw_axes(found, known.meshes, figure)
    others = sorted(surfaces.files.keys() - known.axes.keys() - known.problems.keys())
    problems = dict.fromkeys(others, "it is no published implant: state its kind and axes in a file (--axes)")
    failures = tuple(f"anatomy {number}: {text}" for number, text in sorted({**known.problems, **problems}.items()))
    result = AxesResult(out, figure, found, round(time.perf_counter() - started, 3), failures, existing)
    if existing:
        return result
    note_run(out, "kinematics axes", ABOUT, Path(root), {"implants": implants, "axes": axes, "side": side}, result)
    return result


def _holds(path: Path, axes: Mapping[int, ImplantAxes]) -> bool:
    """Whether a file of axes has just these."""
    try:
        return bool(parse_json(path.read_bytes())["implants"] == to_plain(axes))
    except (OSError, ValueError, LookupError, TypeError):
        return False
