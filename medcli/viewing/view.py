"""Save a record, a pair, a trial or a run as a file of the viewer rerun, or show it (``medcli view``)."""

from __future__ import annotations

import logging
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from medcli.core.errors import UsageError, quantity
from medcli.core.progress import SILENT, Progress
from medcli.viewing import layouts
from medcli.viewing.rerun_file import FRAME, RerunFile, writing
from medcli.viewing.settings import ViewedScene, ViewResult, ViewSettings, ViewTarget
from medcli.viewing.viewer import SUFFIX, check_rerun, check_save_path, show_file

_LOG = logging.getLogger(__name__)
_DEFAULTS = ViewSettings()


def save_view(
    target: ViewTarget,
    file: Path,
    settings: ViewSettings = _DEFAULTS,
    overwrite: bool = False,
    progress: Progress = SILENT,
) -> ViewResult:
    """Write what ``target`` holds to a ``.rrd`` file, which rerun shows on any machine.

    Raises:
        DataError: nothing of it can be shown; says why.
        UsageError: the file exists, or has another ending.
        MedcliError: rerun is not installed, or the file cannot be written.
    """
    check_rerun()
    check_save_path(file, overwrite)
    if target.kind == "file":
        raise UsageError(f"{target.path} is saved already", "leave --save out to see it")
    began = time.perf_counter()
    scene = ViewedScene("")
    write = _write_xray if target.kind in ("pair", "trial", "poses", "motion") else _write_ultrasound
    with writing(file) as recording:
        write(recording, target, settings, scene, progress)
        recording.name(scene.title)
    for warning in scene.warnings:
        _LOG.warning("%s", warning)
    return _result(target, scene, file, time.perf_counter() - began)


def show_view(
    target: ViewTarget,
    in_browser: bool,
    announce: Callable[[str], None],
    settings: ViewSettings = _DEFAULTS,
    progress: Progress = SILENT,
) -> ViewResult:
    """Show what ``target`` holds in a window or a browser, until the user ends that; see :func:`show_file`.

    Raises:
        As :func:`save_view` and :func:`show_file`.
    """
    check_rerun()
    if target.kind == "file":
        show_file(target.path, in_browser, announce)
        return _result(target, ViewedScene(target.path.name), target.path, 0.0)
    with tempfile.TemporaryDirectory(prefix="medcli-view-", ignore_cleanup_errors=True) as folder:
        file = Path(folder, f"view{SUFFIX}")
        result = save_view(target, file, settings, progress=progress)
        show_file(file, in_browser, announce)
    return ViewResult(**{**result.__dict__, "file": None})


def _write_ultrasound(
    file: RerunFile, target: ViewTarget, settings: ViewSettings, scene: ViewedScene, progress: Progress
) -> None:
    from medcli.ultrabones.dataset.records import find_sweeps
    from medcli.viewing import bone_scene, record_scene

    if target.kind == "bones":
        has_distances = bone_scene.write_result(file, target, settings, scene, progress)
    else:
        sweep = find_sweeps(target.path, probe=settings.probe)[0]
        scene.title = sweep.name
        meshes, surfaces = record_scene.read_bones(sweep.folder, sweep.specimen, settings, scene)
        bone_scene.write_bones(file, meshes, surfaces, scene)
        if target.mask and not settings.masks:
            settings = ViewSettings(**{**settings.__dict__, "masks": (target.mask,)})
        record_scene.log_record(file, sweep, settings, scene, surfaces, progress)
        has_distances = scene.scale_mm is not None
    file.text(layouts.ABOUT, _about(scene))
    layout = layouts.record_layout(
        file.blueprint, FRAME, scene.eye, scene.frames > 0, has_distances and scene.frames > 0
    )
    file.arrange(layout)


def _about(scene: ViewedScene) -> str:
    lines = [f"# {scene.title}"]
    if scene.frames:
        shown = f"{scene.frames:,} of {quantity(scene.frames_there, 'frame')}"
        lines.append(f"{shown}; white line: the path of the probe's face")
    if scene.scale_mm:
        lines.append(f"Points: distance to the bone, from 0 (violet) to {scene.scale_mm:g} mm or more (yellow)")
    return "\n\n".join([*lines, *(f"*{warning}*" for warning in scene.warnings)])


def _write_xray(
    file: RerunFile, target: ViewTarget, settings: ViewSettings, scene: ViewedScene, progress: Progress
) -> None:
    from medcli.viewing import xray_scene
    from medcli.viewing.xray_frames import find_frames

    frames = find_frames(target, settings, scene)
    xray_scene.write_pairs(file, frames, settings, scene, progress)
    file.text(layouts.ABOUT, xray_scene.about_pairs(scene, frames))
    file.arrange(layouts.xray_layout(file.blueprint, FRAME, scene.eye, bool(frames.motion)))


def _result(target: ViewTarget, scene: ViewedScene, file: Path, seconds: float) -> ViewResult:
    return ViewResult(
        kind=target.kind,
        file=file,
        bytes=file.stat().st_size,
        seconds=round(seconds, 3),
        title=scene.title,
        frames=scene.frames,
        frames_there=scene.frames_there,
        contents=scene.contents,
        scale_mm=scene.scale_mm,
        warnings=tuple(scene.warnings),
        failures=tuple(scene.failures),
    )
