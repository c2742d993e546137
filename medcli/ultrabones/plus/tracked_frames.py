"""What a PLUS sequence file says of each frame: when it was taken, where the probe was, and how the image lies.

Source: the pages *Sequence file* and *Ultrasound image orientation* of the PLUS toolkit's user manual. Frame fields are
``Seq_Frame0000_<Name> = …``; transforms ``<From>To<To>Transform`` are 16 numbers, row by row, in millimetres, with
``<From>To<To>TransformStatus`` beside them; ``Timestamp`` is in seconds.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from medcli.core.errors import DataError, UsageError, printable, quantity
from medcli.core.plausibility import POSITION_MM
from medcli.core.rigid_transforms import invert_rigid
from medcli.ultrabones.dataset.probe import ORIGINS, SCHEMA, UNITS, probe_problems
from medcli.ultrabones.plus.meta_image import MetaImage

DEFAULT_TRANSFORM = "ProbeToReference"
_IMAGE_TO_PROBE = "ImageToProbe"
_FRAME_FIELD = re.compile(r"Seq_Frame(\d{1,9})_(\w+)")
_NAME = re.compile(r"(\w+?)To(\w+)")
_RIGID_TO = 1e-3
_MIRRORED = 0.1  # of the volume that its axes span
_NEAREST_MM = 5.0
_STATUS, _TRANSFORM = "TransformStatus", "Transform"
_LATERAL, _AXIAL = "MU", "FN"


@dataclass(frozen=True)
class TrackedFrames:
    """The frames of a sequence file.

    Attributes:
        transform: which transforms are the poses, such as ``ProbeToReference``, and how they were found.
        timestamps: (frames,), milliseconds, different, from 0 on; meaningless where a frame cannot be used.
        poses: (frames, 4, 4), NaN where a frame cannot be used.
        invalid: frames whose transform the tracker marked as invalid, or that have none.
        not_rigid: frames whose transform is no rigid motion.
        without_image: frames whose image is marked as invalid.
        shifted: timestamps that were moved, since two frames had the same one.
        numbered: there are no timestamps: frames are numbered.
        without_time: usable frames left out, since they alone have no timestamp.
        descending: how often the time runs back from a frame to the next.
        advanced_s: seconds added to every timestamp, since the first is negative.
        orientation: of the image in the file: ``MF`` and the like.
        assumed: why the orientation was taken to be MF: the file does not know it; empty where it does.
    """

    transform: str
    timestamps: NDArray[np.int64]
    poses: NDArray[np.float64]
    invalid: int
    not_rigid: int
    without_image: int
    shifted: int
    numbered: bool
    orientation: str
    without_time: int = 0
    descending: int = 0
    advanced_s: float = 0.0
    assumed: str = ""

    @property
    def usable(self) -> NDArray[np.bool_]:
        """(frames,): those with an image and a pose."""
        return np.asarray(np.isfinite(self.poses).all(axis=(1, 2)))

    def upright(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """An image (rows, columns) as MF: the marked side to the right, depth downwards."""
        code = self.orientation
        if code[0] in _AXIAL:
            image, code = image.T, code[1] + code[0]
        image = image[:, ::-1] if code[0] == "U" else image
        return np.ascontiguousarray(image[::-1] if code[1] == "N" else image)


def read_tracked_frames(image: MetaImage, transform: str | None = None) -> TrackedFrames:
    """The poses and times of a sequence file's frames.

    Args:
        transform: name of the transform from the probe to what stands still; None: ``ProbeToReference``.

    Raises:
        DataError: no frame can be used, or the image's orientation is unknown; says why.
        UsageError: there is no such transform; lists those that are there.
    """
    frames = _fields_by_frame(image)
    orientation, assumed = _orientation_of(image)
    name, poses = _poses_of(frames, transform, image)
    found = np.asarray(np.isfinite(poses).all(axis=(1, 2)))
    rigid = np.array([bool(ok) and _is_rigid(pose) for ok, pose in zip(found, poses, strict=True)])
    shown = np.array([fields.get("ImageStatus", "OK").upper() == "OK" for fields in frames])
    if not rigid.any():
        raise DataError(
            f"{image.path}: none of {quantity(image.frames, 'frame')} has a valid {name}"
            + (f" ({int(found.sum()):,} are no rigid motions)" if found.any() else ""),
            f"another can be chosen with --transform: {', '.join(_names_in(frames)) or 'there is none'}",
        )
    if not (rigid & shown).any():
        raise DataError(f"{image.path}: no frame with a valid {name} has a valid image")
    far = float(np.abs(poses[rigid, :3, 3]).max())
    if 0 < far < _NEAREST_MM:
        raise DataError(
            f"{image.path}: no translation of {name} exceeds {far:.3g} mm, so this looks like metres",
            "write the transforms in millimetres, as PLUS does",
        )
    poses[~(rigid & shown)] = np.nan
    usable = rigid & shown
    seconds = np.array([_seconds(fields.get("Timestamp", "")) for fields in frames])
    numbered = bool(np.isnan(seconds[usable]).all())
    if numbered:
        seconds = np.arange(len(frames)) / 1000.0
    timed = ~np.isnan(seconds)
    poses[~timed] = np.nan
    timestamps, shifted, advanced_s = _timestamps(seconds)
    return TrackedFrames(
        transform=name,
        timestamps=timestamps,
        poses=poses,
        invalid=int((~found).sum()),
        not_rigid=int((found & ~rigid).sum()),
        without_image=int((rigid & ~shown).sum()),
        shifted=shifted,
        numbered=numbered,
        orientation=orientation,
        without_time=int((usable & ~timed).sum()),
        descending=int((np.diff(seconds[timed]) < 0).sum()),
        advanced_s=advanced_s,
        assumed=assumed,
    )


def probe_in_file(image: MetaImage, rows: int, columns: int) -> dict[str, object] | None:
    """What ``probe.json`` has to say for the ``ImageToProbe`` of a sequence file; None where it has none.

    PLUS takes the index of a pixel, whose centre is a whole number, to millimetres at the marker.

    Args:
        rows, columns: of the frames as MF.

    Raises:
        DataError: it is no calibration, or its pixels are not square.
    """
    text = image.fields.get(f"{_IMAGE_TO_PROBE}{_TRANSFORM}") or image.fields.get(
        f"Seq_Frame0000_{_IMAGE_TO_PROBE}{_TRANSFORM}"
    )
    if text is None:
        return None
    matrix = _matrix(text)
    lengths = np.linalg.norm(matrix[:3, :2], axis=0)
    if not np.isfinite(matrix).all() or min(lengths) <= 0 or abs(lengths[0] / lengths[1] - 1) > 0.005:
        raise DataError(
            f"{image.path}: its {_IMAGE_TO_PROBE} has pixels of {lengths[0]:.4g} x {lengths[1]:.4g} mm, "
            "expected square ones",
            "give the calibration with --probe, of frames resampled to square pixels",
        )
    if np.linalg.det(matrix[:3, :3]) < -_MIRRORED * lengths[0] * lengths[1] * np.linalg.norm(matrix[:3, 2]):
        raise DataError(
            f"{image.path}: its {_IMAGE_TO_PROBE} is a mirror image (negative determinant): no rigid motion does that",
            "exchange two of its axes, or give a calibration with --probe",
        )
    spacing = float(np.sqrt(lengths[0] * lengths[1]))
    rigid = np.eye(4)
    rigid[:3, :2] = matrix[:3, :2] / lengths
    rigid[:3, 2] = np.cross(rigid[:3, 0], rigid[:3, 1])
    rigid[:3, 3] = matrix[:3, 3] - (rigid[:3, 0] + rigid[:3, 1]) * spacing / 2
    found: dict[str, object] = {
        "schema": SCHEMA,
        "units": UNITS,
        "spacing_mm": spacing,
        "rows": rows,
        "columns": columns,
        "origin": ORIGINS[0],
        "image_to_probe": rigid.tolist(),
        "source": f"{_IMAGE_TO_PROBE} of {image.path.name}",
    }
    problems = probe_problems(found)
    if problems:
        raise DataError(
            f"{image.path}: its {_IMAGE_TO_PROBE} is no calibration: {'; '.join(problems)}", "give one with --probe"
        )
    return found


def _fields_by_frame(image: MetaImage) -> list[dict[str, str]]:
    frames: list[dict[str, str]] = [{} for _ in range(image.frames)]
    for key, value in image.fields.items():
        if (found := _FRAME_FIELD.fullmatch(key)) and int(found[1]) < image.frames:
            frames[int(found[1])][found[2]] = value
    if not any(frames):
        raise DataError(
            f"{image.path} has no fields Seq_Frame0000_…: it is an image, and no tracked sequence of the PLUS toolkit"
        )
    return frames


def _orientation_of(image: MetaImage) -> tuple[str, str]:
    """The orientation, and why it is assumed; PLUS writes XX where it does not know it."""
    kind = image.fields.get("UltrasoundImageType", "BRIGHTNESS").upper()
    if kind not in ("BRIGHTNESS", "RGB_COLOR"):
        raise DataError(f"{image.path} holds {printable(kind)} data, expected B-mode images (BRIGHTNESS)")
    code = image.fields.get("UltrasoundImageOrientation", "").upper()
    if code in ("XX", "XXX", ""):
        return "MF", f"UltrasoundImageOrientation is {f'{code} (unknown)' if code else 'missing'}, assumed: MF"
    code = code.removesuffix("A")
    if not re.fullmatch(f"[{_LATERAL}][{_AXIAL}]|[{_AXIAL}][{_LATERAL}]", code):
        raise DataError(
            f"{image.path}: UltrasoundImageOrientation is {printable(code)}, expected two letters such as MF: "
            "M or U, F or N"
        )
    return code, ""


def _poses_of(frames: list[dict[str, str]], asked: str | None, image: MetaImage) -> tuple[str, NDArray[np.float64]]:
    """(frames, 4, 4), NaN where there is none or the tracker calls it invalid."""
    wanted = (asked or DEFAULT_TRANSFORM).removesuffix(_TRANSFORM)
    names = _names_in(frames)
    if wanted in names:
        return wanted, np.stack([_valid_matrix(fields, wanted) for fields in frames])
    if ends := _NAME.fullmatch(wanted):
        for through in (name.removeprefix(f"{ends[1]}To") for name in names if name.startswith(f"{ends[1]}To")):
            if f"{ends[2]}To{through}" in names:
                first, second = f"{ends[1]}To{through}", f"{ends[2]}To{through}"
                parts = [(_valid_matrix(one, first), _valid_matrix(one, second)) for one in frames]
                return f"{wanted} (by {first} and {second})", np.stack([invert_rigid(b) @ a for a, b in parts])
    raise UsageError(
        f"{image.path} has no transform {printable(wanted)}; there are {', '.join(names) or 'none'}",
        "choose the one from the probe's marker to what stands still with --transform",
    )


def _names_in(frames: list[dict[str, str]]) -> list[str]:
    keys = {key for fields in frames for key in fields if key.endswith(_TRANSFORM) and "To" in key}
    return sorted(key.removesuffix(_TRANSFORM) for key in keys)


def _valid_matrix(fields: Mapping[str, str], name: str) -> NDArray[np.float64]:
    if fields.get(name + _STATUS, "OK").upper() != "OK":
        return np.full((4, 4), np.nan)
    return _matrix(fields.get(name + _TRANSFORM, ""))


def _matrix(text: str) -> NDArray[np.float64]:
    try:
        values = np.array([float(word) for word in text.split()])
    except ValueError:
        values = np.empty(0)
    return values.reshape(4, 4) if len(values) == 16 else np.full((4, 4), np.nan)


def _is_rigid(pose: NDArray[np.float64]) -> bool:
    rotation = pose[:3, :3]
    return bool(
        np.abs(rotation.T @ rotation - np.eye(3)).max() <= _RIGID_TO
        and np.linalg.det(rotation) > 0
        and np.array_equal(pose[3], [0, 0, 0, 1])
        and POSITION_MM.holds(pose[:3, 3]).all()
    )


def _timestamps(seconds: NDArray[np.float64]) -> tuple[NDArray[np.int64], int, float]:
    """Milliseconds in the order of time, different and none negative; how many were moved by a millisecond or more,
    since two frames had the same one; and the seconds that all were moved by. Frames without a time get -1."""
    timed = np.flatnonzero(~np.isnan(seconds))
    advanced_s = max(0.0, -float(seconds[timed].min()))
    stamps, last, shifted = np.full(len(seconds), -1, np.int64), -1, 0
    for frame in timed[np.argsort(seconds[timed], kind="stable")]:
        stamp = round(1000 * float(seconds[frame] + advanced_s))
        if stamp <= last:
            stamp, shifted = last + 1, shifted + 1
        stamps[frame] = last = stamp
    return stamps, shifted, advanced_s


def _seconds(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        return math.nan
    return value if abs(value) < 1e12 else math.nan
