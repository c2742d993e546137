"""Write a file of the viewer rerun (``.rrd``); the one place that calls its logging functions.

Every entity is logged statically, or at a frame and a time: the timelines ``frame`` (from 1, as counted in the record
or trial) and ``time`` (from the first frame), for X-ray also ``id``.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medcli.core.files import make_output_folder, write_bytes
from medcli.core.mesh import Mesh

FRAME, TIME, ID = "frame", "time", "id"
CURVES = ((230, 159, 0), (86, 180, 233), (0, 158, 115), (204, 121, 167), (240, 228, 66), (213, 94, 0))
"""Colours of curves (red, green, blue), which everyone can tell apart: the palette of Okabe and Ito (2008)."""
_APPLICATION = "medcli"
_LOG = "RUST_LOG"


class RerunFile:
    """A recording that is being written; see :func:`writing`.

    Attributes:
        rr, blueprint: the modules ``rerun`` and ``rerun.blueprint``.
    """

    def __init__(self) -> None:
        with _only_errors():
            import rerun
            import rerun.blueprint

        self.rr: Any = rerun
        self.blueprint: Any = rerun.blueprint
        self._stream: Any = self.rr.RecordingStream(_APPLICATION)
        self._stream.set_log_time_enabled(False)  # when it was written is no timeline of the data
        self._bytes: Any = self._stream.binary_stream()

    def name(self, title: str) -> None:
        """The title that the viewer shows."""
        self._stream.send_recording_name(title)

    def static(self, entity: str, *archetypes: Any) -> None:
        """What holds for all frames."""
        self._stream.log(entity, *archetypes, static=True)

    def at(self, frame: int, seconds: float, number: int | None = None) -> None:
        """The moment of what :meth:`log` gets next.

        Args:
            frame: from 1.
            seconds: from the first frame.
            number: id of a pair.
        """
        self._stream.set_time(FRAME, sequence=frame)
        self._stream.set_time(TIME, duration=seconds)
        if number is not None:
            self._stream.set_time(ID, sequence=number)

    def log(self, entity: str, *archetypes: Any) -> None:
        """What holds from the moment of :meth:`at` on."""
        self._stream.log(entity, *archetypes)

    def mesh(self, entity: str, mesh: Mesh, colour: Sequence[int]) -> None:
        """A surface with smooth shading, and one opaque colour."""
        self.static(
            entity,
            self.rr.Mesh3D(
                vertex_positions=mesh.vertices.astype(np.float32),
                triangle_indices=mesh.faces.astype(np.uint32),
                vertex_normals=vertex_normals(mesh),
                albedo_factor=list(colour),
            ),
        )

    def place(self, entity: str, matrix: NDArray[np.float64]) -> None:
        """The pose (4, 4) of an entity in its parent, from the moment of :meth:`at` on."""
        self.log(entity, self.rr.Transform3D(translation=matrix[:3, 3], mat3x3=matrix[:3, :3]))

    def curves(self, curves: Mapping[str, str]) -> None:
        """The names, in words, of the entities that :meth:`number` logs."""
        for place, (entity, title) in enumerate(curves.items()):
            self.static(entity, self.rr.SeriesLines(names=title, colors=CURVES[place % len(CURVES)], widths=2.0))

    def number(self, entity: str, value: float) -> None:
        """A value of a curve at the moment of :meth:`at`; nothing for one that is not finite."""
        if np.isfinite(value):
            self.log(entity, self.rr.Scalars(float(value)))

    def text(self, entity: str, markdown: str) -> None:
        """A text for all frames."""
        self.static(entity, self.rr.TextDocument(markdown, media_type=self.rr.MediaType.MARKDOWN))

    def arrange(self, blueprint: Any) -> None:
        """How the viewer arranges it."""
        self._stream.send_blueprint(blueprint, make_active=True, make_default=True)

    def content(self) -> bytes:
        """The file as it is to be written; the last call.

        Read once: of several parts, each ends as a whole file does, and what follows it is not found.
        """
        found = self._bytes.read()
        self._stream.disconnect()
        return bytes(found or b"")


@contextmanager
def _only_errors() -> Iterator[None]:
    """While rerun is imported, which decides then what its Rust part prints: warnings are for its developers."""
    before = os.environ.get(_LOG)
    os.environ.setdefault(_LOG, "error")
    try:
        yield
    finally:
        if before is None:
            del os.environ[_LOG]


@contextmanager
def writing(target: Path) -> Iterator[RerunFile]:
    """A recording that is at ``target`` once the block has ended, complete; or not at all.

    It is kept in memory until then: rerun itself only logs what goes wrong while it writes, such as a full disk.

    Raises:
        UnwrittenFileError: the disk is full, or refuses it.
    """
    file = RerunFile()
    yield file
    make_output_folder(target.parent)
    write_bytes(target, file.content())


def vertex_normals(mesh: Mesh) -> NDArray[np.float32]:
    """(V, 3) unit normals, outwards: of the faces around each vertex, by their area; 0 0 1 where they cancel."""
    corners = mesh.triangles
    of_face = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    normals = np.zeros_like(mesh.vertices)
    for corner in range(3):
        for axis in range(3):
            normals[:, axis] += np.bincount(mesh.faces[:, corner], of_face[:, axis], len(normals))
    length = np.linalg.norm(normals, axis=1, keepdims=True)
    return np.where(length > 0, normals / np.maximum(length, 1e-300), [0.0, 0.0, 1.0]).astype(np.float32)
