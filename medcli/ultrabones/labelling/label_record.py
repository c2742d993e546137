"""Write the labels of one record.

``labels.json`` in the record's folder says from which poses and meshes a folder of labels was made. Labels of another
origin are never mixed with new ones unseen: published ones are kept and counted, own ones made otherwise are refused.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from medcli.core.errors import DataError
from medcli.core.files import make_output_folder
from medcli.core.image_io import read_grey, read_size, write_image
from medcli.core.made_with import differences, fingerprint, reject_other_options
from medcli.core.overlays import overlay_masks
from medcli.core.progress import SILENT, Progress
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
from medcli.ultrabones.labelling.label_rules import FIRST_RUN, LabelRule, visible_rule
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


def label_sweep(
    sweep: Sweep,
    poses: Poses,
    surfaces: Sequence[Surface],
    rules: Sequence[LabelRule],
    overlay: bool = False,
    overwrite: bool = False,
    workers: int = 1,
    progress: Progress = SILENT,
    visible: LabelRule | None = None,
) -> list[FrameLabel]:
    """Label the tracked frames of a sweep.

    Args:
        rules: which labels.
        overlay: also draw each label over its frame, in ``Overlays``.
        visible: which rule says what is seen; None: the default.

    Returns:
        one result a tracked frame, in order.

    Raises:
        DataError: no frame comes near a mesh, or labels made with other settings are there and ``overwrite`` is off.
    """
    frames = [frame for frame in range(len(sweep.timestamps)) if sweep.rows[frame] >= 0]
    refuse_unless_near(sweep, poses, surfaces)
    written = folders_of(rules, overlay)
    visible = visible or visible_rule()
    with _stamped(sweep, poses, surfaces, written, overwrite, visible):
        for name in written:
            make_output_folder(sweep.folder / name)

        def label(frame: int) -> FrameLabel:
            try:
                return _label_frame(sweep, poses, frame, surfaces, rules, overlay, overwrite, visible)
            except DataError as error:
                return FrameLabel(failure=f"{sweep.name} {sweep.timestamps[frame]}: {error.message}")

        results = []
        with progress.task(f"label {sweep.name}", len(frames), "frames") as advance:
            for result in map_in_threads(label, frames, workers):
                results.append(result)
                advance(1)
    return results


def folders_of(rules: Sequence[LabelRule], overlay: bool = False) -> tuple[str, ...]:
    """Names of the folders in each record that labels, and overlays, are written to."""
    return (*(rule.folder for rule in rules), *([OVERLAY_FOLDER] if overlay else []))


def refuse_unrefined(sweep: Sweep, folders: Sequence[str]) -> None:
    """Raise :class:`DataError` when labels of unrefined poses are there, before minutes of refining end with that."""
    stamps = read_stamps(sweep.folder / STAMP)
    for name in folders:
        if _holds_labels(sweep, name) and stamps.get(name, {}).get("poses") == INITIAL:
            changed = differences(stamps[name], {"poses": OPTIMIZED})
            reject_other_options(sweep.folder / name, changed, _REMEDY, DataError)


def refuse_other_labels(
    sweep: Sweep, poses: Poses, surfaces: Sequence[Surface], folders: Sequence[str], visible: LabelRule | None = None
) -> None:
    """Raise :class:`DataError` when a folder holds files that :func:`label_sweep` made from something else."""
    wanted = _stamps_of(sweep, poses, surfaces, folders, visible or visible_rule())
    _refuse_other_labels(sweep, read_stamps(sweep.folder / STAMP), wanted, overwrite=False)


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


def _label_frame(
    sweep: Sweep,
    poses: Poses,
    frame: int,
    surfaces: Sequence[Surface],
    rules: Sequence[LabelRule],
    overlay: bool,
    overwrite: bool,
    visible: LabelRule,
) -> FrameLabel:
    shape = _check_frame(sweep, poses, frame)
    spacing = float(poses.spacing_mm[frame])
    full, pixels = full_label(surfaces, poses.pose[frame], spacing, shape, probe=sweep.probe)
    image = read_grey(sweep.images[frame]) if overlay or visible.in_image else None
    labels = {rule.folder: rule.compute(full) for rule in {*rules, visible}}
    if visible.in_image and image is not None:
        labels[visible.folder] = visible.in_image(labels[visible.folder], image, spacing)
    seen = labels[visible.folder]
    result = FrameLabel(pixels=pixels, seen=int(np.count_nonzero(seen)))
    for folder in folders_of(rules):
        path = sweep.folder / folder / mask_name(sweep.timestamps[frame], folder)
        if path.exists() and not overwrite:
            result = replace(result, present=result.present + 1)
        else:
            write_image(path, labels[folder])
            result = replace(result, written=result.written + 1)
    if overlay and image is not None:
        path = label_overlay_path(sweep, sweep.timestamps[frame])
        if overwrite or not path.exists():
            write_image(path, draw_overlay(image, full, seen), quality=90)
            result = replace(result, written=result.written + 1)
    return result


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


def _stamps_of(
    sweep: Sweep, poses: Poses, surfaces: Sequence[Surface], folders: Sequence[str], visible: LabelRule
) -> dict[str, dict[str, object]]:
    """What each folder's files are made from; the rule of what is seen only where it matters and is not the default."""
    known = label_fingerprint(poses, surfaces, sweep.probe)
    stamp: dict[str, object] = {
        **stamp_of_probe(sweep.probe),
        "poses": poses.kind,
        "meshes": [surface.name for surface in surfaces],
        "pose_digest": pose_digest(poses),
        "fingerprint": known,
    }
    of_rule = {"visible_rule": visible.name, "fingerprint": fingerprint(f"{known} {visible.name}")}
    shows_seen = (visible.folder, OVERLAY_FOLDER)
    return {name: stamp | (of_rule if visible.name and name in shows_seen else {}) for name in folders}


@contextmanager
def _stamped(
    sweep: Sweep,
    poses: Poses,
    surfaces: Sequence[Surface],
    folders: Sequence[str],
    overwrite: bool,
    visible: LabelRule,
) -> Iterator[None]:
    """Say in the record's folder what its labels are made from, and meanwhile that old ones are being replaced."""
    path = sweep.folder / STAMP
    stamps, wanted = read_stamps(path), _stamps_of(sweep, poses, surfaces, (*folders, OVERLAY_FOLDER), visible)
    ours = _refuse_other_labels(sweep, stamps, {name: wanted[name] for name in folders}, overwrite)
    for name in ours:
        replaced = overwrite and _holds_labels(sweep, name)
        stamps[name] = wanted[name] | ({"fingerprint": UNFINISHED} if replaced else {})
    stale = stamps.get(OVERLAY_FOLDER, {}).get("fingerprint") != wanted[OVERLAY_FOLDER]["fingerprint"]
    if stale and OVERLAY_FOLDER not in folders and _holds_labels(sweep, OVERLAY_FOLDER):
        logger.warning("%s shows other labels (--overlay --overwrite draws it again)", sweep.folder / OVERLAY_FOLDER)
    write_stamps(path, stamps)
    yield
    write_stamps(path, stamps | {name: wanted[name] for name in ours})


def _refuse_other_labels(
    sweep: Sweep,
    stamps: Mapping[str, Mapping[str, object]],
    wanted: Mapping[str, Mapping[str, object]],
    overwrite: bool,
) -> list[str]:
    """The folders that get a stamp; raises :class:`DataError` for one with files made from something else."""
    ours = []
    for name in wanted:
        present = _holds_labels(sweep, name)
        stamp = stamps.get(name)
        if present and not overwrite and stamp is None:
            logger.warning("%s: files of another origin are kept (--overwrite replaces them)", sweep.folder / name)
            continue
        if present and not overwrite and stamp and stamp["fingerprint"] != wanted[name]["fingerprint"]:
            reject_other_options(sweep.folder / name, _changes(stamp, wanted[name]), _REMEDY, DataError)
        ours.append(name)
    return ours


def _changes(stamp: Mapping[str, object], wanted: Mapping[str, object]) -> list[str]:
    """The keys in which a stamp differs, the default rule of what is seen and the default probe named too."""
    default = {"visible_rule": FIRST_RUN, **stamp_of_probe(None)}
    return differences({**default, **stamp}, {**default, **wanted})


def _holds_labels(sweep: Sweep, name: str) -> bool:
    return (sweep.folder / name).is_dir() and any(
        (sweep.folder / name).glob("*.jpg" if name == OVERLAY_FOLDER else "*.png")
    )
