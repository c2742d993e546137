"""``medcli label``."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from medcli.cli.shared import options
from medcli.cli.shared.multi_value_options import App
from medcli.cli.shared.output import Output
from medcli.core.errors import quantity
from medcli.core.files import check_figure_path, check_output_folder
from medcli.core.refusals import refusals
from medcli.ultrabones.dataset.presence import check_records
from medcli.ultrabones.dataset.probe import ULTRABONES100K, find_probe
from medcli.ultrabones.labelling.label_rules import BOTH, LABEL_RULES, refuse_initial_poses

if TYPE_CHECKING:
    from medcli.ultrabones.labelling.label_dataset import LabelledRecord, LabelResult
    from medcli.veriserum.labelling.implant_masks import ImplantMaskResult

RefineWay = Literal["frames", "sweep"]
_BOUND = 1.0
logger = logging.getLogger(__name__)
app = App()


@app.command("ultrabones")
def ultrabones(
    output: Output,
    root: options.UltrabonesRoot = options.ULTRABONES_ROOT,
    specimens: options.Specimens = None,
    records: options.Records = None,
    meshes: options.Meshes = None,
    merged: options.Merged = False,
    probe: options.ProbeChoice = None,
    poses: options.KnownPoses = None,
    refine: Annotated[
        RefineWay | None,
        typer.Option(
            metavar="[frames|sweep]",
            help="First refine the poses so that bright pixels coincide with the bone: each frame by itself, as "
            "published (frames, and --refine alone), or the record as one smooth motion (sweep).",
        ),
    ] = None,
    bound: Annotated[
        float,
        typer.Option(min=0.01, max=10, help="Largest correction of each component, in mm and in degrees."),
    ] = _BOUND,
    kind: Annotated[str, options.choice(LABEL_RULES, BOTH)] = BOTH,
    visible_rule: Annotated[
        Literal["first-run", "echo"],
        typer.Option(
            help="What partial labels hold: first-run: what the beam meets first; echo: of that, what is bright with a "
            "shadow below."
        ),
    ] = "first-run",
    overlay: Annotated[bool, typer.Option(help="Also draw each label over its frame.")] = False,
    workers: options.Workers = None,
    seed: options.Seed = 0,
    overwrite: options.Overwrite = False,
    dry_run: options.DryRun = False,
) -> None:
    """Label every frame with the bone that its plane cuts.

    Bone is the surface of the CT mesh within 0.1 mm of the image plane.

    Writes Labels_full/ and Labels/ in each record. With --refine also refinement.csv, refinement.json and
    the _optimized columns of the tracking table, whose original is kept.

    \b
    Look first at what would be written:
      medcli label ultrabones --specimens 2 --dry-run
      medcli label ultrabones --specimens 2 --overlay
    """
    with refusals() as check:
        check(refuse_initial_poses, bool(refine), poses)
        calibration = check(find_probe, probe)
        check(check_records, root, specimens, records, meshes, merged)
    if bound != _BOUND and not refine:
        logger.warning("--bound has no effect without --refine")
    if visible_rule == "echo" and kind == "full":
        logger.warning("--visible-rule has no effect with --kind full: it is about partial labels")
    from medcli.ultrabones.labelling.label_dataset import LabelSettings, label_ultrabones
    from medcli.ultrabones.pose_refinement.refine_frame import RefineSettings

    refining = RefineSettings(seed=seed, bound=bound)
    settings = options.settings_from(LabelSettings, locals(), refine_settings=refining, probe=calibration)
    result = label_ultrabones(root, specimens, records, settings, workers, output.progress())
    output.finish(result, lambda found: _show(output, found))


def _show(output: Output, result: LabelResult) -> None:
    header = ("record", "poses", "frames", "empty", "files", "kept", "visible")
    rows = [
        (
            r.name,
            r.poses,
            r.frames,
            r.empty,
            r.written,
            r.present,
            f"{100 * r.visible_share:.0f} %" if r.visible_share else "-",
        )
        for r in result.records
    ]
    output.table(header, rows)
    output.line()
    for record in result.records:
        for line in _remarks(record, result.dry_run):
            output.line(f"{record.name}: {line}")
    for line in result.shared_corrections:
        output.line(line)
    verb = "would write" if result.dry_run else "wrote"
    kept = f"; {result.present:,} label files existed" if result.present else ""
    rejected = sum(record.rejected for record in result.records)
    labelled = f"{result.frames - rejected:,} of " if rejected else ""
    frames = quantity(result.frames, "frame")
    output.line(f"{verb} {quantity(result.written, 'file')} for {labelled}{frames}{kept}")


def _remarks(record: LabelledRecord, dry_run: bool) -> list[str]:
    from medcli.ultrabones.pose_refinement.refinement_summary import remarks_on

    lines = [] if record.probe == ULTRABONES100K.name else [f"probe: {record.probe}"]
    moved = record.refinement
    if moved is not None and dry_run and moved.computed:
        lines.append(f"would refine {quantity(moved.computed, 'pose')}, into refinement.csv and the tracking table")
    elif moved is not None and not moved.foreign and not dry_run:
        gain = f", J {moved.objective_before:,.0f} to {moved.objective_after:,.0f}" if moved.refined else ""
        lines.append(
            f"{quantity(moved.refined, 'pose')} refined (median {moved.displacement_mm:.2f} mm{gain}), "
            f"{moved.kept} kept"
        )
        lines += [line for line in remarks_on(moved) if line != moved.doubt]  # which was a warning
    if len(record.bones) > 1 and any(record.missed.values()):
        lines.append("frames missed by " + ", ".join(f"{bone}: {n}" for bone, n in record.missed.items()))
    if record.untracked:
        lines.append(f"{quantity(record.untracked, 'image')} without a row in the tracking table, not labelled")
    return lines


@app.command("veriserum")
def veriserum(
    output: Output,
    root: options.VeriserumRoot = options.VERISERUM_ROOT,
    out: Annotated[Path | None, typer.Option(help="Folder of the masks.  [default: ROOT/implant_masks]")] = None,
    ids: options.Ids = None,
    size: Annotated[int, typer.Option(min=1, max=4096, help="Pixels along each side.")] = 512,
    single_file: Annotated[
        bool, typer.Option(help="One file an image: 1 femur, 2 tibia, 3 where both project.")
    ] = False,
    poses: options.PoseTable = None,
    inter_plane: options.InterPlane = None,
    pose_frame: options.PoseFrame = "world",
    figure: Annotated[
        Path | None, typer.Option(help="Masks over some images, PNG or JPEG.  [default: not drawn]")
    ] = None,
    workers: options.Workers = None,
    overwrite: options.Overwrite = False,
    dry_run: options.DryRun = False,
) -> None:
    """Write the projected silhouette of each implant as a mask, on the grid of the calibrated images.

    Writes femur_bs_NNNNNN.png, tibia_bs_NNNNNN.png and likewise for fs, of 0 and 255. X-rays pass through both
    implants, so where they overlap each keeps its whole silhouette. Masks that exist are not made again.

    \b
    Masks for the calibrated images of 512 pixels, and a look at them:
      medcli label veriserum --figure masks.jpg
    """
    from medcli.veriserum.dataset import contents_check, folder_index

    with refusals() as check:
        check(contents_check.check_table, root, folder_index.POSES, poses)
        check(contents_check.check_table, root, folder_index.SOURCES)
        check(contents_check.check_inter_plane, inter_plane)
        check(check_figure_path, figure)
        if out and not dry_run:
            check(check_output_folder, out)
    from medcli.veriserum.geometry.biplane import PoseFrame
    from medcli.veriserum.labelling.implant_masks import ImplantMaskSettings, label_implants
    from medcli.veriserum.registration.start_poses import Sources

    result = label_implants(
        Sources(root, poses=poses, inter_plane=inter_plane, frame=PoseFrame(pose_frame)),
        out,
        ImplantMaskSettings(size, single_file),
        options.id_filter(ids),
        figure,
        workers,
        overwrite,
        dry_run,
        output.progress(),
    )
    output.finish(result, lambda found: _show_masks(output, found))


def _show_masks(output: Output, result: ImplantMaskResult) -> None:
    rows = {
        "to do" if result.dry_run else "done": f"{quantity(result.done, 'mask')} of {quantity(result.pairs, 'pair')}",
        "existing": f"{result.skipped:,}",
        "failed": f"{len(result.failures):,}",
        "both components": f"{quantity(result.both, 'pair')}; the others have one pose",
    }
    if result.empty:
        rows["empty"] = f"{result.empty:,}, the implant lies outside the image"
    if result.files_per_second:
        rows["speed"] = f"{result.files_per_second:,.0f} masks/s, {result.seconds:,.1f} s"
    rows["masks"] = f"{result.out}{' (dry run: nothing written)' if result.dry_run else ''}"
    output.pairs(rows | ({"figure": result.figure} if result.figure else {}))
