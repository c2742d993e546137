"""The axes of the implants of a study: from the user's file, else guessed from the meshes."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from medcli.core.errors import DataError, spaced
from medcli.core.mesh import Mesh
from medcli.core.progress import SILENT, Progress
from medcli.veriserum.dataset.anatomies import KIND_OF
from medcli.veriserum.dataset.implant_surfaces import Surfaces
from medcli.veriserum.kinematics.femoral_axes import guess_femoral_axes
from medcli.veriserum.kinematics.implant_axes import ImplantAxes, check_axes_mesh, read_axes
from medcli.veriserum.kinematics.tray_axes import guess_tray_axes

_LOG = logging.getLogger(__name__)
_GUESS = {"femur": guess_femoral_axes, "tibia": guess_tray_axes}
GUESSED = "guessed from the meshes"


@dataclass(frozen=True)
class KnownAxes:
    """Axes by ``anatomy_id``.

    Attributes:
        axes: of the implants that have them.
        source: a sentence on where they are from.
        meshes: of the implants that have a usable one; without one there are no low points.
        problems: why an implant has no axes, or no mesh.
    """

    axes: dict[int, ImplantAxes]
    source: str
    meshes: dict[int, Mesh] = field(default_factory=dict)
    problems: dict[int, str] = field(default_factory=dict)


def guess_axes(mesh: Mesh, kind: str, anatomy: int) -> ImplantAxes:
    """The axes of a ``femur`` or a ``tibia`` from its mesh.

    Raises:
        DataError: the mesh does not look like one; says whether it looks like the other.
    """
    try:
        return _GUESS[kind](mesh)
    except DataError as error:
        other = next(name for name in _GUESS if name != kind)
        raise DataError(
            f"the axes of anatomy {anatomy} cannot be guessed: it is listed as {kind}, but {error.message}",
            f"is it a {other}? Name its kind and axes in a file: --axes axes.json",
        ) from error


def known_axes(
    surfaces: Surfaces, anatomies: Iterable[int], file: Path | None = None, progress: Progress = SILENT
) -> KnownAxes:
    """The axes of some implants: those in ``file`` first, the others guessed.

    An implant whose mesh cannot be used, or whose axes cannot be guessed, is listed with the reason; the others go on.

    Raises:
        DataError: ``file`` cannot be read, or an entry of an implant that is asked for belongs to another mesh.
    """
    given = read_axes(file) if file else {}
    axes: dict[int, ImplantAxes] = {}
    meshes: dict[int, Mesh] = {}
    problems: dict[int, str] = {}
    anatomies = sorted(set(anatomies))
    with progress.task("guessing axes", len(anatomies), "implants") as advance:
        for anatomy in anatomies:
            try:
                meshes[anatomy] = surfaces.implant(anatomy).mesh
                if anatomy in given and file:
                    check_axes_mesh(given[anatomy], meshes[anatomy], anatomy, file)
            except DataError as error:
                if anatomy in meshes:
                    raise
                problems[anatomy] = error.message
            if anatomy in given:
                axes[anatomy] = given[anatomy]
            elif anatomy in meshes and anatomy in KIND_OF:
                try:
                    axes[anatomy] = guess_axes(meshes[anatomy], KIND_OF[anatomy], anatomy)
                except DataError as error:
                    problems[anatomy] = error.message
            advance(1)
    return KnownAxes(axes, _source(axes, given, file), meshes, problems)


def _source(axes: Mapping[int, ImplantAxes], given: Mapping[int, ImplantAxes], file: Path | None) -> str:
    own = [anatomy for anatomy in axes if anatomy in given]
    rest = [anatomy for anatomy in axes if anatomy not in given]
    parts = [f"{file} (anatomies {spaced(own)})"] if own else []
    parts += [f"{GUESSED} (anatomies {spaced(rest)}), not confirmed by a person"] if rest else []
    return "; ".join(parts) or "none"
