"""The axes of each implant: in ``axes.json``, written by ``medcli kinematics axes`` and corrected by a person.

::

    {"schema": "medcli.implant-axes.v1",
     "implants": {"1": {"kind": "femur", "side": "right", "origin_mm": [0, 8.2, -6.1],
                        "right": [1, 0, 0], "anterior": [0, 0, 1], "proximal": [0, 1, 0],
                        "found_by": "guess from the mesh: ...",
                        "mesh": {"triangles": 12968, "low_mm": [-33, -8, -30], "high_mm": [33, 44, 30]}}}}

Directions are those of the patient, in the coordinates of the mesh: right, anterior, proximal. ``side`` is ``right``,
``left`` or null: not known. ``mesh`` may be left out; where it is there, the file is refused for another mesh.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medcli.core.errors import DataError
from medcli.core.json_text import parse_json
from medcli.veriserum.dataset.anatomies import KIND_OF, KINDS

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from medcli.core.mesh import Mesh

SCHEMA = "medcli.implant-axes.v1"
DIRECTIONS = ("right", "anterior", "proximal")
_SIDES = ("right", "left", None)
_SQUARE_WITHIN = 0.02
"""Cosine between two axes that are to be perpendicular: 1.1 degrees, beyond digits lost in a file."""
_SAME_MESH_MM = 0.01


@dataclass(frozen=True)
class MeshStamp:
    """What a mesh is recognised by: number of triangles and the corners of its box in mm."""

    triangles: int
    low_mm: tuple[float, ...]
    high_mm: tuple[float, ...]

    @staticmethod
    def of(mesh: Mesh) -> MeshStamp:
        """The stamp of a mesh."""
        low, high = (tuple(round(float(value), 3) for value in corner) for corner in mesh.bounds)
        return MeshStamp(len(mesh.faces), low, high)

    def difference(self, other: MeshStamp) -> str:
        """What differs, empty where nothing does."""
        if self.triangles != other.triangles:
            return f"it has {self.triangles:,} triangles, not {other.triangles:,}"
        here, there = (*self.low_mm, *self.high_mm), (*other.low_mm, *other.high_mm)
        apart = max(abs(a - b) for a, b in zip(here, there, strict=True))
        return f"its box differs by {apart:.3g} mm" if apart > _SAME_MESH_MM else ""


@dataclass(frozen=True)
class ImplantAxes:
    """The axes of one implant, in the coordinates of its mesh.

    Attributes:
        kind: ``femur`` or ``tibia``.
        origin_mm: femur: middle of the axis of the cylinder through the posterior condyles; tibia: middle of the tray's
            underside; or what the person who wrote the file chose.
        right, anterior, proximal: unit vectors, directions of the patient.
        found_by: how they were found.
        side: of the knee that the implant is made for; None: not known, or it fits both.
        mesh: of the mesh that they are for; None: not stated.
        remarks: what a person should look at first.
        radius_mm: of the cylinder through the posterior condyles, to draw it; None for a tibia.
    """

    kind: str
    origin_mm: tuple[float, ...]
    right: tuple[float, ...]
    anterior: tuple[float, ...]
    proximal: tuple[float, ...]
    found_by: str
    side: str | None = None
    mesh: MeshStamp | None = None
    remarks: tuple[str, ...] = ()
    radius_mm: float | None = None

    def matrix(self) -> NDArray[np.float64]:
        """(4, 4): columns right, anterior, proximal and origin; from the axes to the mesh's coordinates."""
        import numpy as np

        matrix = np.eye(4)
        turned = np.stack([self.right, self.anterior, self.proximal], axis=1)
        u, _, v = np.linalg.svd(turned)
        matrix[:3, :3] = u @ v  # the nearest right angles
        matrix[:3, 3] = self.origin_mm
        return matrix

    @staticmethod
    def from_matrix(kind: str, matrix: NDArray[np.float64], found_by: str, **others: Any) -> ImplantAxes:
        """The inverse of :meth:`matrix`."""
        columns = [tuple(round(float(value), 6) + 0.0 for value in column[:3]) for column in matrix.T]
        right, anterior, proximal, origin = columns
        return ImplantAxes(kind, origin, right, anterior, proximal, found_by, **others)


def read_axes(path: Path) -> dict[int, ImplantAxes]:
    """The axes in a file by ``anatomy_id``.

    Raises:
        DataError: no such file, not of this form, or axes that are not right-handed and perpendicular; names the entry.
    """
    hint = "make one with: medcli kinematics axes"
    try:
        content = parse_json(path.read_bytes(), no_doubles=True)
    except OSError as error:
        raise DataError(f"cannot read axes {path}: {error.strerror or error}", hint) from error
    except ValueError as error:
        raise DataError(f"{path} is not a file of implant axes: {error}", hint) from error
    implants = content.get("implants") if isinstance(content, Mapping) else None
    if not isinstance(implants, Mapping) or not implants:
        raise DataError(f"{path} is not a file of implant axes: expected an object with the key implants", hint)
    if content.get("schema", SCHEMA) != SCHEMA:
        raise DataError(f"{path} has the schema {content['schema']!r}, expected {SCHEMA}", hint)
    found = {}
    for name, entry in implants.items():
        if not name.isdecimal():
            raise DataError(f"{path}: implant {name!r} is not an anatomy_id (a whole number)")
        try:
            found[int(name)] = _parse(int(name), entry)
        except (KeyError, TypeError, ValueError) as error:
            what = f"{error.args[0]!r} is missing" if isinstance(error, KeyError) else str(error)
            example = '"origin_mm": [0, 8, -6], "right": [1, 0, 0], "anterior": [0, 0, 1], "proximal": [0, 1, 0]'
            raise DataError(f"{path}: implant {name}: {what}", f"expected for example {example}") from error
    return found


def check_axes_file(path: Path | None) -> None:
    """Make sure that a file of axes, if one is given, can be read; without NumPy.

    Raises:
        DataError: see :func:`read_axes`.
    """
    if path:
        read_axes(path)


def check_axes_mesh(axes: ImplantAxes, mesh: Mesh, anatomy: int, path: Path) -> None:
    """Make sure that axes from the file ``path`` belong to a mesh.

    Raises:
        DataError: they were made for another mesh, or their origin is far from it.
    """
    import numpy as np

    hint = "make new ones with: medcli kinematics axes"
    apart = MeshStamp.of(mesh).difference(axes.mesh) if axes.mesh else ""
    if apart:
        raise DataError(f"{path}: the axes of anatomy {anatomy} are for another mesh: {apart}", hint)
    low, high = mesh.bounds
    origin, size = np.asarray(axes.origin_mm), float((high - low).max())
    away = float(np.linalg.norm(np.maximum(0, np.maximum(low - origin, origin - high))))
    if away > size:
        fault = f"their origin is {away:.0f} mm away from the mesh, which is {size:.0f} mm long"
        raise DataError(f"{path}: the axes of anatomy {anatomy} are for another mesh: {fault}", hint)


def _parse(anatomy: int, entry: Any) -> ImplantAxes:
    if not isinstance(entry, Mapping):
        raise TypeError(f"expected an object, got {entry!r}")
    kind = entry.get("kind", KIND_OF.get(anatomy))
    if kind not in KINDS:
        raise ValueError(f"kind is {kind!r}, expected femur or tibia")
    if entry.get("side") not in _SIDES:
        raise ValueError(f"side is {entry['side']!r}, expected right, left or null")
    vectors = {name: _vector(entry, name) for name in DIRECTIONS}
    _check_square(vectors)
    stamp = entry.get("mesh")
    radius = entry.get("radius_mm")
    return ImplantAxes(
        kind=kind,
        origin_mm=_three(entry, "origin_mm"),
        found_by=str(entry.get("found_by") or "not stated in the file"),
        side=entry.get("side"),
        mesh=stamp and MeshStamp(int(stamp["triangles"]), _three(stamp, "low_mm"), _three(stamp, "high_mm")),
        remarks=tuple(map(str, entry.get("remarks") or ())),
        radius_mm=None if radius is None else float(radius),
        **vectors,
    )


def _three(entry: Mapping[str, Any], name: str) -> tuple[float, ...]:
    values = entry[name]
    if not isinstance(values, list) or len(values) != 3 or not all(_is_finite(value) for value in values):
        raise ValueError(f"{name} is {values!r}, expected three numbers")
    return tuple(map(float, values))


def _is_finite(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < 1e9


def _vector(entry: Mapping[str, Any], name: str) -> tuple[float, ...]:
    values = _three(entry, name)
    length = _dot(values, values) ** 0.5
    if length < 1e-6:
        raise ValueError(f"{name} has no length")
    return tuple(value / length for value in values)


def _check_square(vectors: Mapping[str, tuple[float, ...]]) -> None:
    right, anterior, proximal = (vectors[name] for name in DIRECTIONS)
    for one, other in (("right", "anterior"), ("anterior", "proximal"), ("proximal", "right")):
        if abs(cosine := _dot(vectors[one], vectors[other])) > _SQUARE_WITHIN:
            raise ValueError(f"{one} and {other} are not perpendicular: cosine {cosine:.3f}")
    cross = tuple(right[i - 2] * anterior[i - 1] - right[i - 1] * anterior[i - 2] for i in range(3))
    if _dot(cross, proximal) < 0:
        raise ValueError("right, anterior, proximal form a left-handed system: one of them is reversed")


def _dot(a: tuple[float, ...], b: tuple[float, ...]) -> float:
    return sum(x * y for x, y in zip(a, b, strict=True))
