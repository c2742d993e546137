"""A record of ultrasound in CT space: bones, the image plane along the sweep, masks as points, the probe's path.

The image is the image plane of a camera that looks at it from 200 mm behind, whose focal length makes one pixel as
large there as it is: so the viewer shows the JPEG file itself, in its place and at its size.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from medcli.core.errors import DataError, quantity
from medcli.core.files import usable_cores
from medcli.core.image_io import encode, read_grey, use_single_threaded_codecs
from medcli.core.mesh import Mesh, check_millimetres, read_stl
from medcli.core.progress import Progress, activity
from medcli.core.threads import map_in_threads
from medcli.ultrabones.dataset.folder_layout import FULL_LABEL_FOLDERS, PARTIAL_LABEL_FOLDERS, list_timestamps
from medcli.ultrabones.dataset.mesh_files import find_meshes
from medcli.ultrabones.dataset.records import Poses, Sweep, read_poses
from medcli.ultrabones.geometry.bone_surface import Surface
from medcli.ultrabones.geometry.image_to_ct import check_frame_size, image_to_ct
from medcli.ultrabones.labelling.label_origin import poses_of_masks
from medcli.ultrabones.reconstruction.figure import colour_scale_mm, distance_colours
from medcli.ultrabones.reconstruction.mask_points import back_project
from medcli.ultrabones.reconstruction.point_cloud import thin
from medcli.viewing import layouts
from medcli.viewing.rerun_file import RerunFile
from medcli.viewing.settings import Eye, ViewedScene, ViewSettings

BONE = (214, 205, 188)
"""Red, green, blue."""
MASK_COLOURS = ((255, 170, 0), (0, 160, 255), (0, 220, 90), (230, 80, 200))
"""Of points without a distance, by folder of masks."""
PATH = (255, 255, 255)
PREDICTED = ("Labels_pred",)
_BEHIND_MM, _FIELD_MM = 200.0, 45.0
_POINT_MM, _CLOUD_MM, _PATH_MM = 0.3, 0.25, 0.4
"""Radii of the points of the frame that is shown, of those of all frames, and of the path."""
LEAST_SCALE_MM = 0.5
_APART_MM = 0.25
"""Of the points of a frame, one in each cube of this edge is kept, and measured: of every fourth or fifth pixel."""
MOST_CLOUD_POINTS = 200_000
"""Points of all frames together that are drawn at once, for each folder of masks."""


@dataclass(frozen=True)
class _Seen:
    """A frame as it is written: its JPEG file, size, and by folder of masks how many points, some, their distances."""

    jpeg: bytes
    shape: tuple[int, int]
    masks: Mapping[str, tuple[int, NDArray[np.float32], NDArray[np.float64]]]


@dataclass
class _Points:
    """The points of one folder of masks, by frame."""

    count: int = 0
    frames: list[int] = field(default_factory=list)
    points: list[NDArray[np.float32]] = field(default_factory=list)
    distances: list[NDArray[np.float64]] = field(default_factory=list)

    def add(self, frame: int, seen: tuple[int, NDArray[np.float32], NDArray[np.float64]]) -> None:
        """What was seen of these masks in a frame."""
        self.count += seen[0]
        self.frames.append(frame)
        self.points.append(seen[1])
        self.distances.append(seen[2])


def read_bones(
    folder: Path, specimen: int, settings: ViewSettings, scene: ViewedScene
) -> tuple[list[Mesh], list[Surface]]:
    """The bones of a specimen, and their surfaces to measure distances from; none, with a warning, without meshes.

    Raises:
        DataError: a mesh is broken, or no mesh is where ``settings.meshes`` says.
    """
    try:
        paths = find_meshes(folder, specimen, settings.meshes, settings.merged)
    except DataError as error:
        if settings.meshes is not None:
            raise
        scene.warnings.append(f"{error.message}: shown without bones and distances")
        return [], []
    with activity("reading the meshes"):
        meshes = [read_stl(path) for path in paths]
        for mesh, path in zip(meshes, paths, strict=True):
            check_millimetres(mesh, path)
        return meshes, [Surface.from_mesh(mesh, path.stem) for mesh, path in zip(meshes, paths, strict=True)]


def log_record(
    file: RerunFile,
    sweep: Sweep,
    settings: ViewSettings,
    scene: ViewedScene,
    bones: Sequence[Surface],
    progress: Progress,
    has_cloud: bool = True,
    scale_mm: float | None = None,
) -> None:
    """Log a record's frames, masks and path.

    Args:
        has_cloud: also log the points of all frames together.
        scale_mm: end of the colour scale of distances; None: by the distances.

    Raises:
        DataError: no frame has a pose; or a folder of masks that was asked for has none.
    """
    masks = _find_masks(sweep, settings.masks)
    poses = _choose_poses(sweep, list(masks), settings.poses)
    shown = _usable(sweep, poses, scene)[:: settings.every]
    use_single_threaded_codecs()
    clouds = {name: _Points() for name in masks}
    path: list[NDArray[np.float64]] = []
    matrices: list[NDArray[np.float64]] = []
    workers = settings.workers or usable_cores()

    def look(frame: int) -> _Seen | str:
        try:
            return _see(sweep, poses, masks, bones, frame, settings.quality)
        except DataError as error:
            return f"{sweep.name} {sweep.timestamps[frame]}: {error.message}"

    camera: tuple[int, int, float] | None = None
    with progress.task(f"reading {sweep.name}", len(shown), "frames") as advance:
        for frame, seen in zip(shown, map_in_threads(look, shown, workers), strict=True):
            advance(1)
            if isinstance(seen, str):
                scene.failures.append(seen)
                continue
            spacing = float(poses.spacing_mm[frame])
            matrix = image_to_ct(poses.pose[frame], sweep.probe)
            file.at(frame + 1, _seconds(sweep, frame))
            if camera != (camera := (*seen.shape, spacing)):
                _write_camera(file, seen.shape, spacing)
            file.place(f"{layouts.CT}/frame", matrix)
            file.log(layouts.IMAGE, file.rr.EncodedImage(contents=seen.jpeg, media_type="image/jpeg"))
            matrices.append(matrix)
            path.append((matrix @ [seen.shape[1] * spacing / 2, 0.0, 0.0, 1.0])[:3])
            scene.frames += 1
            for name, mask_seen in seen.masks.items():
                clouds[name].add(frame, mask_seen)
    if not path:
        raise DataError(f"no frame of {sweep.name} can be shown; {scene.failures[0]}")
    scene.eye = eye_of_sweep(np.array(path), matrices)
    file.static(f"{layouts.CT}/probe_path", file.rr.LineStrips3D([np.array(path)], colors=[PATH], radii=_PATH_MM))
    _write_points(file, sweep, clouds, scene, scale_mm if bones else 0.0, has_cloud)


def nearest_distances(points: NDArray[np.float64], surfaces: Sequence[Surface]) -> NDArray[np.float64]:
    """Exact distance of each point (N, 3) to the nearest triangle of any surface, (N,).

    A bone is passed over where its box is farther away than the points are from the bones before it.
    """
    if not len(points):
        return np.empty(0)
    low, high = points.min(axis=0), points.max(axis=0)
    gaps = [
        float(np.linalg.norm(np.maximum(0, np.maximum(one.bounds[0] - high, low - one.bounds[1])))) for one in surfaces
    ]
    distances = np.full(len(points), np.inf)
    for place in np.argsort(gaps):
        limit = float(distances.max())
        if gaps[place] < limit:
            distances = np.minimum(distances, surfaces[place].distances(points, limit))
    return distances


def eye_of_sweep(path: NDArray[np.float64], matrices: Sequence[NDArray[np.float64]]) -> Eye:
    """A place beside the sweep, from where the probe is above the bone and the first image is seen at a slant.

    Args:
        path: (frames, 3), the middle of the upper edge of each image.
        matrices: (4, 4) image to CT of each frame.
    """
    right, down, out = np.mean([matrix[:3, :3] for matrix in matrices], axis=0).T
    extent = max(float(np.linalg.norm(path.max(axis=0) - path.min(axis=0))), 2 * _FIELD_MM)
    if (path[-1] - path[0]) @ out > 0:
        out = -out  # the first image is nearest
    centres = path + down * _FIELD_MM / 2
    target = (2 * centres[0] + centres.mean(axis=0)) / 3
    towards = right + 0.8 * out - 0.6 * down
    position = target + 0.55 * extent * towards / np.linalg.norm(towards)
    return Eye(*(tuple(map(float, one)) for one in (position, target, -down)))


def scale_of(distances: Sequence[NDArray[np.float64]]) -> float:
    """One end of the colour scale for all, that 95 % of the distances of each stay below.

    It is at least :data:`LEAST_SCALE_MM`: labels cut from the mesh lie within 0.1 mm of it, no difference to be shown.
    """
    return max([LEAST_SCALE_MM, *(colour_scale_mm(one) for one in distances if len(one))])


def _find_masks(sweep: Sweep, wanted: Sequence[str] | None) -> dict[str, dict[int, Path]]:
    """By folder, the mask of each frame."""
    folders = wanted or [*PARTIAL_LABEL_FOLDERS, *FULL_LABEL_FOLDERS, *PREDICTED, "LabelsManual"]
    found = {}
    for folder in dict.fromkeys(folders):
        names = list_timestamps(str(sweep.folder / folder))[0] if (sweep.folder / folder).is_dir() else {}
        masks = {f: sweep.folder / folder / names[ts] for f, ts in enumerate(sweep.timestamps) if ts in names}
        if masks:
            found[folder] = masks
        elif wanted:
            raise DataError(f"no frame of {sweep.folder} has a mask in {folder}", "choose others with --mask")
    return found


def _choose_poses(sweep: Sweep, masks: Sequence[str], asked: str | None) -> Poses:
    """The poses of the frames: those asked for, else those that the first masks were made from; others are warned of.

    Raises:
        DataError: there is no table, or none with such poses.
    """
    if not masks:
        return read_poses(sweep, asked)
    first = poses_of_masks(sweep, masks[0], asked)
    for name in masks[1:]:
        poses_of_masks(sweep, name, first.kind)
    return first


def _usable(sweep: Sweep, poses: Poses, scene: ViewedScene) -> list[int]:
    """Frames with a pose.

    Raises:
        DataError: there is none.
    """
    tracked = [frame for frame in range(len(sweep.timestamps)) if sweep.rows[frame] >= 0]
    problems = {frame: problem for frame in tracked if (problem := poses.problem(frame))}
    scene.frames_there = len(sweep.timestamps)
    usable = [frame for frame in tracked if frame not in problems]
    if not usable:
        why = next(iter(problems.values()), "no timestamp of an image is in its tracking table")
        raise DataError(
            f"no frame of {sweep.folder} has a pose, so none has a place in space: {why}",
            "medcli check ultrabones shows what is wrong",
        )
    if without := len(sweep.timestamps) - len(tracked):
        scene.warnings.append(f"{quantity(without, 'frame has', 'frames have')} no pose and cannot be shown")
    scene.failures += [f"{sweep.name} {sweep.timestamps[frame]}: {problem}" for frame, problem in problems.items()]
    return usable


def _see(
    sweep: Sweep,
    poses: Poses,
    masks: Mapping[str, Mapping[int, Path]],
    bones: Sequence[Surface],
    frame: int,
    quality: int,
) -> _Seen:
    spacing, image = float(poses.spacing_mm[frame]), read_grey(sweep.images[frame])
    check_frame_size(image.shape, spacing, sweep.images[frame], sweep.probe)
    found = {}
    for name, paths in masks.items():
        if frame in paths:
            mask = read_grey(paths[frame])
            check_frame_size(mask.shape, spacing, str(paths[frame]), sweep.probe)
            points = back_project(mask, poses.pose[frame], spacing, sweep.probe)
            kept, _ = thin(points, _APART_MM)
            distances = nearest_distances(kept, bones) if bones else np.empty(0)
            found[name] = len(points), kept.astype(np.float32), distances
    rows, columns = image.shape
    return _Seen(encode(image, ".jpg", quality).tobytes(), (rows, columns), found)


def _seconds(sweep: Sweep, frame: int) -> float:
    return (sweep.timestamps[frame] - sweep.timestamps[0]) / 1000


def _write_camera(file: RerunFile, shape: tuple[int, int], spacing: float) -> None:
    """The camera whose image plane is the image; its pixels are counted from their corners, as those here."""
    rows, columns = shape
    middle = [columns * spacing / 2, rows * spacing / 2, -_BEHIND_MM]
    camera = file.rr.Pinhole(
        focal_length=_BEHIND_MM / spacing,
        principal_point=[columns / 2, rows / 2],
        resolution=[columns, rows],
        image_plane_distance=_BEHIND_MM,
        line_width=0.0,
        color=layouts.BACKGROUND,  # its rays are not to be seen
    )
    file.log(layouts.IMAGE, file.rr.Transform3D(translation=middle), camera)


def _write_points(
    file: RerunFile,
    sweep: Sweep,
    clouds: Mapping[str, _Points],
    scene: ViewedScene,
    scale_mm: float | None,
    has_cloud: bool,
) -> None:
    """Log the points of each frame, those of all frames, and the median distance of each frame; scale 0: none."""
    distances = {name: np.concatenate(cloud.distances) for name, cloud in clouds.items() if cloud.distances}
    if scale_mm is None:
        scale_mm = scale_of(list(distances.values()))
    scene.scale_mm = scale_mm if scale_mm and distances else None
    file.curves({f"{layouts.DISTANCE}/{name}": name for name in distances if scale_mm})
    for number, (name, cloud) in enumerate(clouds.items()):
        plain = np.array([MASK_COLOURS[number % len(MASK_COLOURS)]], np.uint8)
        for frame, points, away in zip(cloud.frames, cloud.points, cloud.distances, strict=True):
            file.at(frame + 1, _seconds(sweep, frame))
            colours = distance_colours(away, scale_mm) if scale_mm else plain
            file.log(f"{layouts.POINTS}/{name}", file.rr.Points3D(points, colors=colours, radii=_POINT_MM))
            if scale_mm and len(away):
                file.number(f"{layouts.DISTANCE}/{name}", float(np.median(away)))
        scene.contents[name] = cloud.count
        if has_cloud and cloud.count:
            points = np.concatenate(cloud.points)
            every = -(-len(points) // MOST_CLOUD_POINTS)
            points = points[::every]
            colours = distance_colours(distances[name][::every], scale_mm) if scale_mm else plain
            file.static(f"{layouts.CLOUD}/{name}", file.rr.Points3D(points, colors=colours, radii=_CLOUD_MM))
