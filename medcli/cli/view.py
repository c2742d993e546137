"""``medcli view``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from medcli.cli.shared import options
from medcli.cli.shared.multi_value_options import App
from medcli.cli.shared.output import Output, say
from medcli.core.errors import UsageError
from medcli.core.files import check_output_folder
from medcli.core.refusals import refusals

if TYPE_CHECKING:
    from medcli.viewing.settings import TargetKind, ViewResult

app = App()


@app.command("view")
def view(
    ctx: typer.Context,
    output: Output,
    target: Annotated[
        str,
        typer.Argument(
            metavar="RECORD|PAIR|TRIAL|RUN",
            help="Folder of a record; id of a pair (17); trial:5; folder or table of a run; or an .rrd file.",
            show_default=False,
        ),
    ],
    root: Annotated[
        Path | None,
        typer.Option(
            help="Folder of Veriserum.  [default: that of the run, else data/veriserum]", envvar="MEDCLI_VERISERUM_ROOT"
        ),
    ] = None,
    save: Annotated[
        Path | None, typer.Option(metavar="FILE.rrd", help="Write a file instead of opening a window.")
    ] = None,
    web: Annotated[bool, typer.Option(help="Serve it to a browser, on this machine alone.")] = False,
    every: Annotated[int, typer.Option(min=1, metavar="N", help="Only every N-th frame.")] = 1,
    masks: Annotated[
        list[str] | None,
        typer.Option("--mask", metavar="NAME", help="Folders of masks.  [default: all of the record]"),
    ] = None,
    poses: options.PosesOfMasks = None,
    meshes: options.Meshes = None,
    merged: options.Merged = False,
    probe: options.ProbeChoice = None,
    trials: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="Trials of a run of medcli kinematics.  [default: the first]"),
    ] = None,
    calibrated: options.Calibrated = None,
    implants: options.Implants = None,
    inter_plane: options.InterPlane = None,
    pose_frame: Annotated[
        Literal["world", "fs", "source-bs"] | None,
        typer.Option(help="Coordinate frame of the poses; world is that of plane bs."),
    ] = None,
    side: Annotated[
        Literal["right", "left"] | None,
        typer.Option(help="Side of the knee.  [default: as stated by the table, else right]"),
    ] = None,
    quality: Annotated[int, typer.Option(min=1, max=100, help="Quality of the JPEG images.")] = 75,
    workers: options.Workers = None,
    overwrite: options.Overwrite = False,
) -> None:
    """See a record, pair, trial or run in space and time.

    Ultrasound: the bones, the image moving through CT space, masks as points coloured by their distance to the bone,
    the path of the probe. X-ray: both planes as cameras with their images, implants, outlines, and the knee's angles
    over time, in the frame that a run notes, else --pose-frame, else world. The viewer is rerun, the extra view: pip
    install "medcli[view]".

    \b
    A record, in a window; a trial, in the browser:
      medcli view data/ultrabones/specimen02/ultrasound_records/fibula/record01
      medcli view trial:5 --web
    A file to look at on another machine, with every fifth frame:
      medcli view runs/kinematics-veriserum --every 5 --save knee.rrd
    """
    from medcli.ultrabones.dataset.probe import find_probe
    from medcli.veriserum.dataset.contents_check import check_inter_plane
    from medcli.viewing.targets import find_target, pose_frame_of
    from medcli.viewing.viewer import check_display, check_rerun, check_save_path

    with refusals() as check:
        if found := check(find_target, target, root, options.VERISERUM_ROOT):
            check(_refuse_unused, ctx, found.kind)
            check(pose_frame_of, found, pose_frame)
        check(check_rerun)
        calibration = check(find_probe, probe)
        check(check_inter_plane, inter_plane)
        check(check_save_path, save, overwrite)
        if save:
            check(check_output_folder, save.parent, "--save")
            if web:
                check(_refuse_both)
        elif not web:
            check(check_display)
    assert found is not None
    from medcli.viewing.settings import ViewSettings
    from medcli.viewing.view import save_view, show_view

    settings = ViewSettings(
        every=every,
        masks=tuple(masks) if masks else None,
        poses=poses,
        meshes=meshes,
        merged=merged,
        probe=calibration,
        calibrated=calibrated,
        implants=implants,
        inter_plane=inter_plane,
        pose_frame=pose_frame,
        side=side,
        trials=tuple(trials) if trials else None,
        quality=quality,
        workers=workers,
    )
    if save:
        result = save_view(found, save, settings, overwrite, output.progress())
    else:
        result = show_view(found, web, lambda text: say("", text), settings, output.progress())
    output.finish(result, lambda done: _show(output, done))


def _refuse_unused(ctx: typer.Context, kind: TargetKind) -> None:
    """Refuse options that were typed and mean nothing for what is shown."""
    from medcli.viewing.settings import APPLIES

    choices = {name for names in APPLIES.values() for name in names}
    typed = [
        param.opts[0]
        for param in ctx.command.params
        if param.name in choices - set(APPLIES[kind])
        and (source := ctx.get_parameter_source(param.name)) is not None
        and source.name == "COMMANDLINE"
    ]
    if typed:
        what = {"file": "a saved file", "bones": "a cloud of bone", "poses": "a table of poses"}.get(kind, f"a {kind}")
        raise UsageError(
            f"{' '.join(typed)} {'does' if len(typed) == 1 else 'do'} not apply to {what}",
            "leave it out" if len(typed) == 1 else "leave them out",
        )


def _refuse_both() -> None:
    raise UsageError("--save and --web were both given", "save it first; medcli view FILE.rrd --web serves the file")


def _show(output: Output, result: ViewResult) -> None:
    from medcli.transfer.plan import gigabytes

    shown = {
        "shown": result.title,
        "frames": f"{result.frames:,} of {result.frames_there:,}" if result.frames else "",
        "in space": ", ".join(f"{name} {count:,}" for name, count in result.contents.items()),
        "colours": f"0 to {result.scale_mm:g} mm from the bone" if result.scale_mm else "",
        "size": gigabytes(result.bytes) if result.file else "",
        "file": result.file or "",
    }
    output.pairs({name: text for name, text in shown.items() if text})
