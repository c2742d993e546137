"""``medcli evaluate registration``: bone registered to CT from random starts."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from medcli.cli.shared import options
from medcli.cli.shared.output import Output
from medcli.core.errors import quantity
from medcli.core.files import check_output_folder
from medcli.core.refusals import refusals
from medcli.ultrabones.dataset.presence import check_record_masks, check_records

if TYPE_CHECKING:
    from medcli.ultrabones.registration.evaluate_registration import RegistrationEvaluation
    from medcli.ultrabones.registration.random_starts import Recovery


def registration(
    output: Output,
    root: options.UltrabonesRoot = options.ULTRABONES_ROOT,
    specimens: options.Specimens = None,
    records: options.Records = None,
    anatomies: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="Bones: fibula, tibia, foot.  [default: fibula tibia]"),
    ] = None,
    mask: options.MaskFolder = "Labels",
    poses: options.PosesOfMasks = None,
    meshes: options.Meshes = None,
    starts: Annotated[int, typer.Option(min=1, max=10_000, help="Random starts of each specimen and bone.")] = 10,
    success_mm: Annotated[float, typer.Option(min=0.0, help="A start is recovered within this RTE.")] = 5.0,
    success_deg: Annotated[float, typer.Option(min=0.0, help="A start is recovered within this RRE.")] = 5.0,
    out: Annotated[Path, typer.Option(help="Folder of the results.")] = options.RUNS / "evaluate" / "registration",
    workers: options.Workers = None,
    seed: options.Seed = 0,
    overwrite: options.Overwrite = False,
) -> None:
    """Measure how well bone is registered to CT from random starts.

    The records of a specimen and bone are merged into one cloud, moved at random (all rotations, 500 mm) and
    registered, as in NeuralBoneReg (Wu et al. 2026). RTE: how far the cloud's centre is off; RRE: angle of the
    rotation. The limits of recall are ours, since the published ones were not found.

    \b
    From labels; from masks that medcli predict seg wrote:
      medcli evaluate registration --specimens 2 7 8
      medcli evaluate registration --specimens 2 7 8 --mask Labels_pred
    """
    with refusals() as check:
        check(check_records, root, specimens, records, meshes, False)
        check(check_record_masks, root, specimens, records, mask)
        check(check_output_folder, out)
    from medcli.ultrabones.registration.evaluate_registration import (
        PUBLISHED_ANATOMIES,
        RegistrationSettings,
        evaluate_registration,
    )

    settings = options.settings_from(RegistrationSettings, locals())
    chosen = tuple(anatomies) if anatomies else PUBLISHED_ANATOMIES
    result = evaluate_registration(
        root, out, specimens, records, chosen, settings, workers, overwrite, output.progress()
    )
    output.finish(result, lambda found: _show(output, found))


def _show(output: Output, result: RegistrationEvaluation) -> None:
    header = ["bone", "starts", "recall", "RTE mm", "SD", "RRE deg", "SD", "good", "wrong"]
    rows = [
        _row(" ".join(filter(None, (f"specimen{case.specimen:02d}", case.anatomy))), case.recovery)
        for case in result.cases
    ]
    rows += [_row(f"all {anatomy}", one) for anatomy, one in result.per_anatomy.items() if len(result.per_anatomy) > 1]
    output.table(header, [*rows, _row("all", result.overall)])
    output.line()
    for case in result.cases:
        if case.undetermined:
            output.line(f"specimen{case.specimen:02d} {case.anatomy}, not determined: {'; '.join(case.undetermined)}")
    limits = f"{result.settings.success_mm:g} mm and {result.settings.success_deg:g} degrees"
    output.line(f"recall: within {limits} (our limits); mean and SD over all starts")
    output.line("wrong: called good, but outside of the limits")
    output.line(f"{quantity(result.overall.starts, 'start')} of {result.settings.mask} in {result.out}")


def _row(name: str, one: Recovery) -> list[str | int]:
    means = (*one.rte_mm, *one.rre_deg)
    return [
        name,
        one.starts,
        f"{100 * one.recall:.1f} %",
        *(f"{value:.2f}" for value in means),
        one.good,
        one.wrong_good,
    ]
