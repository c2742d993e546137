"""X-ray pairs in space: both planes as cameras with their images, implants, their outlines, and the knee's motion.

A plane's camera is a pinhole at the X-ray source; its image plane is shown where the detector is. The viewer counts
pixels from their corners, the dataset from their centres: half a pixel is added.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from medcli.core.errors import DataError, quantity
from medcli.core.files import usable_cores
from medcli.core.image_io import encode, use_single_threaded_codecs
from medcli.core.mesh import Mesh
from medcli.core.progress import Progress
from medcli.core.threads import map_in_threads
from medcli.veriserum.dataset.anatomies import KIND_OF
from medcli.veriserum.dataset.detector import PLANES
from medcli.veriserum.geometry.biplane import Camera, DualPlane, ImageGrid
from medcli.veriserum.kinematics.joint_coordinates import COORDINATES
from medcli.viewing import layouts
from medcli.viewing.rerun_file import RerunFile
from medcli.viewing.settings import Eye, ViewedScene, ViewSettings
from medcli.viewing.xray_frames import XrayFrames

COLOURS = {"femur": (0, 220, 90), "tibia": (0, 190, 255)}
_OTHER, _RAYS = (255, 140, 0), (95, 95, 95)
_EYE_MM, _ABOVE = 600.0, 0.25
"""How far from the implants they are seen first, and how far from above (1: at 45 degrees)."""
_OUTLINE_PIXELS = 1024
"""Outlines are found on a grid of at least so many pixels along each side."""
_LINE_PX = 0.8
"""Half the width of an outline on the screen."""


@dataclass(frozen=True)
class _SeenPair:
    """A pair as it is written: JPEG files and their sizes by plane, outlines by plane and implant, what failed."""

    jpegs: Mapping[str, tuple[bytes, int]]
    outlines: Mapping[tuple[str, int], list[NDArray[np.float32]]]
    failures: tuple[str, ...]


def write_pairs(
    file: RerunFile, frames: XrayFrames, settings: ViewSettings, scene: ViewedScene, progress: Progress
) -> None:
    """Log the pairs, every n-th of them.

    Raises:
        DataError: no implant of them has a surface, and no image can be read.
    """
    use_single_threaded_codecs()
    shown = list(range(len(frames.ids)))[:: settings.every]
    scene.frames_there = len(frames.ids)
    meshes = _write_implants(file, frames, scene)
    _name_curves(file, frames)

    def look(place: int) -> _SeenPair:
        return _see(frames, frames.ids[place], meshes, settings.quality)

    cameras: DualPlane | None = None
    sizes: dict[str, int] = {}
    images = 0
    workers = settings.workers or usable_cores()
    with progress.task("reading pairs", len(shown), "pairs") as advance:
        for place, seen in zip(shown, map_in_threads(look, shown, workers), strict=True):
            advance(1)
            number = frames.ids[place]
            scene.failures += seen.failures
            file.at(frames.numbers[place], frames.seconds[place], number)
            now = frames.starts.geometry.cameras(number)
            sizes_now = {plane: seen.jpegs[plane][1] if plane in seen.jpegs else 512 for plane in PLANES}
            if now is not cameras or sizes_now != sizes:
                cameras, sizes = now, sizes_now
                for plane, entity in layouts.PLANES.items():
                    _write_camera(file, entity, now.camera(plane), sizes[plane])
            _write_pair(file, frames, number, meshes, seen)
            images += len(seen.jpegs)
            scene.frames += 1
    scene.contents["images"] = images
    scene.eye = eye_of_pairs(frames)
    if not images and not meshes:
        raise DataError(f"nothing of {scene.title} can be shown; {next(iter(scene.failures), 'no image, no surface')}")


def eye_of_pairs(frames: XrayFrames) -> Eye:
    """A place between both sources, from where the implants are in front of both detectors."""
    cameras = frames.starts.geometry.cameras(frames.ids[0])
    centre = np.mean([pose[:3, 3] for pose in frames.poses[frames.ids[0]].values()], axis=0)
    towards = sum(camera.plane.normal + _ABOVE * camera.plane.vertical for camera in (cameras.bs, cameras.fs))
    position = centre + _EYE_MM * towards / np.linalg.norm(towards)
    return Eye(*(tuple(map(float, one)) for one in (position, centre, cameras.bs.plane.vertical)))


def implant_name(anatomy: int) -> str:
    """``femur_1``; ``implant_9`` for one that the dataset does not know."""
    return f"{KIND_OF.get(anatomy, 'implant')}_{anatomy}"


def _write_implants(file: RerunFile, frames: XrayFrames, scene: ViewedScene) -> dict[int, Mesh]:
    file.static(layouts.WORLD, file.rr.ViewCoordinates.RIGHT_HAND_Y_UP)
    meshes = {}
    for anatomy in sorted({anatomy for number in frames.ids for anatomy in frames.poses[number]}):
        try:
            meshes[anatomy] = frames.starts.study.surfaces.implant(anatomy).mesh
        except DataError as error:
            scene.warnings.append(f"{error.message}: shown without it")
            continue
        file.mesh(f"{layouts.WORLD}/{implant_name(anatomy)}", meshes[anatomy], _colour(anatomy))
    scene.contents["implants"] = len(meshes)
    return meshes


def _name_curves(file: RerunFile, frames: XrayFrames) -> None:
    if frames.motion:
        file.curves({_curve(index): one.title for index, one in enumerate(COORDINATES)})


def _curve(index: int) -> str:
    one = COORDINATES[index]
    return f"{layouts.ANGLES if one.unit == 'deg' else layouts.SHIFTS}/{one.name}"


def _colour(anatomy: int) -> tuple[int, int, int]:
    return COLOURS.get(KIND_OF.get(anatomy, ""), _OTHER)


def _see(frames: XrayFrames, number: int, meshes: Mapping[int, Mesh], quality: int) -> _SeenPair:
    """Images and outlines of a pair; what is missing or broken is listed."""
    jpegs, outlines, failures = {}, {}, []
    cameras = frames.starts.geometry.cameras(number)
    for plane in PLANES:
        size = 512
        try:
            image = frames.starts.image(number, plane)
            size = image.shape[0]
            jpegs[plane] = encode(image, ".jpg", quality).tobytes(), size
        except DataError as error:
            failures.append(f"pair {number}, plane {plane}: {error.message}")
        for anatomy, pose in frames.poses[number].items():
            if anatomy in meshes:
                try:
                    outlines[plane, anatomy] = outline_strips(cameras.camera(plane), meshes[anatomy], pose, size)
                except ValueError as error:
                    failures.append(f"pair {number}, plane {plane}, {implant_name(anatomy)}: {error}")
    return _SeenPair(jpegs, outlines, tuple(failures))


def outline_strips(camera: Camera, mesh: Mesh, pose: NDArray[np.float64], size: int) -> list[NDArray[np.float32]]:
    """Closed outlines of a projected implant on an image of ``size`` pixels, (N, 2), from the image's corner.

    Raises:
        ValueError: the mesh extends to the source.
    """
    fine = max(size, _OUTLINE_PIXELS)
    seen = camera.silhouette(mesh, pose, ImageGrid.calibrated(fine)).astype(np.uint8)
    found, _ = cv2.findContours(seen, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE)
    closed = [np.concatenate([one[:, 0], one[:1, 0]]) for one in found if len(one) > 2]
    return [((one + 0.5) * (size / fine)).astype(np.float32) for one in closed]


def _write_camera(file: RerunFile, entity: str, camera: Camera, size: int) -> None:
    """Log a plane: x right, y down, z from the source towards the detector."""
    grid = ImageGrid.calibrated(size)
    column, row = grid.to_pixels(camera.principal_point_mm) + 0.5
    plane = camera.plane
    axes = np.stack([plane.horizontal, -plane.vertical, -plane.normal], axis=1)
    pinhole = file.rr.Pinhole(
        focal_length=camera.distance_mm / grid.pixel_mm,
        principal_point=[column, row],
        resolution=[size, size],
        image_plane_distance=camera.distance_mm,
        color=_RAYS,
        line_width=0.5,
    )
    file.log(entity, file.rr.Transform3D(translation=camera.source_mm, mat3x3=axes), pinhole)


def _write_pair(file: RerunFile, frames: XrayFrames, number: int, meshes: Mapping[int, Mesh], seen: _SeenPair) -> None:
    rr = file.rr
    for plane, entity in layouts.PLANES.items():
        if plane in seen.jpegs:
            file.log(entity, rr.EncodedImage(contents=seen.jpegs[plane][0], media_type="image/jpeg"))
        else:
            file.log(entity, rr.EncodedImage.from_fields(clear_unset=True))
        for anatomy in meshes:
            strips = seen.outlines.get((plane, anatomy), [])
            lines = rr.LineStrips2D(strips, colors=[_colour(anatomy)], radii=rr.Radius.ui_points(_LINE_PX))
            file.log(f"{entity}/{implant_name(anatomy)}", lines)
    for anatomy in meshes:
        entity = f"{layouts.WORLD}/{implant_name(anatomy)}"
        if (pose := frames.poses[number].get(anatomy)) is not None:
            file.place(entity, pose)
    for index, value in enumerate(frames.motion.get(number, ())):
        file.number(_curve(index), float(value))


def about_pairs(scene: ViewedScene, frames: XrayFrames) -> str:
    """What is shown, in words."""
    colours = "femur green, tibia blue; others orange"
    ids = f"ids {frames.ids[0]} to {frames.ids[-1]}" if len(frames.ids) > 1 else f"id {frames.ids[0]}"
    lines = [f"# {scene.title}", f"{quantity(scene.frames, 'pair')}, {ids}", f"Implants and outlines: {colours}."]
    return "\n\n".join([*lines, *(f"*{warning}*" for warning in scene.warnings)])
