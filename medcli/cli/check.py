"""``medcli check``: is a data folder sound?"""

from __future__ import annotations

import shutil
import sys
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from medcli.cli.shared import options
from medcli.cli.shared.multi_value_options import App
from medcli.cli.shared.output import Output, folded
from medcli.core.files import check_figure_path
from medcli.core.refusals import refusals

if TYPE_CHECKING:
    from medcli.core.checking.check_lines import DataCheck

app = App()
Sample = Annotated[int, typer.Option(min=1, help="Frames or pairs to look into, drawn at random from all.")]
All = Annotated[bool, typer.Option("--all", help="Look into every frame or pair.")]
Figure = Annotated[
    Path | None, typer.Option("--figure", "--out", help="Contact sheet of the sample, PNG or JPEG.  [default: none]")
]


@app.command("ultrabones")
def ultrabones(
    output: Output,
    root: options.UltrabonesRoot = options.ULTRABONES_ROOT,
    specimens: options.Specimens = None,
    sample: Sample = 200,
    every: All = False,
    meshes: options.Meshes = None,
    figure: Figure = None,
    workers: options.Workers = None,
    seed: options.Seed = 0,
) -> None:
    """Check an UltraBones100k folder: names, tracking tables, poses, images, labels, meshes.

    Names and tables are checked in all records, contents in a sample of the frames. Labels are recomputed from the
    meshes and compared. Exits with status 4 if something is wrong.

    \b
    A quick look with a contact sheet; then every frame:
      medcli check ultrabones --figure sheet.png
      medcli check ultrabones --all --workers 12
    """
    from medcli.ultrabones.dataset.presence import check_frames_present

    with refusals() as check:
        check(check_figure_path, figure)
        check(check_frames_present, root, specimens)
    from medcli.ultrabones.checks.check_ultrabones import check_ultrabones

    result = check_ultrabones(
        root, specimens, None if every else sample, seed, meshes, figure, workers, output.progress()
    )
    output.finish(result, lambda found: _show(output, found))


@app.command("veriserum")
def veriserum(
    output: Output,
    root: options.VeriserumRoot = options.VERISERUM_ROOT,
    sample: Sample = 200,
    every: All = False,
    poses: options.PoseTable = None,
    distortion: options.DistortionTable = None,
    calibrated: options.Calibrated = None,
    inter_plane: options.InterPlane = None,
    pose_frame: options.PoseFrame = "world",
    figure: Figure = None,
    workers: options.Workers = None,
    seed: options.Seed = 0,
) -> None:
    """Check a Veriserum folder: images, tables, ids, poses, calibrations, implants.

    Tables and names are checked whole, images and the geometry in a sample of the pairs: the implant must lie between
    source and image plane, and where both images are dark. Exits with status 4 if something is wrong.

    \b
    What to look at before anything else is computed:
      medcli check veriserum --figure sheet.png
    """
    from medcli.veriserum.dataset import contents_check

    with refusals() as check:
        check(check_figure_path, figure)
        check(contents_check.check_study, root, calibrated)
        check(contents_check.check_inter_plane, inter_plane)
    from medcli.veriserum.checks.check_veriserum import check_veriserum
    from medcli.veriserum.geometry.biplane import PoseFrame
    from medcli.veriserum.registration.start_poses import Sources

    sources = options.settings_from(Sources, locals(), frame=PoseFrame(pose_frame))
    result = check_veriserum(sources, None if every else sample, seed, figure, workers, output.progress())
    output.finish(result, lambda found: _show(output, found))


def _show(output: Output, result: DataCheck) -> None:
    looked_into = f"{result.looked_into:,} of {result.items:,} looked into" if result.items else "only tables"
    output.line(f"{result.dataset} in {result.root}: {looked_into}")
    output.line()
    name = max(len(line.check) for line in result.lines)
    state = max(len(line.state) for line in result.lines)
    width = shutil.get_terminal_size().columns - name - state - 4 if sys.stdout.isatty() else 10_000
    for line in result.lines:
        text = f"{line.figure}; {line.advice}" if line.advice else line.figure
        parts = textwrap.wrap(text, max(width, 30), break_long_words=False, break_on_hyphens=False) or [""]
        for number, part in enumerate(parts):
            head = f"{line.check:<{name}}  {line.state:<{state}}" if number == 0 else " " * (name + state + 2)
            output.line(f"{head}  {part}")
        if line.state == "warning":
            more = f"; and {len(line.places) - 1:,} more" if len(line.places) > 1 else ""
            indent = " " * (name + state + 4)
            for part in folded(f"for example: {line.examples[0]}{more}", max(width, 30)):
                output.line(f"{indent}{part}")
    states = [line.state for line in result.lines]
    counts = [f"{states.count(kind)} {kind}" for kind in ("ok", "warning", "wrong", "unknown")]
    output.line()
    output.line(", ".join(counts))
    if result.figure:
        output.line(f"contact sheet: {result.figure}")
