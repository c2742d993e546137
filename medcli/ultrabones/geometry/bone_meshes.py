"""Find and check the CT bone meshes of a specimen."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import TypeVar

import numpy as np

from medcli.core.errors import DataError
from medcli.core.made_with import fingerprint
from medcli.core.mesh import Mesh, read_stl
from medcli.ultrabones.dataset.folder_layout import specimen_folder
from medcli.ultrabones.dataset.records import Sweep
from medcli.ultrabones.geometry.bone_surface import Surface

MESH_FOLDER = "CT_bone_segmentations"
BONES = ("fibula", "foot", "tibia")
MERGED = ("CT_bone_model_merged", "CT_bone_model")
"""Names of the mesh of all bones: current release, first release."""
_SMALLEST_BONE_MM = 5.0

Done = TypeVar("Done")
logger = logging.getLogger(__name__)


def find_meshes(record_dir: Path | str, specimen: int, meshes: Path | None = None, merged: bool = False) -> list[Path]:
    """STL files of a specimen's bones.

    Args:
        record_dir: a record of the specimen.
        specimen: its number.
        meshes: where to look instead of the specimen's own folder: a folder with a folder for each specimen
            (``specimen01``, or named as the specimen's folder in the data), or with one specimen's meshes.
        merged: take the merged mesh of all bones instead of one mesh a bone.

    Returns:
        fibula, foot and tibia where present; else the merged mesh; else, in a folder given as ``meshes``, every STL.

    Raises:
        DataError: no mesh; says where it was looked for.
    """
    folders = list(_mesh_folders(record_dir, specimen, meshes))
    for folder in folders:
        files = {path.stem.lower(): path for path in sorted(folder.glob("*")) if path.suffix.lower() == ".stl"}
        single = [files[bone] for bone in BONES if bone in files]
        whole = [files[name.lower()] for name in MERGED if name.lower() in files][:1]
        others = list(files.values()) if meshes is not None else []
        found = whole if merged else single or whole or others
        if found:
            return found
    wanted = f"{MERGED[0]}.stl" if merged else "fibula.stl, foot.stl or tibia.stl"
    looked = ", ".join(str(folder) for folder in folders) or str(record_dir)
    raise DataError(
        f"no bone mesh of specimen {specimen}: expected {wanted} in {looked}", "name the folder of meshes with --meshes"
    )


def load_surfaces(paths: Sequence[Path]) -> list[Surface]:
    """Read meshes, each a :class:`Surface` named after its file.

    Raises:
        DataError: a mesh cannot be read, or is not in millimetres.
    """
    return [Surface.from_mesh(_read_checked(path), path.stem) for path in paths]


def for_each_record(
    sweeps: Sequence[Sweep],
    meshes: Path | None,
    merged: bool,
    work: Callable[[Sweep, list[Surface]], tuple[Done, list[str]]],
) -> tuple[list[Done], list[str]]:
    """``work`` on every record with the surfaces of its specimen, which are read once.

    Args:
        meshes, merged: see :func:`find_meshes`.
        work: gives what became of a record, and its failures; a record that it refuses is a failure.

    Returns:
        what became of the records, and the failures of all, one line each.

    Raises:
        DataError: every record was refused; the first reason.
    """
    done: list[Done] = []
    errors: list[DataError] = []
    failures: list[str] = []
    for _, group in groupby(sweeps, key=lambda sweep: (sweep.specimen, specimen_folder(sweep.folder))):
        surfaces: list[Surface] = []
        for sweep in group:
            try:
                surfaces = surfaces or load_surfaces(find_meshes(sweep.folder, sweep.specimen, meshes, merged))
                result, failed = work(sweep, surfaces)
                done.append(result)
                failures += failed
            except DataError as error:
                errors.append(error)
                failures.append(f"{sweep.name}: {error.message}")
    if errors and not done:
        raise errors[0]
    return done, failures


def digest(surfaces: Sequence[Surface]) -> str:
    """A short text that changes when any triangle of the surfaces does."""
    return fingerprint(*(surface.triangles.astype("<f8").tobytes() for surface in surfaces))


def _mesh_folders(record_dir: Path | str, specimen: int, meshes: Path | None) -> Iterator[Path]:
    own = specimen_folder(record_dir)
    if meshes is None:
        if own is not None:
            yield from (own / MESH_FOLDER, own)
        return
    if not meshes.is_dir():
        raise DataError(f"no folder of meshes {meshes}", "name an existing folder with --meshes")
    names = dict.fromkeys([own.name if own is not None else "", f"specimen{specimen:02d}"])
    for folder in [*(meshes / name for name in names if name), meshes]:
        yield from (each for each in (folder / MESH_FOLDER, folder) if each.is_dir())


def _read_checked(path: Path) -> Mesh:
    mesh = read_stl(path)
    extent = float(np.ptp(mesh.bounds, axis=0).max())
    if extent < _SMALLEST_BONE_MM:
        raise DataError(
            f"mesh {path} is {extent:.3g} mm long as it stands; a leg bone is 50 to 500 mm, so this looks like metres",
            "scale it by 1000: coordinates must be millimetres",
        )
    if not mesh.is_watertight():
        logger.warning("mesh %s is not watertight: labels have gaps where its surface has holes", path)
    return mesh
