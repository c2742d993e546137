"""Checks of Veriserum on a sample of pairs: images, and whether the poses put the implant where it is seen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import cv2
import numpy as np
from numpy.typing import NDArray

from medcli.core.checking.check_lines import Checklist, count_of, some_of
from medcli.core.checking.image_kinds import InspectedImage, check_depth, check_opened, inspect_image
from medcli.core.errors import DataError, quantity
from medcli.core.mesh import Mesh
from medcli.core.rigid_transforms import transform_points
from medcli.veriserum.dataset.detector import GRID_SPAN_MM, NATIVE_HEIGHT, NATIVE_WIDTH, PLANES
from medcli.veriserum.dataset.folder_index import POSE_COLUMNS
from medcli.veriserum.dataset.pose_tables import pose_matrices
from medcli.veriserum.geometry.biplane import DualPlane, ImageGrid, PoseFrame
from medcli.veriserum.geometry.outline_overlay import REFERENCE, draw_planes
from medcli.veriserum.labelling.components import PlacedImplant
from medcli.veriserum.registration.start_poses import StartPoses

Outline = tuple[Mesh, NDArray[np.float64], tuple[int, int, int]]
Poses = Mapping[str, NDArray[np.float64]]
"""Frame of the pose -> (4, 4) implant to world."""
_RIM = 7
"""Pixels at 512 around the implant that it is compared with."""
_DARK = 0.85
"""Of the grey value around it: metal is darker than bone or another place of the leg."""
_SWAPPED = 0.85
"""Of the brightness in the silhouettes: by so much the images fit better when their planes are exchanged."""
_EDGE_REACH = 3
"""Pixels at 512 to both sides of an outline between which the grey value must change."""
_EDGE = 0.8
"""Of the grey value outside: metal at the inner side of its outline is darker."""
_LEAST_OUTLINE = 0.4
"""Of an implant's outline that lies on such an edge. On 96 synthetic pairs: 0.80 or more in both planes; with a pose of
another pair at most 0.33 in 95 %, 50 mm beside its place at most 0.33, in the better plane."""
_FITS = 0.6
"""Of an outline: by so much on edges, an image shows the implant where its pose says."""
MIRRORED = {
    "left to right": (slice(None), slice(None, None, -1)),
    "upside down": (slice(None, None, -1),),
    "turned by half": (slice(None, None, -1), slice(None, None, -1)),
}
"""Ways in which exported images are reversed -> how to reverse them again."""
_UNLIT = 5
"""Grey value up to which an image is outside of the field of the intensifier."""
_LEAST_POINTS = 0.25
"""Of an outline that must lie in the lit part of the image to be judged."""
_LEAST_SHARE = 0.9
"""Of the pairs: obsolete and unusual ones apart, each pose must be plausible."""


@dataclass
class PairFindings:
    """What one pair of the sample shows.

    Attributes:
        id: of the pose.
        images: plane -> image file.
        frames: frame of the pose -> whether the implant lies between source and plane and falls into the image, in
            both planes; empty where the pose cannot be used.
        darker: frame of the pose -> plane -> whether the implant's silhouette is darker than what surrounds it.
        swapped: frame of the pose -> whether both silhouettes fit the image of the other plane better.
        outline: plane -> share of the implant's outline that lies on an edge of the image, in the frame asked for.
        mirrored: plane -> how the image must be mirrored (:data:`MIRRORED`) to fit that outline; empty: as it is.
        sheet: one (H, W, 3) RGB image for each plane; only where asked for.
        problem: why the pose or images cannot be used, else empty.
    """

    id: int
    images: dict[str, InspectedImage] = field(default_factory=dict)
    frames: dict[str, bool] = field(default_factory=dict)
    darker: dict[str, dict[str, bool]] = field(default_factory=dict)
    swapped: dict[str, bool] = field(default_factory=dict)
    outline: dict[str, float] = field(default_factory=dict)
    mirrored: dict[str, str] = field(default_factory=dict)
    sheet: list[NDArray[np.uint8]] = field(default_factory=list)
    problem: str = ""


def inspect_pair(
    number: int,
    paths: Mapping[str, str],
    starts: StartPoses | None,
    drawn: Sequence[PlacedImplant] | None = None,
) -> PairFindings:
    """Decode the images of a pair, and project its implant into both planes.

    Args:
        paths: plane -> image file.
        starts: poses, cameras and implants; None: only the images are looked at.
        drawn: keep both images with the outlines of its implant and of these components; None: no images.
    """
    found = PairFindings(number, {plane: inspect_image(path)[0] for plane, path in paths.items()})
    if starts is None or number not in starts.table.index:
        return found
    try:
        cameras, mesh = starts.geometry.cameras(number), starts.geometry.implant(number).mesh
        starts.pose(number)  # refuses what is not plausible
        in_table = pose_matrices(starts.table.loc[[number], list(POSE_COLUMNS)].astype(float))[0]
        poses = {frame.value: cameras.frame_to_world(frame) @ in_table for frame in PoseFrame}
        found.frames = {
            name: is_in_view(cameras, transform_points(pose, mesh.vertices)) for name, pose in poses.items()
        }
        images = starts.images(number)
        _look_at_grey(found, images, cameras, mesh, poses)
        if found.frames[frame := starts.geometry.frame.value]:
            for plane, image in images.items():
                grid = ImageGrid.calibrated(image.shape[0])
                silhouette = cameras.camera(plane).silhouette(mesh, poses[frame], grid)
                found.outline[plane] = outline_share(image, silhouette)
                found.mirrored[plane] = _mirroring(image, silhouette, found.outline[plane])
        if drawn is not None:
            own = [(mesh, poses[frame], REFERENCE)] if found.frames[frame] else []
            anatomy = starts.geometry.number(number, "anatomy_id")
            others = _drawable(starts, cameras, [one for one in drawn if one.anatomy != anatomy])
            found.sheet = draw_planes(images, cameras, [*own, *others])
    except DataError as error:
        found.problem = f"id {number}: {error.message}"
    return found


def _drawable(starts: StartPoses, cameras: DualPlane, placed: Sequence[PlacedImplant]) -> list[Outline]:
    """Components with a surface and a pose that is seen in both planes."""
    to_world = cameras.frame_to_world(starts.geometry.frame)
    found = []
    for one in placed:
        if one.problem or one.anatomy not in starts.study.surfaces.files:
            continue
        mesh, pose = starts.study.surfaces.implant(one.anatomy).mesh, to_world @ one.pose
        if is_in_view(cameras, transform_points(pose, mesh.vertices)):
            found.append((mesh, pose, REFERENCE))
    return found


def is_in_view(cameras: DualPlane, points_mm: NDArray[np.float64]) -> bool:
    """Whether points (N, 3) in the world lie between source and plane and project into the image, in both planes.

    The middle of the projection must be in the image, as implants at its edge are partly outside.
    """
    for plane in PLANES:
        camera = cameras.camera(plane)
        above = (points_mm - camera.plane.centre_mm) @ camera.plane.normal
        if above.min() < 0 or above.max() >= camera.distance_mm:
            return False
        seen = camera.project(points_mm)
        if np.abs((seen.min(axis=0) + seen.max(axis=0)) / 2).max() > GRID_SPAN_MM / 2:
            return False
    return True


def _brightness(image: NDArray[np.uint8], silhouette: NDArray[np.bool_]) -> float:
    """Mean grey value in an implant's silhouette as a share of that around it; infinite where it cannot be compared."""
    width = max(3, round(_RIM * image.shape[0] / 512)) | 1
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * width + 1, 2 * width + 1))
    wide = cv2.dilate(silhouette.astype(np.uint8), kernel) > 0
    around = wide & ~silhouette & (image > 0)
    if not silhouette.any() or not around.any():
        return float("inf")
    return float(image[silhouette].mean() / image[around].mean())


def outline_share(image: NDArray[np.uint8], silhouette: NDArray[np.bool_]) -> float:
    """Share of a silhouette's outline at whose inner side the image is darker; NaN where too little of it is lit.

    Args:
        image, silhouette: (S, S).
    """
    scale = image.shape[0] / 512
    smooth = cv2.GaussianBlur(image, (0, 0), scale).astype(np.float64)
    soft = cv2.GaussianBlur(silhouette.astype(np.float32), (0, 0), 2 * scale)
    outlines, _ = cv2.findContours(silhouette.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    if not outlines:
        return float("nan")
    column, row = max(outlines, key=len)[:, 0].T
    inwards = np.stack([cv2.Sobel(soft, cv2.CV_64F, 1, 0)[row, column], cv2.Sobel(soft, cv2.CV_64F, 0, 1)[row, column]])
    step = _EDGE_REACH * scale * inwards / np.maximum(np.linalg.norm(inwards, axis=0), 1e-9)

    def grey(sign: int) -> NDArray[np.float64]:
        x, y = (np.rint([column, row] + sign * step).astype(int)).clip(0, image.shape[0] - 1)
        return np.asarray(smooth[y, x], np.float64)

    inside, outside = grey(1), grey(-1)
    lit = outside > _UNLIT
    return float(np.mean(inside[lit] < _EDGE * outside[lit])) if lit.mean() >= _LEAST_POINTS else float("nan")


def _mirroring(image: NDArray[np.uint8], silhouette: NDArray[np.bool_], as_it_is: float) -> str:
    """How an image must be mirrored so that an implant's outline lies on its edges; empty: no better than as it is."""
    if as_it_is >= _FITS:
        return ""
    shares = {name: outline_share(np.ascontiguousarray(image[turn]), silhouette) for name, turn in MIRRORED.items()}
    best = max(shares, key=lambda name: np.nan_to_num(shares[name], nan=-1.0))
    return best if shares[best] >= max(_FITS, np.nan_to_num(as_it_is) + _LEAST_OUTLINE / 2) else ""


def _look_at_grey(
    found: PairFindings, images: Mapping[str, NDArray[np.uint8]], cameras: DualPlane, mesh: Mesh, poses: Poses
) -> None:
    """Fill in ``darker`` for each frame of the pose, and ``swapped``."""
    first, second = PLANES
    for name, pose in poses.items():
        if not found.frames[name]:
            continue
        grids = {plane: ImageGrid.calibrated(images[plane].shape[0]) for plane in PLANES}
        masks = {plane: cameras.camera(plane).silhouette(mesh, pose, grids[plane]) for plane in PLANES}
        own = {plane: _brightness(images[plane], masks[plane]) for plane in PLANES}
        found.darker[name] = {plane: value < _DARK for plane, value in own.items()}
        if images[first].shape == images[second].shape:
            other = (_brightness(images[second], masks[first]), _brightness(images[first], masks[second]))
            found.swapped[name] = max(other) < _SWAPPED * max(own.values())


def check_pair_images_of(checks: Checklist, pairs: Sequence[PairFindings]) -> None:
    """Lines for the image files of the sample."""
    images = [image for pair in pairs for image in pair.images.values()]
    opened = check_opened(checks, images, "get them again: medcli download veriserum")
    uneven, other = [], []
    for pair in pairs:
        sizes = {image.size for image in pair.images.values() if image.shape}
        uneven += [f"id {pair.id}: {', '.join(sorted(sizes))}"] if len(sizes) > 1 else []
    for image in opened:
        is_square = image.shape and image.shape[0] == image.shape[1]  # a calibrated image
        other += [] if image.shape == (NATIVE_HEIGHT, NATIVE_WIDTH) or is_square else [f"{image.path}: {image.size}"]
    checks.add(
        "image size",
        count_of([image.size for image in opened]) or "none opened",
        uneven,
        other,
        f"published: {NATIVE_WIDTH} x {NATIVE_HEIGHT}; other sizes are resized before they are corrected",
    )
    check_depth(checks, opened, "colour is read as luma")


def check_pose_frame(checks: Checklist, pairs: Sequence[PairFindings], frame: str) -> None:
    """Lines for the geometry: is the implant between source and plane, in both images, and where these are dark."""
    usable = [pair for pair in pairs if pair.frames]
    broken = [pair.problem for pair in pairs if pair.problem]
    if usable:
        outside = [f"id {pair.id}: the implant is not in both images" for pair in usable if not pair.frames[frame]]
        shares = {name: float(np.mean([pair.frames[name] for pair in usable])) for name in usable[0].frames}
        _add_shares(checks, "pose frame", shares, frame, outside)
    else:
        checks.unknown("pose frame", "needs poses, cameras and implants", "get them: medcli download veriserum")
    seen = [pair for pair in usable if pair.darker]
    mirrored = _add_mirrored(checks, [pair for pair in usable if pair.outline])
    if seen:
        names = seen[0].frames
        shares = {
            name: float(np.mean([all(pair.darker.get(name, {"": False}).values()) for pair in seen])) for name in names
        }
        brighter = [
            f"id {pair.id}, {plane}: the implant is no darker than what surrounds it"
            for pair in seen
            for plane, is_dark in pair.darker.get(frame, {}).items()
            if not is_dark
        ]
        _add_shares(checks, "implant is dark there", shares, frame, brighter, "mirrored images" if mirrored else "")
        if shares[frame] >= _LEAST_SHARE:  # otherwise the line above says that poses and images do not fit
            _add_outlines(checks, [pair for pair in seen if not pair.swapped.get(frame)])
        exchanged = [f"id {pair.id}" for pair in seen if pair.swapped.get(frame)]
        checks.add(
            "planes",
            f"{some_of(len(exchanged), quantity(len(seen), 'pair'))} better with bs and fs exchanged",
            exchanged,
            advice="exchange the names of their images, or of the columns of their calibration; look at --figure",
        )
    if broken:
        figure = f"{some_of(len(broken), quantity(len(pairs), 'pair'))} cannot be used"
        checks.add("poses and images used", figure, broken, advice="the reason is given for each")


def _add_mirrored(checks: Checklist, pairs: Sequence[PairFindings]) -> bool:
    """A line on images that show the implant where its pose says only when they are mirrored; whether most do."""
    if not pairs:
        return False
    places = [f"id {pair.id}, {plane}: {way}" for pair in pairs for plane, way in sorted(pair.mirrored.items()) if way]
    ids = {place.split(",")[0] for place in places}
    ways = ", ".join(f"{plane} {way}" for plane, way in sorted({tuple(p.split(", ")[1].split(": ")) for p in places}))
    checks.add(
        "mirrored images",
        f"{some_of(len(ids), quantity(len(pairs), 'pair'))}" + (f": {ways}" if ways else ""),
        places,
        advice="reverse these files first: a mirrored knee looks like a knee, and its poses would be wrong",
    )
    return 2 * len(ids) > len(pairs)


def _add_outlines(checks: Checklist, pairs: Sequence[PairFindings]) -> None:
    """A line on the single pairs whose implant is elsewhere than its pose says, by its outlines in both planes."""
    misplaced = [
        f"id {pair.id}: of the implant's outline, "
        + ", ".join(f"{100 * share:.0f} % ({plane})" for plane, share in pair.outline.items())
        + " lies on an edge"
        for pair in pairs
        if pair.outline
        and max(pair.outline.values()) < _LEAST_OUTLINE  # NaN in a plane: it is not judged
        and not np.isnan(list(pair.outline.values())).any()
    ]
    checks.add(
        "implant outlines",
        f"{some_of(len(misplaced), quantity(len(pairs), 'pair'))} beside the implant in both images",
        misplaced,
        advice="images of another id, or a wrong row in the pose table? look at --figure",
    )


def _add_shares(
    checks: Checklist, name: str, shares: Mapping[str, float], frame: str, places: list[str], cause: str = ""
) -> None:
    """A line on the share of pairs for which each frame of the poses fits; wrong where another one fits better.

    Args:
        cause: the line that says why it is wrong, where there is one.
    """
    best = max(shares, key=lambda one: (shares[one], one == frame))
    other = "another --inter-plane, or another unit? look at --figure"
    advice = f"try --pose-frame {best}" if shares[best] > shares[frame] else other
    if cause:
        advice = f"because of what the line '{cause}' says"
    is_wrong = shares[frame] < _LEAST_SHARE
    figure = "in both images: " + ", ".join(f"{one} {100 * share:.0f} %" for one, share in shares.items())
    wrong = places or [f"{frame} fits {100 * shares[frame]:.0f} % of the pairs"]
    checks.add(name, figure, wrong if is_wrong else [], [] if is_wrong else places, advice)
