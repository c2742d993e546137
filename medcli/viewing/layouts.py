"""How the viewer arranges what a scene holds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from medcli.viewing.settings import Eye

CT, IMAGE, POINTS, CLOUD = "ct", "ct/frame/image", "ct/points", "ct/cloud"
DISTANCE, ABOUT = "distance", "about"
WORLD, MOTION = "world", "motion"
PLANES: Mapping[str, str] = {"bs": f"{WORLD}/bs", "fs": f"{WORLD}/fs"}
ANGLES, SHIFTS = f"{MOTION}/angles", f"{MOTION}/shifts"
BACKGROUND = (20, 22, 26)


def record_layout(blueprint: Any, timeline: str, eye: Eye | None, has_frames: bool, has_distances: bool) -> Any:
    """Bone, image plane and points in space; beside them the image and the distances over the frames."""
    space = _space(blueprint, CT, "CT space, mm", eye)
    about = blueprint.TextDocumentView(origin=ABOUT, name="about")
    beside = []
    if has_frames:
        contents = ["$origin/**", f"{POINTS}/**"]
        beside.append(blueprint.Spatial2DView(origin=IMAGE, contents=contents, name="ultrasound image"))
    if has_distances:
        beside.append(_curves(blueprint, DISTANCE, "median distance to the bone, mm"))
    return _page(blueprint, space, [*beside, about], timeline)


def xray_layout(blueprint: Any, timeline: str, eye: Eye | None, has_motion: bool) -> Any:
    """Cameras and implants in space; beside them both images, and below the knee's angles and shifts."""
    space = _space(blueprint, WORLD, "world, mm", eye)
    images = [blueprint.Spatial2DView(origin=entity, name=f"plane {plane}") for plane, entity in PLANES.items()]
    beside = [blueprint.Horizontal(*images)]
    if has_motion:
        beside.append(_curves(blueprint, ANGLES, "knee angles, degrees"))
        beside.append(_curves(blueprint, SHIFTS, "knee shifts, mm"))
    else:
        beside.append(blueprint.TextDocumentView(origin=ABOUT, name="about"))
    return _page(blueprint, space, beside, timeline)


def _space(blueprint: Any, origin: str, name: str, eye: Eye | None) -> Any:
    grid = blueprint.LineGrid3D(visible=False)
    seen = {}
    if eye is not None:
        controls = blueprint.EyeControls3D(position=eye.position, look_target=eye.target, eye_up=eye.up)
        seen["eye_controls"] = controls
    return blueprint.Spatial3DView(origin=origin, name=name, line_grid=grid, background=BACKGROUND, **seen)


def _curves(blueprint: Any, origin: str, name: str) -> Any:
    return blueprint.TimeSeriesView(origin=origin, name=name, plot_legend=blueprint.PlotLegend(visible=True))


def _page(blueprint: Any, space: Any, beside: Sequence[Any], timeline: str) -> Any:
    shares = [2.0, *([1.0] * (len(beside) - 1))]
    return blueprint.Blueprint(
        blueprint.Horizontal(space, blueprint.Vertical(*beside, row_shares=shares), column_shares=[3.0, 2.0]),
        blueprint.BlueprintPanel(state="collapsed"),
        blueprint.SelectionPanel(state="collapsed"),
        blueprint.TimePanel(state="collapsed", timeline=timeline, play_state="paused"),
    )
