"""The calibration of a tracked ultrasound probe: pixel size, image size, and where the image lies at the marker.

``probe.json``, in a record's folder or named with ``--probe``::

    {"schema": "medcli.probe.v1", "units": "mm", "spacing_mm": 0.0802, "rows": 829, "columns": 638,
     "origin": "centre", "source": "who measured it, and how",
     "image_to_probe": [[1, 0, 0, 0], [0, 1, 0, 44.2], [0, 0, 1, 0], [0, 0, 0, 1]]}

Pixel (column u, row v) lies at (s (u + ½ - u0), s (v + ½ - v0), 0) mm in the image plane, with s the spacing and
(u0, v0) the ``origin``: ``top-left`` (0, 0), ``centre`` (columns / 2, rows / 2), or [column, row]. ``image_to_probe``
is rigid and takes these millimetres to the marker that is tracked. Needs no NumPy: it is checked before any is loaded.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from medcli.core.errors import DataError, UsageError, printable
from medcli.core.files import read_whole
from medcli.core.json_text import parse_json
from medcli.core.made_with import fingerprint
from medcli.core.plausibility import PIXEL_SPACING_MM, Bound
from medcli.ultrabones.dataset import constants
from medcli.ultrabones.dataset.folder_layout import HIP_SWEEPS, HIP_TRACKING, IMPORT_NOTE

PROBE_FILE = "probe.json"
SCHEMA = "medcli.probe.v1"
UNITS = "mm"
ORIGINS = ("top-left", "centre")
_KEYS = ("spacing_mm", "rows", "columns", "origin", "image_to_probe", "units", "source")
_OTHER_KEYS = ("schema", "calibration")
_SIDE_PX = Bound("side of the image", "pixels", 16, 16_384, "from a thumbnail to the largest that is decoded")
_FIELD_MM = Bound("side of the image", "mm", 5, 500, "the depth that ultrasound reaches, generously")
_LEVER_MM = Bound("distance of image and marker", "mm", 1, 1_000, "a marker beside a hand-held probe; metres are below")
_ORTHOGONAL_TO = 1e-4
_MOST_BYTES = 1 << 20

Matrix = tuple[tuple[float, ...], ...]


@dataclass(frozen=True)
class Probe:
    """The calibration of a probe.

    Attributes:
        name: of the preset, or the file it was read from.
        spacing_mm: edge of a pixel, in both directions.
        rows, columns: of a frame at this spacing; resized frames have a spacing to match.
        image_to_probe: 4 x 4, rigid: image millimetres to the tracked marker, millimetres.
        origin_px: column and row of the image's origin, in pixels from the top-left corner of the image.
        source: who measured it, and how.
    """

    name: str
    spacing_mm: float
    rows: int
    columns: int
    image_to_probe: Matrix
    origin_px: tuple[float, float] = (0.0, 0.0)
    source: str = ""

    @property
    def digest(self) -> str:
        """A short text that changes when any number does, and not with name and source."""
        return fingerprint(repr((self.spacing_mm, self.rows, self.columns, self.image_to_probe, self.origin_px)))

    @property
    def is_published(self) -> bool:
        """Whether it is the one of UltraBones100k, by whatever name."""
        return self.digest == ULTRABONES100K.digest

    @property
    def origin_mm(self) -> tuple[float, float]:
        """The image's origin from the top-left corner of the image."""
        return self.origin_px[0] * self.spacing_mm, self.origin_px[1] * self.spacing_mm

    def frame_shape(self, spacing_mm: float) -> tuple[int, int]:
        """Rows and columns of a frame whose pixels have this size: the field of view is the same for every frame."""
        scale = self.spacing_mm / spacing_mm
        return round(self.rows * scale), round(self.columns * scale)

    def as_json(self) -> dict[str, Any]:
        """What ``probe.json`` says."""
        origins: dict[tuple[float, float], str] = {
            (self.columns / 2, self.rows / 2): ORIGINS[1], (0.0, 0.0): ORIGINS[0]
        }  # fmt: skip
        return {
            "schema": SCHEMA,
            "units": UNITS,
            "spacing_mm": self.spacing_mm,
            "rows": self.rows,
            "columns": self.columns,
            "origin": origins.get(self.origin_px, list(self.origin_px)),
            "image_to_probe": [list(row) for row in self.image_to_probe],
            "source": self.source,
        }


ULTRABONES100K = Probe(
    "ultrabones100k",
    constants.PIXEL_SPACING_MM,
    constants.FRAME_HEIGHT,
    constants.FRAME_WIDTH,
    (  # the matrix of CALIBRATION_TRANSLATION_MM and CALIBRATION_ANGLES_DEG
        (-0.9998757019131163, 0.008757911224436856, 0.013110290413948818, 26.44694442),
        (0.013477756642731662, 0.04330748136159199, 0.9989708765194283, -0.52572229),
        (0.00818112459460788, 0.9990234036543391, -0.04342013532069258, 128.00100047),
        (0.0, 0.0, 0.0, 1.0),
    ),
    source="Wu et al., Computers in Biology and Medicine 194 (2025) 110435",
)
ULTRABONES_HIP = Probe(
    "ultrabones-hip",
    0.080227,
    829,
    638,
    ((1.0, 0.0, 0.0, 0.0), (0.0, 1.0, 0.0, 44.17691472), (0.0, 0.0, 1.0, 0.0), (0.0, 0.0, 0.0, 1.0)),
    (319.0, 414.5),
    source="calibration preset of luohwu/NeuralBoneReg-implementation, commit 77c784b, for all of UltraBonesHip",
)
PRESETS = {probe.name: probe for probe in (ULTRABONES100K, ULTRABONES_HIP)}


def find_probe(text: str | None) -> Probe | None:
    """The probe that ``--probe`` names: a preset, or a file; None where none is named.

    Raises:
        UsageError: there is neither a preset nor a file of this name.
        DataError: the file is no calibration of a probe.
    """
    if text is None:
        return None
    if text in PRESETS:
        return PRESETS[text]
    if not Path(text).exists():
        raise UsageError(
            f"--probe {text}: there is no such file, and the presets are {', '.join(PRESETS)}",
            "medcli calibrate probe makes such a file",
        )
    return read_probe(Path(text))


def probe_of_record(record_dir: Path | str) -> Probe:
    """The probe of a record: its own ``probe.json``, else that of the published dataset whose layout it has.

    Raises:
        DataError: ``probe.json`` is no calibration, or the record was imported without one.
    """
    folder = Path(record_dir)
    if (folder / PROBE_FILE).exists():
        return replace(read_probe(folder / PROBE_FILE), name=f"{PROBE_FILE} of the record")
    if (folder / IMPORT_NOTE).exists():
        raise DataError(
            f"{folder} was imported without the calibration of its probe",
            f"put it there as {PROBE_FILE}, or name it with --probe",
        )
    is_hip = folder.parent.name.endswith(HIP_SWEEPS) and (folder / HIP_TRACKING).exists()
    return ULTRABONES_HIP if is_hip else ULTRABONES100K


def read_probe(path: Path) -> Probe:
    """The calibration in a file.

    Raises:
        DataError: it cannot be read, or is no calibration of a probe; lists all that is wrong.
    """
    try:
        found = parse_json(read_whole(path, _MOST_BYTES), no_doubles=True)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise DataError(f"cannot read {path} as the calibration of a probe: {reason}") from error
    problems = probe_problems(found)
    if problems:
        raise DataError(f"{path} is no calibration of a probe: {'; '.join(problems)}", "see docs/own-probe.md")
    return _as_probe(found, str(path))


def probe_problems(found: Any) -> list[str]:
    """All that is wrong with what ``probe.json`` says."""
    if not isinstance(found, Mapping):
        return ["expected a JSON object"]
    missing = [key for key in _KEYS if key not in found]
    unknown = [printable(key) for key in found if key not in (*_KEYS, *_OTHER_KEYS)]
    problems = [f"{', '.join(missing)} is missing"] if missing else []
    problems += [f"{', '.join(unknown)} is unknown"] if unknown else []
    if found.get("schema", SCHEMA) != SCHEMA:
        problems.append(f"schema is {_shown(found['schema'])}, expected {SCHEMA}")
    if found.get("units", UNITS) != UNITS:
        problems.append(f"units are {_shown(found['units'])}, expected {UNITS}: convert all lengths to millimetres")
    spacing, sides = found.get("spacing_mm", 1.0), [found.get(name, 100) for name in ("rows", "columns")]
    problems += [PIXEL_SPACING_MM.problem(_number(spacing), "spacing_mm")]
    for name, side in zip(("rows", "columns"), sides, strict=True):
        whole = isinstance(side, int) and not isinstance(side, bool)
        problem = (
            _SIDE_PX.problem(_number(side), name) if whole else f"{name} is {_shown(side)}, expected a whole number"
        )
        if not problem and not missing and PIXEL_SPACING_MM.low <= _number(spacing) <= PIXEL_SPACING_MM.high:
            problem = _FIELD_MM.problem(side * spacing, f"{name} x spacing_mm")
        problems.append(problem)
    if "origin" in found and not _is_origin(found["origin"]):
        problems.append(f"origin is {_shown(found['origin'])}, expected {', '.join(ORIGINS)} or [column, row]")
    if "image_to_probe" in found:
        problems.append(matrix_problem(found["image_to_probe"], "image_to_probe"))
    if not isinstance(found.get("source", ""), str):
        problems.append(f"source is {_shown(found['source'])}, expected text")
    return [problem for problem in problems if problem]


def matrix_problem(matrix: Any, name: str) -> str:
    """Why a 4 x 4 matrix is not the rigid transform from image millimetres to a marker, empty where it is."""
    rows = matrix if isinstance(matrix, Sequence) and not isinstance(matrix, str) else ()
    if len(rows) != 4 or any(not isinstance(row, Sequence) or isinstance(row, str) or len(row) != 4 for row in rows):
        return f"{name} is not 4 rows of 4 numbers"
    values = [[_number(value) for value in row] for row in rows]
    if not all(math.isfinite(value) for row in values for value in row):
        return f"{name} holds something that is no number"
    if values[3] != [0.0, 0.0, 0.0, 1.0]:
        return f"the last row of {name} is not 0 0 0 1 (is it transposed?)"
    axes = [[values[row][column] for row in range(3)] for column in range(3)]
    lengths = [math.hypot(*axis) for axis in axes]
    off = max(abs(_dot(axes[i], axes[j]) - (i == j)) for i in range(3) for j in range(i, 3))
    if off > _ORTHOGONAL_TO:
        of_pixels = max(lengths[:2]) < 0.5 and abs(lengths[0] - lengths[1]) < 0.1 * max(lengths[0], 1e-9)
        hint = ": it takes millimetres, not pixels; divide its columns by the spacing" if of_pixels else ""
        return f"{name} is not rigid (its columns have the lengths {', '.join(f'{x:.4g}' for x in lengths)}){hint}"
    if _dot(_cross(axes[0], axes[1]), axes[2]) < 0:
        return f"{name} is a mirror image (determinant -1): no rigid motion does that; exchange two axes"
    lever = math.hypot(*(values[row][3] for row in range(3)))
    problem = _LEVER_MM.problem(lever, f"translation of {name}") if lever else ""
    return f"{problem}{': metres?' if problem and lever < _LEVER_MM.low else ''}"


def _as_probe(found: Mapping[str, Any], name: str) -> Probe:
    rows, columns, origin = found["rows"], found["columns"], found["origin"]
    if origin in ORIGINS:
        origin = (0.0, 0.0) if origin == ORIGINS[0] else (columns / 2, rows / 2)
    matrix = tuple(tuple(float(value) for value in row) for row in found["image_to_probe"])
    centre = (float(origin[0]), float(origin[1]))
    return Probe(name, float(found["spacing_mm"]), rows, columns, matrix, centre, found["source"])


def _is_origin(origin: Any) -> bool:
    if isinstance(origin, str):
        return origin in ORIGINS
    is_pair = isinstance(origin, Sequence) and len(origin) == 2
    return is_pair and all(abs(_number(value)) <= _SIDE_PX.high for value in origin)


def _number(value: Any) -> float:
    """A number of a JSON file; NaN for what is none."""
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return float(value) if is_number and abs(value) < 1e300 else math.nan


def _shown(value: Any) -> str:
    return printable(str(value))


def _dot(a: Sequence[float], b: Sequence[float]) -> float:
    return sum(x * y for x, y in zip(a, b, strict=True))


def _cross(a: Sequence[float], b: Sequence[float]) -> list[float]:
    return [a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]]
