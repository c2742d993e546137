"""Read a point cloud (PLY, XYZ) and a 4 x 4 matrix, and refuse what cannot be bone in millimetres."""

from __future__ import annotations

import io
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from medcli.core.errors import DataError, quantity
from medcli.core.files import check_readable, read_whole
from medcli.core.json_text import read_object
from medcli.ultrabones.dataset.folder_layout import FULL_LABEL_FOLDERS, PARTIAL_LABEL_FOLDERS
from medcli.ultrabones.reconstruction.cloud_files import CONTENTS

SUFFIXES = (".ply", ".xyz")
LEAST_POINTS = 100
_MOST_BYTES = 4 * 2**30
_LEAST_EXTENT_MM, _MOST_EXTENT_MM = 10.0, 3_000.0
_MOST_EXTENT_IN_CM = 60.0
"""Of a leg's bone, whose length in centimetres this exceeds."""
_LEAST_WIDTH_MM, _LEAST_DEPTH_MM = 1.0, 0.25
_PLY_TYPES = {
    "char": "i1", "int8": "i1", "uchar": "u1", "uint8": "u1", "short": "i2", "int16": "i2", "ushort": "u2",
    "uint16": "u2", "int": "i4", "int32": "i4", "uint": "u4", "uint32": "u4", "float": "f4", "float32": "f4",
    "double": "f8", "float64": "f8",
}  # fmt: skip


@dataclass(frozen=True)
class CloudFile:
    """Points (N, 3) in millimetres, and how many lines or vertices were not finite and left out."""

    points: NDArray[np.float64]
    not_finite: int


def check_cloud(path: Path) -> None:
    """Cheap checks before anything is computed: there, readable, not empty, of a known kind.

    Raises:
        DataError: one of these does not hold.
    """
    if path.suffix.lower() not in SUFFIXES:
        raise DataError(
            f"{path} is not a point cloud: expected {' or '.join(SUFFIXES)}", "medcli reconstruct writes both"
        )
    check_readable(path)
    if path.stat().st_size == 0:
        raise DataError(f"point cloud {path} is empty", "write it again")


def read_cloud(path: Path) -> CloudFile:
    """Points of a PLY (text or binary, any further properties) or XYZ file (x y z first in each line).

    Raises:
        DataError: it cannot be read, is damaged, or cannot be bone in millimetres; says why.
    """
    check_cloud(path)
    try:
        points = _read_ply(path) if path.suffix.lower() == ".ply" else _read_xyz(path)
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror or error}") from error
    except (ValueError, KeyError, IndexError, StopIteration, UnicodeDecodeError) as error:
        raise DataError(f"point cloud {path} is damaged: {error}", "write it again") from error
    finite = np.isfinite(points).all(axis=1)
    kept = points if finite.all() else points[finite]
    problem, hint = cloud_problem(kept)
    if problem:
        lost = len(points) - len(kept)
        also = (
            f" ({quantity(lost, 'point without finite numbers is', 'points without finite numbers are')} left out)"
            if lost
            else ""
        )
        raise DataError(f"point cloud {path} {problem}{also}", hint)
    return CloudFile(kept, len(points) - len(kept))


def is_cut_from_ct(path: Path) -> bool:
    """Whether a cloud is known to be of labels, which are sections of a CT mesh.

    ``medcli reconstruct`` notes the folder of masks beside its clouds, or above those in the authors' layout; of other
    clouds it is not known, which is no.
    """
    path = path.absolute()
    notes = [read_object(path.with_suffix(".json")).get("reconstruction")]
    notes = [one for one in notes if isinstance(one, dict) and path.name in (one.get("files") or ())]
    notes += [read_object(folder / CONTENTS).get(path.relative_to(folder).as_posix()) for folder in path.parents]
    masks = [one.get("mask") for one in notes if isinstance(one, dict)]
    return any(mask in (*PARTIAL_LABEL_FOLDERS, *FULL_LABEL_FOLDERS) for mask in masks)


def cloud_problem(points: NDArray[np.float64]) -> tuple[str, str | None]:
    """Why points (N, 3) cannot be registered, and what to do; empty: they can. Few far points do not matter."""
    if len(points) < LEAST_POINTS:
        return f"holds {quantity(len(points), 'point')}, at least {LEAST_POINTS} are needed", "reconstruct more frames"
    some = _some_of(points)
    extent = _extent_mm(some)
    if extent < _LEAST_EXTENT_MM:
        text = f"is {extent:.3g} mm long as it stands, so this looks like metres or a single spot"
        return text, "scale it by 1000 if it is in metres: coordinates must be millimetres"
    if extent > _MOST_EXTENT_MM:
        text = f"is {extent:,.0f} mm long as it stands, so this looks like micrometres"
        return text, "scale it by 0.001: coordinates must be millimetres"
    middle = np.median(some, axis=0)
    near = some[np.linalg.norm(some - middle, axis=1) <= 1.5 * extent]
    spread = np.linalg.svd(near - near.mean(axis=0), full_matrices=False)[1] / np.sqrt(len(near))
    hint, length = "register a cloud of a whole sweep", ""
    if question := ask_for_centimetres(points):
        hint, length = f"{hint}, or scale it by 10 if it is in centimetres", f"; {question}"
    if spread[1] < _LEAST_WIDTH_MM:
        return f"lies on one straight line, which fixes no pose{length}", hint
    if spread[2] < _LEAST_DEPTH_MM:
        return f"lies in one plane (one frame?), which fixes no pose{length}", hint
    return "", None


def ask_for_centimetres(points: NDArray[np.float64]) -> str:
    """A question where points (N, 3) are as short as a bone's length in centimetres; else empty."""
    extent = _extent_mm(_some_of(points))
    return f"the cloud is {extent:.3g} mm long as it stands: centimetres?" if extent < _MOST_EXTENT_IN_CM else ""


def _some_of(points: NDArray[np.float64]) -> NDArray[np.float64]:
    return points[:: max(1, len(points) // 20_000)]


def _extent_mm(points: NDArray[np.float64]) -> float:
    """The longest side of the box around most points; few far ones do not matter."""
    return float(np.ptp(np.percentile(points, [2, 98], axis=0), axis=0).max())


def read_matrix(path: Path) -> NDArray[np.float64]:
    """A rigid 4 x 4 matrix in text (16 numbers), millimetres.

    Raises:
        DataError: it is not there, or something else.
    """
    check_readable(path)
    try:
        words = read_whole(path, 100_000).decode("utf-8").replace(",", " ").split()
        matrix = np.array([float(word) for word in words])
    except (ValueError, OSError) as error:
        raise DataError(f"{path} is not a 4 x 4 matrix: {error}", "write 16 numbers, row by row") from error
    if matrix.size != 16:
        raise DataError(
            f"{path} holds {quantity(matrix.size, 'number')}, expected 16", "write a 4 x 4 matrix row by row"
        )
    matrix = matrix.reshape(4, 4)
    rigid = np.allclose(matrix[:3, :3] @ matrix[:3, :3].T, np.eye(3), atol=1e-3) and np.linalg.det(matrix[:3, :3]) > 0
    if not (np.isfinite(matrix).all() and rigid and np.allclose(matrix[3], [0, 0, 0, 1], atol=1e-6)):
        raise DataError(
            f"{path} is not a rigid transform", "the upper left 3 x 3 must be a rotation, the last row 0 0 0 1"
        )
    u, _, vt = np.linalg.svd(matrix[:3, :3])
    matrix[:3, :3] = u @ vt
    return matrix


def _read_xyz(path: Path) -> NDArray[np.float64]:
    import pandas as pd

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            if _has_commas(path):
                table = pd.read_csv(
                    path, sep=r"\s*,\s*|\s+", header=None, usecols=[0, 1, 2], comment="#", engine="python"
                )
            else:
                table = pd.read_csv(path, sep=r"\s+", header=None, usecols=[0, 1, 2], comment="#")
        except (pd.errors.ParserError, pd.errors.EmptyDataError, ValueError) as error:
            raise ValueError(f"expected three numbers in each line ({error})") from error
    columns = [pd.to_numeric(table[number], errors="coerce") for number in range(3)]
    return np.stack([column.to_numpy(np.float64) for column in columns], axis=1)


def _has_commas(path: Path) -> bool:
    with path.open("rb") as file:
        return b"," in file.read(500)


def _read_ply(path: Path) -> NDArray[np.float64]:
    content = read_whole(path, _MOST_BYTES)
    if not content.startswith(b"ply"):
        raise ValueError("a PLY file starts with ply")
    end = content.find(b"end_header")
    if end < 0:
        raise ValueError("its header has no end")
    body = content.find(b"\n", end) + 1
    lines = [line.split() for line in content[:end].decode("ascii").splitlines()]
    kind = next(words[1] for words in lines if words[:1] == ["format"])
    elements = [(place, words[1]) for place, words in enumerate(lines) if words[:1] == ["element"]]
    if not elements or elements[0][1] != "vertex":
        raise ValueError("its first element is not vertex")
    first = elements[0][0]
    last = elements[1][0] if len(elements) > 1 else len(lines)
    count = int(lines[first][2])
    properties = [words for words in lines[first:last] if words[:1] == ["property"]]
    names = [words[-1] for words in properties]
    if missing := [axis for axis in "xyz" if axis not in names]:
        raise ValueError(f"its vertices have no {', '.join(missing)}")
    if kind == "ascii":
        table = np.loadtxt(io.BytesIO(content[body:]), max_rows=count, ndmin=2) if count else np.empty((0, len(names)))
        if len(table) < count:
            raise ValueError(f"{len(table):,} of {count:,} vertices")
        return np.ascontiguousarray(table[:, [names.index(axis) for axis in "xyz"]], np.float64)
    order = {"binary_little_endian": "<", "binary_big_endian": ">"}[kind]
    row = np.dtype([(name, order + _PLY_TYPES[words[1]]) for name, words in zip(names, properties, strict=True)])
    if len(content) - body < count * row.itemsize:
        raise ValueError(f"{(len(content) - body) // row.itemsize:,} of {count:,} vertices")
    vertices = np.frombuffer(content, row, count, body)
    return np.stack([vertices[axis] for axis in "xyz"], axis=1).astype(np.float64)
