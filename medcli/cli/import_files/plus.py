"""``medcli import plus``: make records of sequence files of the PLUS toolkit."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from medcli.cli.shared import options
from medcli.cli.shared.output import Output
from medcli.core.errors import quantity
from medcli.core.files import check_readable
from medcli.core.refusals import refusals
from medcli.ultrabones.dataset.probe import find_probe

if TYPE_CHECKING:
    from medcli.ultrabones.plus.import_plus import ImportedRecord


def plus(
    output: Output,
    source: Annotated[
        Path, typer.Argument(metavar="SEQUENCE", help="Tracked frames of the PLUS toolkit: .igs.mha, .mha or .mhd.")
    ],
    out: Annotated[Path, typer.Option(help="Folder of the record: …/specimen01/ultrasound_records/tibia/record01.")],
    probe: Annotated[
        str | None,
        typer.Option(
            metavar="FILE|PRESET",
            help="Calibration of the probe: a probe.json or a preset.  [default: ImageToProbe of SEQUENCE]",
        ),
    ] = None,
    transform: Annotated[
        str | None,
        typer.Option(
            metavar="NAME", help="Transform from the probe to what stands still.  [default: ProbeToReference]"
        ),
    ] = None,
    overwrite: options.Overwrite = False,
) -> None:
    """Make a record that label, reconstruct and predict read.

    Writes UltrasoundImages/<milliseconds>.png, tracking.csv, probe.json and imported.json. Frames without a valid
    transform are skipped and counted; images are turned so that depth increases downwards (orientation MF).

    \b
    One sweep along a tibia, then its labels from CT:
      medcli import plus sweep.igs.mha --probe probe.json \\
        --out data/mine/specimen01/ultrasound_records/tibia/record01
      medcli label ultrabones --root data/mine --meshes meshes
    """
    with refusals() as check:
        check(check_readable, source)
        calibration = check(find_probe, probe)
    from medcli.ultrabones.plus.import_plus import import_plus

    result = import_plus(source, out, calibration, transform, overwrite, output.progress())
    output.finish(result, lambda done: _show(output, done))


def _show(output: Output, done: ImportedRecord) -> None:
    skipped = {
        "no valid transform": done.invalid,
        "no rigid transform": done.not_rigid,
        "no valid image": done.without_image,
        "no timestamp": done.without_time,
    }
    reasons = ", ".join(f"{count:,} with {reason}" for reason, count in skipped.items() if count)
    rows = {
        "record": done.out,
        "frames": f"{done.written:,} of {done.frames:,}, {done.columns} x {done.rows} pixels",
        "skipped": reasons or "none",
        "poses": done.transform,
        "probe": done.probe or "none: label and reconstruct need one",
    }
    if done.assumed:
        rows["orientation"] = "MF, assumed: the file does not say it"
    elif done.orientation != "MF":
        rows["orientation"] = f"{done.orientation}, turned to MF"
    if done.numbered:
        rows["timestamps"] = "none in the file: frames are numbered"
    elif remarks := _on_times(done):
        rows["timestamps"] = "; ".join(remarks)
    output.pairs(rows)


def _on_times(done: ImportedRecord) -> list[str]:
    remarks = []
    if done.descending:
        remarks.append(f"run back {quantity(done.descending, 'time')}: the record is in the order of time")
    if done.advanced_s:
        remarks.append(f"some are negative: all are advanced by {done.advanced_s:g} s")
    if done.shifted:
        remarks.append(f"{quantity(done.shifted, 'frame')} moved by a millisecond or more: two had the same one")
    return remarks
