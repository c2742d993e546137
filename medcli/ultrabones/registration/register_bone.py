"""Register a cloud file to the meshes of a folder and write what was found (``medcli register bone``)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medcli.core.errors import UsageError, quantity
from medcli.core.files import make_output_folder, write_json, write_text
from medcli.core.json_text import read_object, to_plain
from medcli.core.made_with import differences, fingerprint, reject_other_options
from medcli.core.progress import activity
from medcli.core.rigid_transforms import rotation_angle_deg, transform_points
from medcli.core.run_provenance import note_run
from medcli.ultrabones.dataset.publication import ABOUT
from medcli.ultrabones.geometry.bone_meshes import digest, load_surfaces
from medcli.ultrabones.geometry.bone_surface import Surface
from medcli.ultrabones.reconstruction.figure import distance_colours, draw_cloud
from medcli.ultrabones.reconstruction.mask_points import CUT_FROM_CT
from medcli.ultrabones.reconstruction.point_cloud import DistanceSummary, surface_distances, write_ply
from medcli.ultrabones.registration.cloud_input import is_cut_from_ct, read_cloud, read_matrix
from medcli.ultrabones.registration.determined_directions import Determination, Direction
from medcli.ultrabones.registration.mesh_folder import check_outputs, meshes_in, written_files
from medcli.ultrabones.registration.register_cloud import BoneRegistration, RunnerUp, measured_part, register_cloud
from medcli.ultrabones.registration.surface_samples import BoneTarget
from medcli.ultrabones.registration.verdict import FAILED, WITHIN_MM

SCHEMA = "medcli.register_bone.v1"
_FARTHEST_MM = 20.0
"""Distances in the PLY file are at most this."""


@dataclass(frozen=True)
class RegisterBoneResult:
    """The answer of ``medcli register bone``.

    Attributes:
        cloud: the file that was registered.
        meshes: names of the bones.
        not_finite: points that were not finite numbers and were left out.
        init: file of the start; None: none was given.
        seed: of the search.
        registration: what was found.
        centre_shift_mm, rotation_deg: how far the transform moves the centroid of the cloud, and turns the cloud. The
            translation in the matrix is that of the origin, which may lie far from the bone.
        files: what was written, beside each other: JSON, 4 x 4 text, the registered cloud (PLY), the figure.
        caution: that the points were cut from CT, where a note of ``medcli reconstruct`` tells so; empty otherwise.
        failures: why it failed; empty otherwise.
    """

    cloud: Path
    meshes: tuple[str, ...]
    not_finite: int
    init: Path | None
    seed: int
    registration: BoneRegistration
    centre_shift_mm: float
    rotation_deg: float
    files: tuple[str, ...]
    caution: str = ""
    failures: tuple[str, ...] = ()
    schema: str = SCHEMA


def register_bone(
    cloud: Path, meshes: Path, out: Path, init: Path | None = None, seed: int = 0, overwrite: bool = False
) -> RegisterBoneResult:
    """Register the points of ``cloud`` to the meshes in ``meshes`` and write ``out`` (JSON) and its companions.

    ``<stem>.json`` holds the result, ``<stem>.txt`` the 4 x 4 matrix (cloud to CT, row by row), ``<stem>.ply`` the
    cloud in CT with its distances, ``<stem>.png`` the figure. A result that was made from the same things is left
    alone.

    Raises:
        DataError: cloud, meshes or start cannot be used; says why.
        UsageError: a file to write is an input, or is there, made from something else or by something else, and
            ``overwrite`` is off.
    """
    check_outputs(out, cloud, init)
    paths = meshes_in(meshes)
    with activity("reading the cloud and the meshes"):
        start = read_matrix(init) if init else None
        points = read_cloud(cloud)
        surfaces = load_surfaces(paths)
    made_from = fingerprint(
        points.points.tobytes(), digest(surfaces), repr((seed, None if start is None else start.tolist()))
    )
    files = tuple(path.name for path in written_files(out))
    if not overwrite:
        _refuse_others(out, made_from, {"cloud": str(cloud), "init": init and str(init), "seed": seed})
    earlier = None if overwrite else _read_earlier(out, made_from, files)
    if earlier is None:
        with activity("preparing the bones"):
            target = BoneTarget.of(surfaces)
        with activity("registering"):
            registration = register_cloud(points.points, target, start, seed)
    else:
        registration = earlier
    centre = measured_part(points.points).mean(axis=0)
    result = RegisterBoneResult(
        cloud=cloud,
        meshes=tuple(surface.name for surface in surfaces),
        not_finite=points.not_finite,
        init=init,
        seed=seed,
        registration=registration,
        centre_shift_mm=round(float(np.linalg.norm(transform_points(registration.matrix, centre) - centre)), 4),
        rotation_deg=round(float(rotation_angle_deg(registration.matrix[:3, :3])), 4),
        files=files,
        caution=CUT_FROM_CT if is_cut_from_ct(cloud) else "",
        failures=tuple(registration.reasons[:1]) if registration.status == FAILED else (),
    )
    if earlier is None or read_object(out).get("caution") != result.caution:
        make_output_folder(out.parent)
        _write(out, points.points, surfaces, result, made_from)
    settings = {"cloud": cloud, "meshes": meshes, "out": out, "init": init, "seed": seed}
    note_run(out, "register bone", ABOUT, meshes, settings, {"status": registration.status}, "cpu")
    return result


def _write(
    out: Path, points: NDArray[np.float64], surfaces: list[Surface], result: RegisterBoneResult, made_from: str
) -> None:
    registration = result.registration
    write_json(out.with_suffix(".json"), {"made_from": made_from})  # so that a run after a killed one knows its files
    moved = transform_points(registration.matrix, measured_part(points))
    distances = np.minimum(surface_distances(moved, surfaces), _FARTHEST_MM)
    shown = np.minimum(distances, WITHIN_MM)
    write_ply(out.with_suffix(".ply"), moved, distances, distance_colours(shown, WITHIN_MM))
    title = (
        f"{result.cloud.name} registered: {registration.status}, {quantity(len(moved), 'point')}, "
        f"{100 * registration.explained:.0f} % within {WITHIN_MM:g} mm"
    )
    draw_cloud(out.with_suffix(".png"), moved, shown, surfaces, title, WITHIN_MM)
    rows = [" ".join(f"{value:.10f}" for value in row) for row in registration.transform]
    write_text(out.with_suffix(".txt"), "\n".join(rows) + "\n")
    write_json(out.with_suffix(".json"), {**to_plain(result), "made_from": made_from})  # last


def _refuse_others(out: Path, made_from: str, settings: Mapping[str, object]) -> None:
    """Raise :class:`UsageError` where files are there that a run from the same things did not write."""
    stored = read_object(out)
    there = [path for path in written_files(out) if path.exists()]
    if not there or stored.get("made_from") == made_from:
        return
    remedy = "--overwrite replaces it; or name another --out"
    if "made_from" not in stored:
        raise UsageError(f"{there[0]} is there and not by a finished medcli register bone", remedy)
    changed = differences(stored, settings) or ["the contents of the cloud, the start or the meshes differ"]
    reject_other_options(out, changed, remedy)


def _read_earlier(out: Path, made_from: str, files: tuple[str, ...]) -> BoneRegistration | None:
    """What an earlier run of this version found from the same things, if all its files are still there."""
    found = read_object(out.with_suffix(".json"))
    if (
        found.get("made_from") != made_from
        or "caution" not in found
        or not all((out.parent / name).is_file() for name in files)
    ):
        return None
    try:
        return registration_from(found["registration"])
    except (KeyError, TypeError):
        return None


def registration_from(values: Mapping[str, Any]) -> BoneRegistration:
    """A registration from its JSON object.

    Raises:
        KeyError, TypeError: it is of another version.
    """
    of = values["determination"]
    directions = tuple(Direction(**{**one, "axis": tuple(one["axis"])}) for one in of["directions"])
    vectors = {name: tuple(of[name]) for name in ("centre_mm", "eigenvalues")}
    other, distance = values["runner_up"], values["distance_mm"]
    changed = {
        "determination": Determination(**{**of, **vectors, "directions": directions}),
        "runner_up": other and RunnerUp(**{**other, "transform": tuple(map(tuple, other["transform"]))}),
        "distance_mm": distance and DistanceSummary(**distance),
        "by_bone": {name: DistanceSummary(**one) for name, one in values["by_bone"].items()},
        "transform": tuple(map(tuple, values["transform"])),
        "reasons": tuple(values["reasons"]),
        "undetermined": tuple(values["undetermined"]),
    }
    return BoneRegistration(**{**values, **changed})
