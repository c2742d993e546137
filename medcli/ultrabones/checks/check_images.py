"""Checks of UltraBones100k on a sample of frames: images and labels, and labels against the CT meshes."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from medcli.core.checking.check_lines import Checklist, count_of, some_of
from medcli.core.checking.image_kinds import InspectedImage, check_depth, check_opened, inspect_image
from medcli.core.errors import DataError, quantity
from medcli.core.overlays import overlay_masks
from medcli.ultrabones.dataset.constants import FRAME_HEIGHT, FRAME_WIDTH
from medcli.ultrabones.dataset.mesh_files import absent_bones, find_meshes
from medcli.ultrabones.dataset.probe import probe_of_record
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
"""Beyond it no refinement within 1 mm and 1 degree explains the distance."""
OUTLIER_MM = 1.0
"""Beyond it a label is of another frame where most of its record are near: poses and meshes are the right ones."""
_LEAST_PIXELS = 200
_FOUND, _EXPECTED = (255, 176, 0), (64, 156, 255)
_PUBLISHED_SIZES = (f"{FRAME_WIDTH} x {FRAME_HEIGHT}", "884 x 829")
LABELS = {"partial": "label", "full": "label_full"}


class LabelFit(NamedTuple):
    """How a label agrees with the one recomputed from the meshes.

    Attributes:
        section_mm: mean distance of the label's pixels to the full section.
        dice: index of the label and the recomputed one of its kind.
        kind_mm: median distance of the label's pixels to the recomputed label of its kind: a partial label of another
            frame may cross the far side of the section, and so be near it all along.
    """

    section_mm: float
    dice: float
    kind_mm: float

    @property
    def off_mm(self) -> float:
        """How far the label is from where it should be; a label by another rule is not off as long as it is near."""
        return max(self.section_mm, self.kind_mm) if self.kind_mm > OUTLIER_MM else self.section_mm


@dataclass
class FrameFindings:
    """What one frame of the sample shows.

    Attributes:
        name: its image.
        image: decoded.
        labels: kind -> decoded label, of the labels that are there.
        specimen: its number.
        fit: kind -> how the label agrees with the recomputed one.
        poses: the poses that explain the labels best.
        sheet: (H, W, 3) RGB, the labels over the image; only where asked for.
        problem: why the labels cannot be compared with a mesh, else empty.
    """

    name: str
    image: InspectedImage
    labels: dict[str, InspectedImage] = field(default_factory=dict)
    specimen: int = 0
    fit: dict[str, LabelFit] = field(default_factory=dict)
    poses: str = ""
    sheet: NDArray[np.uint8] | None = None
    problem: str = ""

    @property
    def off_mm(self) -> float:
        """The distance of the worse of its labels, 0 where none is compared."""
        return max((fit.off_mm for fit in self.fit.values()), default=0.0)


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
        self.incomplete: dict[int, str] = {}
        self.damaged: list[str] = []

    def prepare(self, frames: pd.DataFrame) -> None:
        """Read the meshes and tables of the records in ``frames``.

        What is not there or cannot be read is noted in ``missing``, meshes that cannot be read in ``damaged`` as well,
        specimens without a mesh of each bone in ``incomplete``.
        """
        read: dict[tuple[Path, ...], list[Surface]] = {}
        for record, specimen in frames[["record_dir", "specimen"]].drop_duplicates().itertuples(index=False):
            try:
                self._tables[record] = read_tracking(record)
                files = tuple(find_meshes(record, int(specimen), self._meshes))
                if absent := absent_bones(path.stem for path in files):
                    self.incomplete[int(specimen)] = ", ".join(f"{bone}.stl" for bone in absent)
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
        found, masks = FrameFindings(str(row["image"]), image, specimen=int(row["specimen"])), {}
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
                probe = probe_of_record(record)
                check_frame_size(shape, spacing, found.name, probe)
            except DataError as error:
                found.problem = error.message
                return None
            full, _ = full_label(self._surfaces[record], pose, spacing, shape, probe=probe)
            fit = compare_labels(masks, full, spacing)
            total = sum(one.section_mm for one in fit.values())
            if expected is None or total < least:
                found.fit, found.poses, expected, least = fit, kind, full, total
        return expected


def compare_labels(
    labels: dict[str, NDArray[np.bool_]], full: NDArray[np.uint8], spacing_mm: float
) -> dict[str, LabelFit]:
    """How labels agree with those recomputed from the section; those of a few pixels are left out.

    Args:
        labels: kind -> label, (rows, columns).
        full: the section, (rows, columns), 0 and 255.
        spacing_mm: of the pixels.
    """
    fits = {}
    away = _distances(full > 0)
    for kind, label in labels.items():
        wanted = LABEL_RULES[kind].compute(full) > 0
        pixels = int(label.sum())
        if pixels + int(wanted.sum()) < _LEAST_PIXELS:
            continue
        both = int((label & wanted).sum())
        distance = float(away[label].mean()) * spacing_mm if away is not None and pixels else np.inf
        apart = 0.0
        if 2 * both < pixels:  # otherwise the median is 0
            own = _distances(wanted)
            apart = float(np.median(own[label])) * spacing_mm if own is not None else np.inf
        fits[kind] = LabelFit(distance, 2 * both / (pixels + int(wanted.sum())), apart)
    return fits


def _distances(mask: NDArray[np.bool_]) -> NDArray[np.float32] | None:
    """Each pixel's distance to the mask in pixels; None for an empty one."""
    import cv2

    if not mask.any():
        return None
    return np.asarray(cv2.distanceTransform((~mask).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE), np.float32)


def check_frames(
    checks: Checklist, frames: Sequence[FrameFindings], missing: dict[str, str], incomplete: dict[int, str]
) -> None:
    """Lines for the frames of the sample.

    Args:
        missing: records whose labels cannot be compared, with the reason.
        incomplete: specimens without a mesh of each bone, with the names of those that are absent.
    """
    check_opened(checks, [frame.image for frame in frames], DOWNLOAD_HINT)
    opened = [frame for frame in frames if frame.image.shape]
    _check_kinds(checks, opened)
    labels = [label for frame in frames for label in frame.labels.values()]
    good = [label for label in labels if label.shape]
    broken = [label.problem for label in labels if label.problem]
    checks.add("labels open", f"{len(good):,} of {len(labels):,}", broken, advice=DOWNLOAD_HINT)
    pairs = [(frame.image, label) for frame in opened for label in frame.labels.values() if label.shape]
    grey = [label.path for label in good if not label.is_binary]
    checks.add(
        "label pixels",
        f"{some_of(len(grey), len(good))} with values other than 0 and 255",
        [f"{label.path} is {label.size}, its image {image.size}" for image, label in pairs if label.size != image.size],
        grey,
        "a label is 0 or 255, in the size of its image",
    )
    _check_fits(checks, frames, missing, incomplete)


def _check_kinds(checks: Checklist, frames: Sequence[FrameFindings]) -> None:
    folders = defaultdict(list)
    for frame in frames:
        folders[Path(frame.name).parent].append(frame)
    expected = {folder: _expected_sizes(folder.parent) for folder in folders}
    sizes = {folder: {frame.image.size for frame in own} for folder, own in folders.items()}
    named = ", ".join(sorted({own[0] for own in expected.values()}))
    odd = [frame for folder, own in folders.items() for frame in own if frame.image.size not in expected[folder]]
    checks.add(
        "image size",
        count_of([frame.image.size for frame in frames]) or "none opened",
        [f"{one}: {', '.join(sorted(own))}" for one, own in sizes.items() if len(own) > 1 and own - {*expected[one]}],
        [f"{frame.name}: {frame.image.size}" for frame in odd],
        f"expected by the probe: {named}; resized frames need a space_factor to match",
    )
    check_depth(checks, [frame.image for frame in frames], "others are converted when they are read")


def _expected_sizes(record: Path) -> tuple[str, ...]:  # the usual one first
    try:
        probe = probe_of_record(record)
    except DataError:
        return _PUBLISHED_SIZES
    return _PUBLISHED_SIZES if probe.is_published else (f"{probe.columns} x {probe.rows}",)


def _check_fits(
    checks: Checklist, frames: Sequence[FrameFindings], missing: dict[str, str], incomplete: dict[int, str]
) -> None:
    compared = [frame for frame in frames if frame.fit]
    unfit = [frame.problem for frame in frames if frame.problem]
    # labels that lie on the meshes that are there were made from these; others may be of a bone that is absent
    unjudged = {frame.specimen for frame in compared if frame.specimen in incomplete and frame.off_mm > NEAR_MM}
    compared = [frame for frame in compared if frame.specimen not in unjudged]
    left_out = [f"specimen {number}, which has no {incomplete[number]}" for number in sorted(unjudged)]
    if not compared and not unfit:
        why = next(iter(missing.values()), "no frame has a label, a pose and a mesh")
        why = f"not compared: {'; '.join(left_out)}" if left_out else why
        checks.unknown("labels on the meshes", why, "name the folder of meshes with --meshes")
        return
    labelled = sum(bool(frame.labels) for frame in frames)
    of = f"{len(compared)} of {quantity(labelled, 'frame')} compared; " if len(compared) < labelled else ""
    of += f"without {'; without '.join(left_out)}; " if left_out else ""
    refined = sum(frame.poses == OPTIMIZED for frame in compared)
    far = _misplaced(compared)
    off = [frame for frame in compared if frame.off_mm > NEAR_MM]
    counts = f"{some_of(len(off), len(compared))} off by more than {NEAR_MM:g} mm"
    counts += f", {len(far) if len(far) < len(off) else 'all'} of them wrong" if far else ""
    counts += _by_specimen(far or off)
    checks.add(
        "labels on the meshes",
        f"{of}{counts}; median {_medians(compared)}; by refined poses {refined} of {len(compared)}",
        [*unfit, *_places(far)],
        _places(off),
        "made from other poses or meshes than those here? medcli label ultrabones makes them again",
    )


def _medians(compared: Sequence[FrameFindings]) -> str:
    parts = []
    for kind in LABELS:
        fits = np.array([frame.fit[kind][:2] for frame in compared if kind in frame.fit])
        if len(fits):
            middle = np.median(fits, axis=0)
            parts.append(f"{kind} {middle[0]:.3f} mm, Dice {middle[1]:.3f} ({len(fits)})")
    return "; ".join(parts)


def _misplaced(compared: Sequence[FrameFindings]) -> list[FrameFindings]:
    """Frames whose labels no refinement explains, alone or beside the others of their record."""
    records = defaultdict(list)
    for frame in compared:
        records[Path(frame.name).parent].append(frame.off_mm)
    bounds = {record: OUTLIER_MM if np.median(off) <= NEAR_MM else FAR_MM for record, off in records.items()}
    return [frame for frame in compared if frame.off_mm > bounds[Path(frame.name).parent]]


def _by_specimen(frames: Sequence[FrameFindings]) -> str:
    """`` (specimen 3: 1, specimen 6: 2)``, empty without frames."""
    counts = sorted(Counter(frame.specimen for frame in frames).items())
    return f" ({', '.join(f'specimen {number}: {count:,}' for number, count in counts)})" if counts else ""


def _places(frames: Sequence[FrameFindings]) -> list[str]:
    """Each frame with its distance; one of each specimen first, so that the first few name several."""
    seen: dict[int, int] = defaultdict(int)
    ranked = []
    for frame in frames:
        ranked.append((seen[frame.specimen], frame))
        seen[frame.specimen] += 1
    ranked.sort(key=lambda pair: pair[0])
    return [f"{frame.name}: {frame.off_mm:.2f} mm from where the meshes put its label" for _, frame in ranked]
