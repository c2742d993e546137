"""Checks of UltraBones100k on a sample of frames: images and labels, and labels against the CT meshes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from medcli.core.checking.check_lines import Checklist, count_of
from medcli.core.checking.image_kinds import GREY, InspectedImage, check_contents, inspect_image
from medcli.core.errors import DataError, quantity
from medcli.core.overlays import overlay_masks
from medcli.ultrabones.dataset.constants import FRAME_HEIGHT, FRAME_WIDTH
from medcli.ultrabones.dataset.mesh_files import find_meshes
from medcli.ultrabones.dataset.record_frames import DOWNLOAD_HINT
from medcli.ultrabones.dataset.records import INITIAL, OPTIMIZED, Poses
from medcli.ultrabones.dataset.tracking_table import OPTIMIZED_POSE_COLUMNS, POSE_COLUMNS, SPACING, read_tracking
from medcli.ultrabones.geometry.bone_meshes import load_surfaces
from medcli.ultrabones.geometry.bone_surface import Surface
from medcli.ultrabones.geometry.image_to_ct import check_frame_size
from medcli.ultrabones.labelling.label_rules import LABEL_RULES
from medcli.ultrabones.labelling.mesh_section import full_label

NEAR_MM = 0.2
"""Mean distance of label pixels to the section: a few pixels, since meshes are simplified and masks are rounded."""
FAR_MM = 3.0
"""Beyond it no refinement within 1 mm and 1 degree explains the distance: another mesh, pose or frame."""
_LEAST_PIXELS = 200
_FOUND, _EXPECTED = (255, 176, 0), (64, 156, 255)
LABELS = {"partial": "label", "full": "label_full"}


@dataclass
class FrameFindings:
    """What one frame of the sample shows.

    Attributes:
        name: its image.
        image: decoded.
        labels: kind -> decoded label, of the labels that are there.
        fit: kind -> mean distance of label pixels to the recomputed label in mm, and the Dice index of both.
        poses: the poses that explain the labels best.
        sheet: (H, W, 3) RGB, the labels over the image; only where asked for.
        problem: why the labels cannot be compared with a mesh, else empty.
    """

    name: str
    image: InspectedImage
    labels: dict[str, InspectedImage] = field(default_factory=dict)
    fit: dict[str, tuple[float, float]] = field(default_factory=dict)
    poses: str = ""
    sheet: NDArray[np.uint8] | None = None
    problem: str = ""


class FrameInspector:
    """Looks into frames; meshes and tables of a record are read once. Thread-safe once prepared.

    Args:
        meshes: folder of meshes; None: each specimen's own.
    """

    def __init__(self, meshes: Path | None) -> None:
        self._meshes = meshes
        self._surfaces: dict[str, list[Surface]] = {}
        self._tables: dict[str, pd.DataFrame] = {}
        self.missing: dict[str, str] = {}
        self.damaged: list[str] = []

    def prepare(self, frames: pd.DataFrame) -> None:
        """Read the meshes and tables of the records in ``frames``.

        What is not there or cannot be read is noted in ``missing``, meshes that cannot be read in ``damaged`` as well.
        """
        read: dict[tuple[Path, ...], list[Surface]] = {}
        for record, specimen in frames[["record_dir", "specimen"]].drop_duplicates().itertuples(index=False):
            try:
                self._tables[record] = read_tracking(record)
                files = tuple(find_meshes(record, int(specimen), self._meshes))
                if files not in read:
                    read[files] = self._load(files)
                self._surfaces[record] = read[files]
            except DataError as error:
                self.missing[record] = error.message

    def _load(self, files: tuple[Path, ...]) -> list[Surface]:
        try:
            return load_surfaces(files)
        except DataError as error:
            if error.message not in self.damaged:
                self.damaged.append(error.message)
            raise

    def inspect(self, row: pd.Series, draw: bool = False) -> FrameFindings:
        """Decode a frame (a row of the index) and its labels, and compare these with the meshes."""
        image, pixels = inspect_image(str(row["image"]))
        found, masks = FrameFindings(str(row["image"]), image), {}
        for kind, column in LABELS.items():
            if row[column]:
                found.labels[kind], mask = inspect_image(str(row[column]))
                if mask is not None and found.labels[kind].shape == image.shape:
                    masks[kind] = mask > 0
        if pixels is None:
            return found
        expected = self._compare(row, found, image.shape or (0, 0), masks) if masks else None
        if draw:
            layers = [(expected > 0, _EXPECTED)] if expected is not None else []
            layers += [(mask, _FOUND) for mask in list(masks.values())[:1]]
            found.sheet = overlay_masks(pixels, *layers)
        return found

    def _compare(
        self, row: pd.Series, found: FrameFindings, shape: tuple[int, int], masks: dict[str, NDArray[np.bool_]]
    ) -> NDArray[np.uint8] | None:
        """Fill in ``fit`` by the poses that explain the labels best; returns the full label of these."""
        record, number, expected, least = str(row["record_dir"]), int(row["tracking"]), None, np.inf
        if number < 0 or record not in self._surfaces:
            return None
        table = self._tables[record].iloc[number]
        spacing = float(table[SPACING])
        for kind, columns in ((OPTIMIZED, OPTIMIZED_POSE_COLUMNS), (INITIAL, POSE_COLUMNS)):
            if columns[0] not in table.index:
                continue
            pose = table[list(columns)].to_numpy(np.float64)
            if Poses(kind, pose[None], np.array([spacing])).problem(0):
                continue  # the line on poses says so
            try:
                check_frame_size(shape, spacing, found.name)
            except DataError as error:
                found.problem = error.message
                return None
            full, _ = full_label(self._surfaces[record], pose, spacing, shape)
            fit = _fits(masks, full, spacing)
            if expected is None or sum(distance for distance, _ in fit.values()) < least:
                found.fit, found.poses, expected = fit, kind, full
                least = sum(distance for distance, _ in fit.values())
        return expected


def _fits(
    labels: dict[str, NDArray[np.bool_]], full: NDArray[np.uint8], spacing_mm: float
) -> dict[str, tuple[float, float]]:
    """Kind -> mean distance of the label's pixels to the section in mm, and Dice index with the label recomputed."""
    import cv2

    fits = {}
    away = (
        cv2.distanceTransform((full == 0).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE) if full.any() else None
    )
    for kind, label in labels.items():
        wanted = LABEL_RULES[kind].compute(full) > 0
        pixels = int(label.sum())
        if pixels + int(wanted.sum()) < _LEAST_PIXELS:
            continue
        dice = 2 * int((label & wanted).sum()) / (pixels + int(wanted.sum()))
        distance = float(away[label].mean()) * spacing_mm if away is not None and pixels else np.inf
        fits[kind] = (distance, dice)
    return fits


def check_frames(checks: Checklist, frames: Sequence[FrameFindings], missing: dict[str, str]) -> None:
    """Lines for the frames of the sample; ``missing``: records whose labels cannot be compared, with the reason."""
    again = DOWNLOAD_HINT
    opened = [frame for frame in frames if frame.image.shape]
    checks.add(
        "images open",
        f"{len(opened):,} of {len(frames):,}",
        [frame.image.problem for frame in frames if frame.image.problem],
        advice=again,
    )
    check_contents(checks, [frame.image for frame in opened])
    _check_kinds(checks, opened)
    labels = [label for frame in frames for label in frame.labels.values()]
    good = [label for label in labels if label.shape]
    checks.add(
        "labels open", f"{len(good):,} of {len(labels):,}", [one.problem for one in labels if one.problem], advice=again
    )
    pairs = [(frame.image, label) for frame in opened for label in frame.labels.values() if label.shape]
    grey = [label.path for label in good if not label.is_binary]
    checks.add(
        "label pixels",
        f"{len(grey):,} of {len(good):,} have values beside 0 and 255",
        [f"{label.path} is {label.size}, its image {image.size}" for image, label in pairs if label.size != image.size],
        grey,
        "a label is 0 or 255, in the size of its image",
    )
    _check_fits(checks, frames, missing)


def _check_kinds(checks: Checklist, frames: Sequence[FrameFindings]) -> None:
    published = {f"{FRAME_WIDTH} x {FRAME_HEIGHT}", "884 x 829"}
    sizes: dict[str, set[str]] = {}
    for frame in frames:
        sizes.setdefault(str(Path(frame.name).parent), set()).add(frame.image.size)
    checks.add(
        "image size",
        count_of([frame.image.size for frame in frames]) or "none opened",
        [
            f"{folder}: {', '.join(sorted(found))}"
            for folder, found in sizes.items()
            if len(found) > 1 and found - published
        ],
        [f"{frame.name}: {frame.image.size}" for frame in frames if frame.image.size not in published],
        f"published: {FRAME_WIDTH} x {FRAME_HEIGHT}; resized frames need a space_factor to match",
    )
    checks.add(
        "image depth",
        count_of([frame.image.kind for frame in frames]) or "none opened",
        warn=[f"{frame.name}: {frame.image.kind}" for frame in frames if frame.image.kind != GREY],
        advice=f"published: {GREY}; others are converted when they are read",
    )


def _check_fits(checks: Checklist, frames: Sequence[FrameFindings], missing: dict[str, str]) -> None:
    compared = [frame for frame in frames if frame.fit]
    unfit = [frame.problem for frame in frames if frame.problem]
    if not compared and not unfit:
        why = next(iter(missing.values()), "no frame has a label, a pose and a mesh")
        checks.unknown("labels on the meshes", why, "name the folder of meshes with --meshes")
        return

    def worst(frame: FrameFindings) -> float:
        return max(distance for distance, _ in frame.fit.values())

    def places(is_meant: Callable[[float], bool]) -> list[str]:
        chosen = [frame for frame in compared if is_meant(worst(frame))]
        return [f"{frame.name}: {worst(frame):.2f} mm from the mesh" for frame in chosen]

    parts = []
    for kind in LABELS:
        fits = np.array([frame.fit[kind] for frame in compared if kind in frame.fit])
        if len(fits):
            middle = np.median(fits, axis=0)
            parts.append(f"{kind} {middle[0]:.3f} mm, Dice {middle[1]:.3f} ({len(fits)})")
    refined = sum(frame.poses == OPTIMIZED for frame in compared)
    labelled = sum(bool(frame.labels) for frame in frames)
    of = f"{len(compared)} of {quantity(labelled, 'frame')} compared; " if len(compared) < labelled else ""
    figure = f"{of}median {'; '.join(parts)}; by refined poses {refined} of {len(compared)}"
    near = places(lambda distance: NEAR_MM < distance <= FAR_MM)
    checks.add(
        "labels on the meshes",
        figure,
        [*unfit, *places(lambda distance: distance > FAR_MM)],
        near,
        "made from other poses or meshes than those here? medcli label ultrabones makes them again",
    )
