"""``medcli register bone``: lay a reconstructed bone on CT meshes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from medcli.cli.shared import options
from medcli.cli.shared.output import Output
from medcli.core.errors import DataError, UsageError
from medcli.core.files import check_output_folder, check_readable
from medcli.core.refusals import refusals
from medcli.ultrabones.registration.mesh_folder import check_outputs, meshes_in

if TYPE_CHECKING:
    from medcli.ultrabones.registration.register_bone import RegisterBoneResult

_SUFFIXES = (".ply", ".xyz")


def bone(
    output: Output,
    cloud: Annotated[
        Path,
        typer.Argument(metavar="CLOUD", help="Points in mm, .ply or .xyz, in any position.", show_default=False),
    ],
    meshes: Annotated[Path, typer.Option(help="Folder of STL meshes from CT, one a bone; together they are one body.")],
    out: Annotated[
        Path, typer.Option(help="File of the transform, JSON; .txt, .ply and .png are written beside it.")
    ] = options.RUNS / "register-bone" / "transform.json",
    init: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="A 4 x 4 matrix within about 10 mm and 10 degrees, text.  [default: none, all poses are searched]",
        ),
    ] = None,
    seed: options.Seed = 0,
    overwrite: options.Overwrite = False,
) -> None:
    """Register a reconstructed bone to CT, without a start.

    Finds the transform from the cloud to the meshes, and says how sure it is: residuals by bone, standard errors of
    the six directions, the next best pose, and whether the mirror image of the meshes (the other leg) fits better.
    Directions that the points do not determine are named; a shaft alone hardly fixes how far it slides and turns.

    \b
    A cloud of medcli reconstruct; then one of your own, into another folder:
      medcli register bone runs/bone/cloud.ply --meshes data/ultrabones/specimen01
      medcli register bone scan.xyz --meshes meshes --out runs/scan/transform.json
    """
    with refusals() as check:
        check(_check_cloud, cloud)
        check(meshes_in, meshes)
        check(_check_out, out)
        check(check_outputs, out, cloud, init)
        if init:
            check(check_readable, init)
        check(check_output_folder, out.parent)
    from medcli.ultrabones.registration.register_bone import register_bone

    result = register_bone(cloud, meshes, out, init, seed, overwrite)
    output.finish(result, lambda done: _show(output, done, out))


def _check_cloud(cloud: Path) -> None:
    if cloud.suffix.lower() not in _SUFFIXES:
        raise DataError(
            f"{cloud} is not a point cloud: expected {' or '.join(_SUFFIXES)}", "medcli reconstruct writes both"
        )
    check_readable(cloud)


def _check_out(out: Path) -> None:
    if out.suffix.lower() != ".json":
        raise UsageError(f"--out is a JSON file, not {out.name}", f"--out {out.with_suffix('.json')}")


def _show(output: Output, result: RegisterBoneResult, out: Path) -> None:
    from medcli.ultrabones.registration.verdict import LEAD

    found = result.registration
    left_out = f", {result.not_finite:,} not finite" if result.not_finite else ""
    rows: dict[str, str | tuple[str, ...]] = {
        "status": found.status,
        **({"because": found.reasons} if found.reasons else {}),
        **({"beware": result.caution} if result.caution else {}),
        "points": f"{found.points:,}, {found.points_used:,} after thinning{left_out}; "
        f"{100 * found.explained:.0f} % of these within 2 mm of a bone, to which the residuals belong, "
        f"and {100 * found.close:.0f} % of those within 1 mm",
    }
    if found.runner_up:
        other = found.runner_up
        moved = f"moves the points by {other.displacement_mm:.0f} mm and {other.rotation_deg:.0f} degrees"
        apart = f"{'trails' if other.lead >= 0 else 'leads'} by {abs(other.lead):.1f} standard errors"
        if other.lead < LEAD:
            apart += f", {LEAD:g} tell poses apart; its matrix is under runner_up in {out.name}"
        rows["next pose"] = f"{moved}; {apart}"
    if found.mirror_lead is not None:
        word = "trails" if found.mirror_lead >= 0 else "leads"
        rows["mirror image"] = f"{word} by {abs(found.mirror_lead):.1f} standard errors"
    output.pairs(rows)
    output.line()
    distances = {**({"all": found.distance_mm} if found.distance_mm else {}), **found.by_bone}
    output.table(
        ["residuals, mm", "mean", "median", "95 %"],
        [[name, *(f"{v:.2f}" for v in (one.mean, one.median, one.percentile_95))] for name, one in distances.items()],
    )
    output.line()
    output.table(
        ["direction", "standard error", "determined"],
        [
            [one.name, f"{one.standard_error:.2f} {one.unit}", "yes" if one.determined else "no"]
            for one in found.determination.directions
        ],
    )
    output.line()
    for row in found.transform:
        output.line(" ".join(f"{value:12.6f}" for value in row))
    output.line()
    output.line(
        f"cloud to CT, millimetres: the centre of the cloud moves by {result.centre_shift_mm:.2f} mm, and the cloud "
        f"turns by {result.rotation_deg:.2f} degrees; {', '.join(result.files)} in {out.parent}"
    )
