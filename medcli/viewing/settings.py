"""What ``medcli view`` shows, how, and what came of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from medcli.ultrabones.dataset.probe import Probe

TargetKind = Literal["record", "bones", "pair", "trial", "poses", "motion", "file"]


_OF_FRAMES = ("every", "quality", "workers")
_OF_RECORDS = (*_OF_FRAMES, "masks", "poses", "meshes", "merged", "probe")
_OF_PAIRS = ("root", "calibrated", "implants", "inter_plane", "pose_frame", "quality", "workers")
APPLIES: dict[TargetKind, tuple[str, ...]] = {
    "record": _OF_RECORDS,
    "bones": _OF_RECORDS,
    "pair": (*_OF_PAIRS, "side"),
    "trial": (*_OF_PAIRS, "side", "every"),
    "poses": (*_OF_PAIRS, "side", "every"),
    "motion": (*_OF_PAIRS, "every", "trials"),
    "file": (),
}
"""What can be chosen for each kind of target."""


@dataclass(frozen=True)
class ViewTarget:
    """What is to be seen.

    Attributes:
        kind: ``record`` of ultrasound; ``bones``: reconstructed or registered; ``pair`` and ``trial`` of a pose table;
            ``poses``: a table of them; ``motion``: a run of ``medcli kinematics``; ``file``: saved before.
        path: of a record, a run or a file; of a pair or trial the data folder.
        name: the id of a pair, the name of a trial.
        mask: the folder of masks that was named, empty for all.
        root: the data folder of X-ray images, or of the record that a run was made from; None: unknown.
    """

    kind: TargetKind
    path: Path
    name: str = ""
    mask: str = ""
    root: Path | None = None


@dataclass(frozen=True)
class ViewSettings:
    """How it is shown.

    Attributes:
        every: only every n-th frame.
        masks: folders of masks; None: all of the record.
        poses: ``initial`` or ``optimized``; None: those that the masks were made from.
        meshes, merged, probe: see :func:`medcli.ultrabones.dataset.mesh_files.find_meshes` and
            :func:`medcli.ultrabones.dataset.records.find_sweeps`.
        calibrated, implants, inter_plane: see :class:`medcli.veriserum.registration.start_poses.Sources`.
        pose_frame: ``world``, ``fs`` or ``source-bs``; None: the one that a run notes, else ``world``.
        side: of the knee, ``right`` or ``left``; None: as the table states it, else right.
        trials: of a run of several; None: the first.
        quality: of the JPEG images, 1 to 100.
        workers: threads that read and encode images; None: one for each usable core.
    """

    every: int = 1
    masks: tuple[str, ...] | None = None
    poses: str | None = None
    meshes: Path | None = None
    merged: bool = False
    probe: Probe | None = None
    calibrated: Path | None = None
    implants: Path | None = None
    inter_plane: Path | None = None
    pose_frame: str | None = None
    side: str | None = None
    trials: tuple[str, ...] | None = None
    quality: int = 75
    workers: int | None = None


@dataclass(frozen=True)
class Eye:
    """From where space is seen first: a point, what it looks at, and what is up, each (3,) in mm."""

    position: tuple[float, ...]
    target: tuple[float, ...]
    up: tuple[float, ...]


@dataclass
class ViewedScene:
    """What a scene came to hold.

    Attributes:
        title: for the viewer.
        frames: that are shown, of ``frames_there``.
        contents: what is in space, and how many.
        scale_mm: end of the colour scale of distances; None: no distances.
        eye: from where it is seen first; None: the viewer chooses.
        warnings: what a viewer must know.
        failures: frames that could not be shown, one line each.
    """

    title: str
    frames: int = 0
    frames_there: int = 0
    contents: dict[str, int] = field(default_factory=dict)
    scale_mm: float | None = None
    eye: Eye | None = None
    warnings: list[str] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class ViewResult:
    """Result of ``medcli view``.

    Attributes:
        kind: of :class:`ViewTarget`.
        file: that was written; None: it was shown only.
        bytes: its size.
        seconds: of reading and writing, without the time for which it was shown.
        title, frames, frames_there, contents, scale_mm, warnings, failures: see :class:`ViewedScene`.
    """

    kind: str
    file: Path | None
    bytes: int
    seconds: float
    title: str
    frames: int
    frames_there: int
    contents: dict[str, int]
    scale_mm: float | None
    warnings: tuple[str, ...] = ()
    failures: tuple[str, ...] = ()
    schema: str = "medcli.view.v1"
