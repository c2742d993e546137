"""The files of 3D Slicer: transforms, sequences of transforms, and points.

Coordinates. Slicer's scene is RAS (right, anterior, superior), its files are LPS (left, posterior, superior), which
differ in the signs of x and y. What is written here takes the coordinates of the data (CT, or the world of the X-ray
planes) as LPS, as Slicer takes those of an STL mesh: meshes, points and transforms then lie where they belong.

- ``.tfm`` and ``.h5`` are ITK transforms in LPS, and *from parent*: they hold the inverse of the pose, since ITK maps
  points of the fixed image to the moving one. Slicer shows the pose itself as *to parent*.
- ``.seq.mha`` holds poses as they are in the scene: *to parent*, in RAS. Slicer converts nothing when it reads them.
- ``.mrk.json`` states its coordinates: LPS.

Source: *Coordinate systems*, *Transforms* and *Markups* in Slicer's documentation (5.10), and
``vtkMRMLLinearTransformSequenceStorageNode`` of Slicer/Slicer, which reads and writes ``.seq.mha``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from medcli.core.errors import DataError
from medcli.core.files import write_json, write_text

LPS_RAS: NDArray[np.float64] = np.diag([-1.0, -1.0, 1.0, 1.0])
"""From LPS to RAS, and back: x and y change their signs."""
TRANSFORM_SUFFIXES = ("tfm", "h5")
_TFM = "#Insight Transform File V1.0\n#Transform 0\nTransform: AffineTransform_double_3_3\n"
_MARKUPS = (
    "https://raw.githubusercontent.com/Slicer/Slicer/main/Modules/Loadable/Markups/Resources/Schema/"
    "markups-schema-v1.0.3.json#"
)


def pose_in_scene(pose: ArrayLike) -> NDArray[np.float64]:
    """Poses (..., 4, 4) between LPS coordinates, as Slicer shows them: between RAS coordinates."""
    return np.asarray(LPS_RAS @ np.asarray(pose, np.float64) @ LPS_RAS)


def write_transform(path: Path, pose: NDArray[np.float64]) -> None:
    """Write a pose (4, 4), local to parent coordinates in millimetres, as an affine transform, ``.tfm`` or ``.h5``.

    Raises:
        DataError: it is mirrored or not finite.
    """
    check_not_mirrored(pose, path.name)
    from_parent = np.linalg.inv(pose)
    numbers = [*from_parent[:3, :3].ravel().tolist(), *from_parent[:3, 3].tolist()]
    if path.suffix == ".tfm":  # on Windows, ITK opens no text file whose path has letters beyond the system's own
        path.write_bytes(f"{_TFM}Parameters: {' '.join(map(repr, numbers))}\nFixedParameters: 0 0 0\n".encode("ascii"))
        return
    import SimpleITK as sitk

    transform = sitk.AffineTransform(3)
    transform.SetMatrix(from_parent[:3, :3].ravel().tolist())
    transform.SetTranslation(from_parent[:3, 3].tolist())
    sitk.WriteTransform(transform, str(path))


def write_transform_sequence(path: Path, name: str, poses: NDArray[np.float64], times_s: Sequence[float]) -> None:
    """Write poses over time, ``.seq.mha``; frames without a pose are left out.

    Args:
        name: from what to what, such as ``ProbeToReference``: Slicer's name of the transform.
        poses: (N, 4, 4), millimetres, LPS; NaN where there is none.
        times_s: (N,), their index in the sequence, to the millisecond.

    Raises:
        DataError: a pose is mirrored.
    """
    there = [number for number in range(len(poses)) if np.isfinite(poses[number]).all()]
    for number in there:
        check_not_mirrored(poses[number], f"frame {number} of {path.name}")
    lines = [
        "ObjectType = Image",
        "NDims = 3",
        "AnatomicalOrientation = RAI",
        "BinaryData = True",
        "CompressedData = False",
        f"DimSize = 0 0 {len(there)}",
        "ElementSpacing = 1 1 1",
        "Offset = 0 0 0",
        "TransformMatrix = 1 0 0 0 1 0 0 0 1",
        "ElementType = MET_UCHAR",
        "Kinds = domain domain list",
    ]
    for place, number in enumerate(there):
        values = " ".join(repr(float(value)) for value in pose_in_scene(poses[number]).ravel())
        lines += [
            f"Seq_Frame{place:04d}_{name}Transform = {values}",
            f"Seq_Frame{place:04d}_{name}TransformStatus = OK",
            f"Seq_Frame{place:04d}_Timestamp = {times_s[number]:.3f}",
        ]
    write_text(path, "\n".join([*lines, "ElementDataFile = LOCAL", ""]))


def write_markups(path: Path, points: Mapping[str, ArrayLike]) -> None:
    """Write points (x, y, z) in millimetres by their labels, LPS, as a list of points, ``.mrk.json``."""
    controls = [
        {
            "id": str(number),
            "label": label,
            "position": [float(value) for value in np.asarray(place)],
            "positionStatus": "defined",
        }
        for number, (label, place) in enumerate(points.items(), start=1)
    ]
    markups = {
        "type": "Fiducial",
        "coordinateSystem": "LPS",
        "coordinateUnits": "mm",
        "locked": True,
        "controlPoints": controls,
    }
    write_json(path, {"@schema": _MARKUPS, "markups": [markups]})


def check_not_mirrored(pose: NDArray[np.float64], what: str) -> None:
    """Make sure that a transform (4, 4) keeps right hands right hands.

    Raises:
        DataError: it is mirrored, flat or not finite.
    """
    determinant = float(np.linalg.det(pose[:3, :3])) if np.isfinite(pose).all() else float("nan")
    if not determinant > 0:
        kind = "mirrored" if determinant < 0 else "no transform that can be inverted"
        raise DataError(f"{what}: the transform is {kind} (determinant {determinant:.3g}, expected above 0)")
