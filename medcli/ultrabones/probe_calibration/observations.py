"""The tables of a probe calibration: segmented points, poses, and, if it is known, the phantom."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from medcli.core.errors import DataError, printable, quantity
from medcli.core.plausibility import ANGLE_DEG, POSITION_MM, Bound
from medcli.core.tables import header_of, read_dicts, read_table_text
from medcli.ultrabones.dataset.tracking_table import POSE_COLUMNS
from medcli.ultrabones.probe_calibration.table_headers import ENDS, PHANTOM, PLACE, POINTS, POSES

_PIXEL = Bound("position", "pixels", -1, 16_384, "within an image")
_SHORTEST_MM = 1.0


@dataclass(frozen=True)
class Phantom:
    """What is known of the targets, in the coordinates of the poses.

    Attributes:
        points: name -> (3,), mm.
        wires: name -> (2, 3): two points on it, mm.
    """

    points: Mapping[str, NDArray[np.float64]]
    wires: Mapping[str, NDArray[np.float64]]


@dataclass(frozen=True)
class Observations:
    """Points seen in tracked frames.

    Attributes:
        frames: (N,), number of the frame of each, from 0.
        pixels: (N, 2), column and row; whole numbers are centres of pixels.
        poses: (N, 6), of the marker, mm and degrees.
        targets: (N,), which of ``names`` each is.
        names: of the points or wires.
        are_wires: they are wires.
        numbers: of the frames, as the tables have them.
    """

    frames: NDArray[np.int64]
    pixels: NDArray[np.float64]
    poses: NDArray[np.float64]
    targets: NDArray[np.int64]
    names: tuple[str, ...]
    are_wires: bool
    numbers: tuple[int, ...] = ()


def read_observations(points: Path, poses: Path) -> Observations:
    """The segmented points with the pose of each.

    Raises:
        DataError: see :func:`check_calibration_tables`; or a number is none or not plausible, a frame has no pose, or
            a row is there twice.
    """
    check = header_of(read_table_text(points, POINTS))
    target = "wire" if "wire" in check else "point"
    _, seen = read_dicts(points, POINTS, ("frame", "u", "v", target))
    by_frame = _read_poses(poses)
    if not seen:
        raise DataError(f"{points} has a header and no rows")
    keys = [_key(row["frame"], points) for row in seen]
    if lacking := sorted(set(keys) - by_frame.keys()):
        shown = ", ".join(f"{key:.16g}" for key in lacking[:3]) + (", …" if len(lacking) > 3 else "")
        raise DataError(
            f"{quantity(len(lacking), 'frame')} of {points} ({shown}) not in {poses}",
            "the column frame must hold numbers of the column frame or timestamp there",
        )
    pixels = [[_number(row[name], name, _PIXEL, points) for name in ("u", "v")] for row in seen]
    repeated = Counter(zip(keys, (row[target].strip() for row in seen), map(tuple, pixels), strict=True))
    (key, name, _), times = repeated.most_common(1)[0]
    if times > 1:
        what = f"the {target} {printable(name)} of frame {key:.16g} twice at one place"
        raise DataError(f"{points} has {what}", "each would count as a measurement: remove one of the rows")
    order = {key: number for number, key in enumerate(dict.fromkeys(keys))}
    names = tuple(dict.fromkeys(row[target].strip() for row in seen))
    if "" in names:
        raise DataError(f"{points}: a row has no name in the column {target}")
    return Observations(
        frames=np.array([order[key] for key in keys]),
        pixels=np.array(pixels),
        poses=np.array([by_frame[key] for key in keys]),
        targets=np.array([names.index(row[target].strip()) for row in seen]),
        names=names,
        are_wires=target == "wire",
        numbers=tuple(map(int, order)),
    )


def read_phantom(path: Path | None, seen: Observations) -> Phantom:
    """Where the targets are; empty where no table is given.

    Raises:
        DataError: it lacks a target, has one twice, or a number is none or not plausible.
    """
    if path is None:
        return Phantom({}, {})
    target, columns = ("wire", ENDS) if seen.are_wires else ("point", PLACE)
    _, rows = read_dicts(path, PHANTOM, (target, *columns))
    found: dict[str, NDArray[np.float64]] = {}
    for row in rows:
        name = row[target].strip()
        if name in found:
            raise DataError(f"{path} has the {target} {printable(name)} twice")
        found[name] = np.array([_number(row[column], column, POSITION_MM, path) for column in columns])
        if seen.are_wires:
            found[name] = found[name].reshape(2, 3)
            if np.linalg.norm(found[name][1] - found[name][0]) < _SHORTEST_MM:
                raise DataError(f"{path}: the ends of wire {printable(name)} are less than {_SHORTEST_MM:g} mm apart")
    if lacking := [name for name in seen.names if name not in found]:
        raise DataError(f"{path} has no {target} {', '.join(map(printable, lacking[:5]))}")
    return Phantom({}, found) if seen.are_wires else Phantom(found, {})


def _read_poses(path: Path) -> dict[float, list[float]]:
    names = header_of(read_table_text(path, POSES))
    frame = "frame" if "frame" in names else "timestamp"
    _, rows = read_dicts(path, POSES, (frame, *POSE_COLUMNS))
    found: dict[float, list[float]] = {}
    for row in rows:
        key = _key(row[frame], path)
        if key in found:
            raise DataError(f"{path} has {frame} {key:g} twice", "each frame needs one pose")
        found[key] = [
            _number(row[column], column, bound, path)
            for column, bound in zip(POSE_COLUMNS, [POSITION_MM] * 3 + [ANGLE_DEG] * 3, strict=True)
        ]
    return found


def _key(text: str, path: Path) -> float:
    return _number(text, "frame", Bound("frame", "", 0, 2**53, "a whole number of milliseconds, or a count"), path)


def _number(text: str, name: str, bound: Bound, path: Path) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if problem := bound.problem(value, name):
        shown = f"{name} is {printable(text)!r}, expected a number" if math.isnan(value) else problem
        raise DataError(f"{path}: {shown}")
    return value
