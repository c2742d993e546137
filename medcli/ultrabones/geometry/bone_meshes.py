"""Read and check the CT bone meshes of a specimen."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from itertools import groupby
from pathlib import Path
from typing import TypeVar

from medcli.core.errors import DataError
from medcli.core.made_with import fingerprint
from medcli.core.mesh import Mesh, check_millimetres, read_stl
from medcli.core.progress import activity
from medcli.ultrabones.dataset.folder_layout import specimen_folder
from medcli.ultrabones.dataset.mesh_files import find_meshes
from medcli.ultrabones.dataset.records import Sweep
from medcli.ultrabones.geometry.bone_surface import Surface

Done = TypeVar("Done")
logger = logging.getLogger(__name__)


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
                surfaces = surfaces or _read_surfaces(sweep, meshes, merged)
                result, failed = work(sweep, surfaces)
                done.append(result)
                failures += failed
            except DataError as error:
                errors.append(error)
                failures.append(f"{sweep.name}: {error.message}")
    if errors and not done:
        raise errors[0]
    return done, failures


def _read_surfaces(sweep: Sweep, meshes: Path | None, merged: bool) -> list[Surface]:
    with activity(f"reading the meshes of specimen {sweep.specimen}"):
        return load_surfaces(find_meshes(sweep.folder, sweep.specimen, meshes, merged))


def digest(surfaces: Sequence[Surface]) -> str:
    """A short text that changes when any triangle of the surfaces does."""
    return fingerprint(*(surface.triangles.astype("<f8").tobytes() for surface in surfaces))


def _read_checked(path: Path) -> Mesh:
    mesh = read_stl(path)
    check_millimetres(mesh, path)
    if not mesh.is_watertight():
        logger.warning("mesh %s is not watertight: labels have gaps where its surface has holes", path)
    return mesh
