"""A reconstruction, or a registered cloud, over the bones that it was measured against."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from medcli.core.errors import DataError, UsageError
from medcli.core.json_text import read_object
from medcli.core.mesh import Mesh, check_millimetres, read_stl
from medcli.core.progress import Progress
from medcli.ultrabones.dataset.records import Sweep, find_sweeps
from medcli.ultrabones.geometry.bone_surface import Surface
from medcli.ultrabones.reconstruction.figure import distance_colours
from medcli.ultrabones.reconstruction.point_cloud import surface_distances
from medcli.ultrabones.registration.cloud_input import read_cloud
from medcli.ultrabones.registration.mesh_folder import meshes_in
from medcli.viewing import layouts
from medcli.viewing.record_scene import BONE, MASK_COLOURS, MOST_CLOUD_POINTS, log_record, read_bones, scale_of
from medcli.viewing.rerun_file import RerunFile
from medcli.viewing.settings import ViewedScene, ViewSettings, ViewTarget
from medcli.viewing.targets import named_in_note, note_of

_RADIUS_MM = 0.15
_SHELL = (120, 170, 210)


def write_bones(file: RerunFile, meshes: Sequence[Mesh], surfaces: Sequence[Surface], scene: ViewedScene) -> None:
    """Log the bones, and how space is oriented."""
    file.static(layouts.CT, file.rr.ViewCoordinates.RIGHT_HAND_Z_UP)
    for mesh, surface in zip(meshes, surfaces, strict=True):
        file.mesh(f"{layouts.CT}/bones/{surface.name}", mesh, BONE)
    scene.contents["bones"] = len(meshes)


def write_result(
    file: RerunFile, target: ViewTarget, settings: ViewSettings, scene: ViewedScene, progress: Progress
) -> bool:
    """Log what a result of ``medcli reconstruct`` or ``medcli register bone`` holds; whether there are distances.

    The frames of the record are shown as well, where the run's data folder is still found.

    Raises:
        DataError: the cloud is missing or damaged.
    """
    content = read_object(target.path)
    options = note_of(target.path).get("settings")
    options = options if isinstance(options, dict) else {}
    record = content.get("reconstruction")
    if isinstance(record, dict):
        return _reconstruction(file, target, record, options, settings, scene, progress)
    folder = settings.meshes or named_in_note(target.path, options.get("meshes"))
    meshes, surfaces = _bones_in(folder, scene)
    scene.title = f"{target.path.stem}, registered"
    write_bones(file, meshes, surfaces, scene)
    _write_cloud(file, target.path.with_suffix(".ply"), surfaces, scene)
    return bool(surfaces)


def _reconstruction(
    file: RerunFile,
    target: ViewTarget,
    record: Mapping[str, Any],
    options: Mapping[str, Any],
    settings: ViewSettings,
    scene: ViewedScene,
    progress: Progress,
) -> bool:
    if not record.get("files"):
        raise DataError(f"{target.path} has no points: all masks of {record.get('name')} are empty", "view its record")
    settings = replace(
        settings,
        masks=settings.masks or (str(record["mask"]),),
        poses=settings.poses or str(record["poses"]),
        meshes=settings.meshes or named_in_note(target.path, options.get("meshes")),
        merged=settings.merged or bool(options.get("merged")),
    )
    scene.title = f"{record['name']}, reconstructed from {record['mask']}"
    sweep = _sweep_of(target, str(record["name"]), settings, scene)
    meshes, surfaces = ([], []) if sweep is None else read_bones(sweep.folder, sweep.specimen, settings, scene)
    if sweep is None and settings.meshes:
        meshes, surfaces = _bones_in(settings.meshes, scene)
    write_bones(file, meshes, surfaces, scene)
    if shell := record.get("surface"):
        file.mesh(f"{layouts.CT}/surface", read_stl(target.path.with_name(str(shell["name"]))), _SHELL)
        scene.contents["surface"] = 1
    _write_cloud(file, target.path.with_name(str(record["files"][0])), surfaces, scene)
    scale = scene.scale_mm
    if sweep is not None:
        log_record(file, sweep, settings, scene, surfaces, progress, has_cloud=False, scale_mm=scale)
    return bool(surfaces)


def _sweep_of(target: ViewTarget, name: str, settings: ViewSettings, scene: ViewedScene) -> Sweep | None:
    """The record that a result was made from; None, with a warning, where it is no longer found."""
    if target.root is not None:
        try:
            found = next((one for one in find_sweeps(target.root, probe=settings.probe) if one.name == name), None)
        except (DataError, UsageError):
            found = None
        if found is not None:
            return found
    scene.warnings.append(f"the record {name} is not found: shown without its frames (view its folder to see them)")
    return None


def _bones_in(folder: Path | None, scene: ViewedScene) -> tuple[list[Mesh], list[Surface]]:
    if folder is None:
        scene.warnings.append("the meshes are not found: shown without bones and distances (name them with --meshes)")
        return [], []
    paths = meshes_in(folder)
    meshes = [read_stl(path) for path in paths]
    for mesh, path in zip(meshes, paths, strict=True):
        check_millimetres(mesh, path)
    return meshes, [Surface.from_mesh(mesh, path.stem) for mesh, path in zip(meshes, paths, strict=True)]


def _write_cloud(file: RerunFile, path: Path, surfaces: Sequence[Surface], scene: ViewedScene) -> None:
    points = read_cloud(path).points
    scene.contents["cloud"] = len(points)
    points = points[:: -(-len(points) // MOST_CLOUD_POINTS)]
    colours: Any = [MASK_COLOURS[0]]
    if surfaces:
        distances = surface_distances(points, surfaces)
        scene.scale_mm = scale_of([distances])
        colours = distance_colours(distances, scene.scale_mm)
    file.static(
        f"{layouts.CLOUD}/points", file.rr.Points3D(points.astype(np.float32), colors=colours, radii=_RADIUS_MM)
    )
