"""Write the labels of one record.

``labels.json`` in the record's folder says from which poses and meshes a folder of labels was made. Labels of another
origin are never mixed with new ones unseen: published ones are kept and counted, own ones made otherwise are refused.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn

import numpy as np
from numpy.typing import NDArray

from medcli.core.errors import DataError
from medcli.core.files import make_output_folder
from medcli.core.image_io import read_grey, read_size, write_image
from medcli.core.made_with import differences, fingerprint, reject_other_options
from medcli.core.overlays import overlay_masks
from medcli.core.progress import SILENT, Progress
from medcli.core.system.open_files import remove_file
from medcli.core.threads import map_in_threads
from medcli.ultrabones.dataset.folder_layout import mask_name
from medcli.ultrabones.dataset.probe import ULTRABONES100K, Probe
from medcli.ultrabones.dataset.records import INITIAL, OPTIMIZED, Poses, Sweep
from medcli.ultrabones.geometry.bone_meshes import digest
from medcli.ultrabones.geometry.bone_surface import Surface
from medcli.ultrabones.geometry.image_to_ct import check_frame_size, pixels_to_ct
from medcli.ultrabones.labelling.label_origin import (
    STAMP,
    UNFINISHED,
    pose_digest,
    read_stamps,
    stamp_of_probe,
    write_stamps,
)
from medcli.ultrabones.labelling.label_rules import FIRST_RUN, LabelRule
from medcli.ultrabones.labelling.mesh_section import BAND_MM, full_label

OVERLAY_FOLDER = "Overlays"
_REMEDY = "give --overwrite to replace them"
_SEEN_COLOUR, _HIDDEN_COLOUR = (255, 176, 0), (64, 156, 255)

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class FrameLabel:
    """What became of one frame.

    Attributes:
        written: files written.
        present: label files that were there already and were left alone.
        pixels: (surfaces,), label pixels that each bone added.
        seen: pixels of the partial label.
        failure: why there is no label, else empty.
    """

    written: int = 0
    present: int = 0
    pixels: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    seen: int = 0
    failure: str = ""


@dataclass(frozen=True)
class RecordLabelling:
    """How a record is labelled.

    Attributes:
        sweep, poses, surfaces: its frames, the poses of these, and the bones.
        rules: which labels.
        visible: which rule says what is seen.
        overlay: also draw each label over its frame, in ``Overlays``.
        overwrite: replace files that are there.
    """

    sweep: Sweep
    poses: Poses
    surfaces: Sequence[Surface]
    rules: Sequence[LabelRule]
    visible: LabelRule
    overlay: bool
    overwrite: bool

    @property
    def folders(self) -> tuple[str, ...]:
        """Names of the folders in the record that labels, and overlays, are written to."""
        return (*(rule.folder for rule in self.rules), *([OVERLAY_FOLDER] if self.overlay else []))


def label_sweep(how: RecordLabelling, workers: int = 1, progress: Progress = SILENT) -> list[FrameLabel]:
    """Label the tracked frames of a sweep.

    Returns:
        one result a tracked frame, in order.

    Raises:
        DataError: no frame comes near a mesh, or labels made with other settings are there and ``overwrite`` is off.
    """
    sweep = how.sweep
    frames = [frame for frame in range(len(sweep.timestamps)) if sweep.rows[frame] >= 0]
    refuse_unless_near(sweep, how.poses, how.surfaces)
    with _stamped(how):
        for name in how.folders:
            make_output_folder(sweep.folder / name)

        def label(frame: int) -> FrameLabel:
            made: list[Path] = []
            try:
                return _label_frame(how, frame, made)
            except DataError as error:
                removed = (
                    " (what it had before is removed)" if how.overwrite and _remove_others(how, frame, made) else ""
                )
                failure = f"{sweep.name} {sweep.timestamps[frame]}: {error.message}{removed}"
                return FrameLabel(written=len(made), failure=failure)

        results = []
        with progress.task(f"label {sweep.name}", len(frames), "frames") as advance:
            for result in map_in_threads(label, frames, workers):
                results.append(result)
                advance(1)
    return results


def refuse_unrefined(sweep: Sweep, rules: Sequence[LabelRule]) -> None:
    """Raise :class:`DataError` when labels of unrefined poses are there, before minutes of refining end with that."""
    stamps = read_stamps(sweep.folder / STAMP)
    for name in (rule.folder for rule in rules):
        if _holds_labels(sweep, name) and stamps.get(name, {}).get("poses") == INITIAL:
            changed = differences(stamps[name], {"poses": OPTIMIZED})
            reject_other_options(sweep.folder / name, changed, _REMEDY, DataError)


def refuse_other_labels(how: RecordLabelling, stamps: Mapping[str, Mapping[str, object]] | None = None) -> list[str]:
    """The folders that get a stamp; ``stamps`` are those of the record, which are read where they are not given.

    Raises:
        DataError: a folder holds files that :func:`label_sweep` made from something else, and is not overwritten.
    """
    stamps = read_stamps(how.sweep.folder / STAMP) if stamps is None else stamps
    ours, wanted = [], _stamps_of(how)
    for name in how.folders:
        present, stamp = not how.overwrite and _holds_labels(how.sweep, name), stamps.get(name)
        if present and stamp is None:
            logger.warning("%s: files of another origin are kept (--overwrite replaces them)", how.sweep.folder / name)
            continue
        if present and stamp and stamp["fingerprint"] != wanted[name]["fingerprint"]:
            _refuse_made_otherwise(how.sweep.folder / name, stamp, wanted[name])
        ours.append(name)
    return ours


def refuse_unless_near(sweep: Sweep, poses: Poses, surfaces: Sequence[Surface]) -> None:
    """Raise :class:`DataError`, when no frame of a sweep can be used, or none meets a mesh (says how far)."""
    usable, problem = [], ""
    for frame in np.flatnonzero(sweep.rows >= 0).tolist():
        spacing = float(poses.spacing_mm[frame])
        try:
            _check_frame(sweep, poses, frame)  # first of all: a wrong spacing would draw a label of gigabytes
        except DataError as error:
            problem = problem or f"{sweep.timestamps[frame]}: {error.message}"
            continue
        usable.append(frame)
        shape = sweep.probe.frame_shape(spacing)
        if full_label(surfaces, poses.pose[frame], spacing, shape, probe=sweep.probe)[1].any():
            return
    if problem and not usable:
        raise DataError(f"no frame of {sweep.name} can be labelled; {problem}")
    if usable:
        names = ", ".join(surface.name for surface in surfaces)
        raise DataError(
            f"no frame of {sweep.name} meets a mesh ({names}): "
            f"the nearest is {_nearest(usable, sweep, poses, surfaces):.1f} mm away",
            "are these the meshes of this specimen and leg (not of the other one), in millimetres and in the CT's "
            "coordinates?",
        )


def _nearest(frames: Sequence[int], sweep: Sweep, poses: Poses, surfaces: Sequence[Surface]) -> float:
    """Smallest distance in millimetres of a coarse grid of the frames' pixels to the meshes."""
    probe = sweep.probe
    rows, columns = (grid.ravel() for grid in np.mgrid[0 : probe.rows : 90, 0 : probe.columns : 73])
    points = [pixels_to_ct(poses.pose[frame], columns, rows, probe.spacing_mm, probe) for frame in frames]
    return float(min(surface.distances(np.concatenate(points)).min() for surface in surfaces))


def _check_frame(sweep: Sweep, poses: Poses, frame: int) -> tuple[int, int]:
    """Rows and columns of a frame; :class:`DataError` when its pose, spacing or size cannot be used."""
    problem = poses.problem(frame)
    if problem:
        raise DataError(problem)
    shape = read_size(sweep.images[frame])
    check_frame_size(shape, float(poses.spacing_mm[frame]), sweep.images[frame], sweep.probe)
    return shape


def _label_frame(how: RecordLabelling, frame: int, made: list[Path]) -> FrameLabel:
    """Label a frame, and list in ``made`` what is written, also where the overlay then fails for the image."""
    sweep, poses, visible = how.sweep, how.poses, how.visible
    shape = _check_frame(sweep, poses, frame)
    spacing = float(poses.spacing_mm[frame])
    full, pixels = full_label(how.surfaces, poses.pose[frame], spacing, shape, probe=sweep.probe)
    image = read_grey(sweep.images[frame]) if visible.in_image else None
    labels = {rule.folder: rule.compute(full) for rule in {*how.rules, visible}}
    if visible.in_image and image is not None:
        labels[visible.folder] = visible.in_image(labels[visible.folder], image, spacing)
    seen = labels[visible.folder]
    present = 0
    for folder, path in _label_paths(how, frame).items():
        if path.exists() and not how.overwrite:
            present += 1
        else:
            write_image(path, labels[folder])
            made.append(path)
    overlay = label_overlay_path(sweep, sweep.timestamps[frame])
    if how.overlay and (how.overwrite or not overlay.exists()):
        image = read_grey(sweep.images[frame]) if image is None else image
        write_image(overlay, draw_overlay(image, full, seen), quality=90)
        made.append(overlay)
    return FrameLabel(len(made), present, pixels, int(np.count_nonzero(seen)))


def _label_paths(how: RecordLabelling, frame: int) -> dict[str, Path]:
    """The label of a frame by its folder."""
    stamp, names = how.sweep.timestamps[frame], [rule.folder for rule in how.rules]
    return {name: how.sweep.folder / name / mask_name(stamp, name) for name in names}


def _remove_others(how: RecordLabelling, frame: int, made: Sequence[Path]) -> bool:
    """Remove what an earlier run made of a frame and this one could not; whether there was anything."""
    overlays = [label_overlay_path(how.sweep, how.sweep.timestamps[frame])] if how.overlay else []
    paths = [*_label_paths(how, frame).values(), *overlays]
    there = [path for path in paths if path not in made and path.exists()]
    for path in there:
        remove_file(path)
    return bool(there)


def label_overlay_path(sweep: Sweep, timestamp: int) -> Path:
    """Path of the overlay of a frame."""
    return sweep.folder / OVERLAY_FOLDER / f"{timestamp}_overlay.jpg"


def draw_overlay(image: NDArray[np.uint8], full: NDArray[np.uint8], seen: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """A frame in grey with its full label in blue and the part the probe sees in orange, (rows, columns, 3)."""
    return overlay_masks(image, (full > 0, _HIDDEN_COLOUR), (seen > 0, _SEEN_COLOUR))


def label_fingerprint(poses: Poses, surfaces: Sequence[Surface], probe: Probe = ULTRABONES100K) -> str:
    """A short text that changes when any label could."""
    numbers = (poses.pose.astype("<f8").tobytes(), poses.spacing_mm.astype("<f8").tobytes())
    return fingerprint(f"{digest(surfaces)} {BAND_MM}", *numbers, *stamp_of_probe(probe).values())


def _stamps_of(how: RecordLabelling) -> dict[str, dict[str, object]]:
    """What each folder's files are made from; the rule of what is seen only where it matters and is not the default."""
    visible, known = how.visible, label_fingerprint(how.poses, how.surfaces, how.sweep.probe)
    stamp: dict[str, object] = {
        **stamp_of_probe(how.sweep.probe),
        "poses": how.poses.kind,
        "meshes": [surface.name for surface in how.surfaces],
        "pose_digest": pose_digest(how.poses),
        "fingerprint": known,
    }
    of_rule = {"visible_rule": visible.name, "fingerprint": fingerprint(f"{known} {visible.name}")}
    shows_seen = (visible.folder, OVERLAY_FOLDER)
    names = (*how.folders, OVERLAY_FOLDER)
    return {name: stamp | (of_rule if visible.name and name in shows_seen else {}) for name in names}


@contextmanager
def _stamped(how: RecordLabelling) -> Iterator[None]:
    """Say in the record's folder what its labels are made from, and meanwhile that old ones are being replaced."""
    sweep, path = how.sweep, how.sweep.folder / STAMP
    stamps, wanted = read_stamps(path), _stamps_of(how)
    ours = refuse_other_labels(how, stamps)
    for name in ours:
        replaced = how.overwrite and _holds_labels(sweep, name)
        stamps[name] = wanted[name] | ({"fingerprint": UNFINISHED} if replaced else {})
    stale = stamps.get(OVERLAY_FOLDER, {}).get("fingerprint") != wanted[OVERLAY_FOLDER]["fingerprint"]
    if stale and OVERLAY_FOLDER not in how.folders and _holds_labels(sweep, OVERLAY_FOLDER):
        logger.warning("%s shows other labels (--overlay --overwrite draws it again)", sweep.folder / OVERLAY_FOLDER)
    write_stamps(path, stamps)
    yield
    write_stamps(path, stamps | {name: wanted[name] for name in ours})


def _refuse_made_otherwise(folder: Path, stamp: Mapping[str, object], wanted: Mapping[str, object]) -> NoReturn:
    """Say in what a stamp differs, the default rule of what is seen and the default probe named too."""
    default = {"visible_rule": FIRST_RUN, **stamp_of_probe(None)}
    named = {
        name: value for name, value in (default | dict(wanted)).items() if name not in ("pose_digest", "fingerprint")
    }
    reject_other_options(folder, differences({**default, **stamp}, named), _REMEDY, DataError)
    if stamp["fingerprint"] == UNFINISHED:
        raise DataError(f"{folder} is partly of other poses or meshes: medcli label --overwrite was stopped", _REMEDY)
    same = stamp.get("pose_digest") == wanted["pose_digest"]
    sources = "meshes" if same else f"{wanted['poses']} poses" if "pose_digest" in stamp else "poses or meshes"
    raise DataError(f"{folder} was made from {sources} that have changed since", _REMEDY)


def _holds_labels(sweep: Sweep, name: str) -> bool:
    return (sweep.folder / name).is_dir() and any(
        (sweep.folder / name).glob("*.jpg" if name == OVERLAY_FOLDER else "*.png")
    )
