"""Parametric knee implants: closed metal bodies with the shapes and sizes of total knee components.

No manufacturer's design is copied: a few parameters define each shape. Axes of every implant: x medial-lateral
(to the patient's left, at the right of an image from the front), y proximal (up), z anterior; lengths in millimetres;
the origin is inside the component. Surfaces are closed, faces outward, 5,000 to 20,000 triangles.

The femoral component is one shell: a J-shaped outer surface with two condyles, a notch between them and a groove in
front, over the five flat cuts of the bone. The tibial component is one body of stacked rings: stem, two fins, tray with
a raised rim. Pegs are separate closed bodies, sunk 0.2 mm into the metal.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from medcli.core.mesh import Mesh, merge_meshes
from medcli.synthetic.fluoroscopy.solids import blocks, loft, peg, slab

Array = NDArray[np.float64]
_SUNK_MM = 0.2


@dataclass(frozen=True)
class FemoralShape:
    """Sizes of a femoral component in millimetres.

    Attributes:
        width: medial-lateral, over both condyles.
        depth: anterior-posterior.
        flange: height of the anterior flange above the joint line.
        condyle: height of the posterior condyles above the joint line.
        thickness: of the metal at its thinnest.
        notch: width of the gap between the condyles.
        box: height of the box that a stabilising cam fills in the notch; 0 for none.
        peg: height of the two fixation pegs; 0 for none.
    """

    width: float = 66.0
    depth: float = 60.0
    flange: float = 44.0
    condyle: float = 30.0
    thickness: float = 8.0
    notch: float = 19.0
    box: float = 0.0
    peg: float = 14.0


@dataclass(frozen=True)
class TibialShape:
    """Sizes of a tibial component in millimetres.

    Attributes:
        width: of the tray, medial-lateral.
        depth: of the tray, anterior-posterior.
        plate: thickness of the tray without its rim.
        rim: height of the rim that holds the insert.
        notch: depth of the posterior notch for the cruciate ligament.
        stem: length of the stem below the tray.
        stem_radius: at the tray; the tip is a quarter thinner.
        fin: length of the two fins to either side at the tray.
        fin_angle_deg: posterior angle of the fins from the medial-lateral axis.
        pegs: number of pegs below the tray (0, 2 or 4).
    """

    width: float = 72.0
    depth: float = 48.0
    plate: float = 4.0
    rim: float = 2.5
    notch: float = 7.0
    stem: float = 40.0
    stem_radius: float = 7.0
    fin: float = 22.0
    fin_angle_deg: float = 20.0
    pegs: int = 0


FEMORAL_SHAPES = (
    FemoralShape(),
    FemoralShape(width=70, depth=64, flange=47, condyle=33, thickness=8.5, notch=21, box=17, peg=0),
)
TIBIAL_SHAPES = (
    TibialShape(),
    TibialShape(width=68, depth=45, stem=30, stem_radius=8.5, fin=18, fin_angle_deg=30, notch=5),
    TibialShape(width=75, depth=50, stem=55, stem_radius=6.5, fin=17, fin_angle_deg=12, rim=3.2),
    TibialShape(width=70, depth=47, stem=22, stem_radius=9.5, fin=15, fin_angle_deg=0, pegs=4),
    TibialShape(width=64, depth=43, plate=4.6, stem=34, stem_radius=6, fin=24, fin_angle_deg=38, rim=0.8, pegs=2),
)


@dataclass(frozen=True)
class SyntheticImplant:
    """One component: its ``anatomy_id`` in the tables, ``kind`` (femur or tibia) and surface."""

    anatomy_id: int
    kind: str
    mesh: Mesh


def make_implants() -> list[SyntheticImplant]:
    """The two femoral (ids 1, 2) and five tibial components (ids 3 to 7) of the synthetic data."""
    femora = [SyntheticImplant(i, "femur", femoral_component(shape)) for i, shape in enumerate(FEMORAL_SHAPES, start=1)]
    tibiae = [SyntheticImplant(i, "tibia", tibial_component(shape)) for i, shape in enumerate(TIBIAL_SHAPES, start=3)]
    return femora + tibiae


# -- femoral component ------------------------------------------------------------------------------------------------


def femoral_component(shape: FemoralShape) -> Mesh:
    """The closed surface of a femoral component; the origin is midway over the distal cut."""
    u, v, is_metal = _femoral_grid(shape)
    profile = _along(_bone_cuts(shape), u)
    # The condyles protrude; the groove between them and the rounded sides are recessed.
    condyle = np.exp(-(((np.abs(v) - 0.55) / 0.38) ** 2))
    thickness = (0.72 + 0.28 * condyle) * np.sqrt(np.clip(1 - (np.abs(v) / 1.03) ** 8, 0.1, 1))
    surface = profile + (_along(_joint_surface(shape), u) - profile) * thickness[..., None]
    # The flange narrows upwards, the condyles slightly backwards.
    half = shape.width / 2 * (1 - 0.30 * np.clip(1 - u / 0.30, 0, 1) ** 1.5 - 0.05 * np.clip((u - 0.7) / 0.3, 0, 1))
    lean = 3.0 * np.clip(1 - u / 0.30, 0, 1)  # of the flange, to the lateral side of a left knee
    outer, inner = (np.stack([v * half + lean, side[..., 1], side[..., 0]], axis=-1) for side in (surface, profile))
    parts = [slab(outer, inner, is_metal)]
    if shape.box:
        parts.append(_box_housing(shape))
    if shape.peg:
        side = 0.29 * shape.width
        parts += [peg((x, -_SUNK_MM, 4.0), 3.6, shape.peg, up=True) for x in (-side, side)]
    return merge_meshes(parts)


def _femoral_grid(shape: FemoralShape) -> tuple[Array, Array, NDArray[np.bool_]]:
    """The grid of the shell: coordinates of its points along (R, C) and across (R, C), and which cells are metal.

    ``along`` runs from 0 at the top of the flange to 1 at the tips of the posterior condyles, ``across`` from -1 to 1.
    The lines next to the notch follow its border, so that the border is smooth.
    """
    front, lines, side, middle = 0.54, 61, 20, 10
    along = np.linspace(0, 1, lines)[:, None]
    half = shape.notch / shape.width * (0.9 + 0.25 * np.clip((along - front) / (1 - front), 0, 1))
    condyle, bridge = np.linspace(0, 1, side + 1), np.linspace(-1, 1, middle + 1)
    left = -1 + condyle * (1 - half)
    across = np.concatenate([left, bridge[1:-1] * half, -left[:, ::-1]], axis=1)
    arch = np.clip(1 - (across / half) ** 2, 0, 1)
    is_metal = np.ones((lines - 1, 2 * side + middle), dtype=bool)
    is_metal[round(front * (lines - 1)) :, side : side + middle] = False
    return along - 0.07 * arch * np.exp(-(((along - front) / 0.08) ** 2)), across, is_metal


def _bone_cuts(shape: FemoralShape) -> Array:
    """Corners of the five flat bone cuts in the sagittal plane, (6, 2): z anterior, y proximal, front to back."""
    front, back = shape.depth / 2 - 0.75 * shape.thickness, -shape.depth / 2 + shape.thickness
    chamfer, tip = 9.0, shape.condyle - 1.0
    top = [front - 1.5, shape.flange - 1.0]
    return np.array([top, [front, chamfer], [front - chamfer, 0], [back + chamfer, 0], [back, chamfer], [back, tip]])


def _joint_surface(shape: FemoralShape) -> Array:
    """The outer curve in the sagittal plane, (N, 2): a straight flange and a superellipse that curls in behind."""
    height = 0.3 * shape.depth
    half, below = shape.depth / 2, height + shape.thickness
    angle = -np.linspace(0, np.pi + np.arcsin((shape.condyle - height) / below), 120)
    bend = 2 / 2.2
    z = half * np.sign(np.cos(angle)) * np.abs(np.cos(angle)) ** bend
    y = height + below * np.sign(np.sin(angle)) * np.abs(np.sin(angle)) ** bend
    flange = np.linspace([half - 2.5, shape.flange], [half, height], 30)[:-1]
    return np.concatenate([flange, np.stack([z, y], axis=1)])


def _along(curve: Array, share: Array) -> Array:
    """Points (..., 2) at a fraction (...) of the length of a curve (N, 2)."""
    lengths = np.concatenate([[0], np.cumsum(np.linalg.norm(np.diff(curve, axis=0), axis=1))])
    return np.stack([np.interp(share * lengths[-1], lengths, curve[:, i]) for i in (0, 1)], axis=-1)


def _box_housing(shape: FemoralShape) -> Mesh:
    """The closed box of a stabilised component: a hollow housing between the condyles, open below and behind."""
    half = shape.notch / 2 + 1.5
    wall, back, front = 2.0, -shape.depth / 2 + shape.thickness + 9.0, 1.0
    x = np.array([-half, -half + wall, half - wall, half])
    y = np.array([_SUNK_MM - 1.0, shape.box - wall, shape.box])
    z = np.array([back, front - wall, front])
    filled = np.ones((3, 2, 2), dtype=bool)
    filled[1, 0, 0] = False  # the space in which the cam of the insert moves
    return blocks(x, y, z, filled)


# -- tibial component -------------------------------------------------------------------------------------------------


def tibial_component(shape: TibialShape) -> Mesh:
    """The closed surface of a tibial component; the origin is the middle of the tray's underside."""
    fins = _fin_sections(shape)
    angles = np.arctan2(fins[-1, :, 2], fins[-1, :, 0])
    top = shape.plate + shape.rim
    bevel, floor = 0.6, shape.plate
    outline = [(0.0, bevel), (bevel, 0.0), (top - bevel, 0.0), (top, bevel), (top, 2.6)]
    outline += [(floor, 3.0), (floor, 12.0)]
    tray = [_tray_outline(shape, angles, inset, y) for y, inset in outline]
    body = loft(np.concatenate([fins, np.stack(tray)]))
    places = [(x, z) for x in (-0.3, 0.3) for z in ((0.12, -0.22) if shape.pegs == 4 else (-0.05,))]
    pegs = [peg((x * shape.width, _SUNK_MM, z * shape.depth), 3.0, 9.0, up=False) for x, z in places[: shape.pegs]]
    return merge_meshes([body, *pegs])


def _tray_outline(shape: TibialShape, angles: Array, inset: float, y: float) -> Array:
    """The kidney-shaped outline, (N, 3), seen at ``angles`` from the centre, moved inwards by ``inset``."""
    exponent = 2.5  # between an ellipse and a rectangle
    cosine, sine = np.abs(np.cos(angles)), np.abs(np.sin(angles))
    halves = shape.width / 2, shape.depth / 2
    radius = ((cosine / halves[0]) ** exponent + (sine / halves[1]) ** exponent) ** (-1 / exponent)
    behind = np.angle(np.exp(1j * (angles + np.pi / 2)))  # 0 straight backwards
    radius = radius - shape.notch * np.exp(-((behind / 0.36) ** 2)) - inset
    return np.stack([radius * np.cos(angles), np.full_like(angles, y), radius * np.sin(angles)], axis=1)


def _fin_sections(shape: TibialShape, fin_half: float = 1.6) -> Array:
    """Cross-sections of stem and fins from the tip up to the tray, (R, N, 3)."""
    tip = 4.0  # height of the rounded tip
    bend = np.linspace(0.25, 1, 7) * np.pi / 2
    depths, rounding = shape.stem - tip + tip * np.cos(bend), np.sin(bend)
    shaft = np.linspace(shape.stem - tip, 0, 30)[1:]
    fin_foot = 0.75 * shape.stem
    sections = []
    for depth, round_factor in [*zip(depths, rounding, strict=True), *((d, 1.0) for d in shaft)]:
        radius = shape.stem_radius * (1 - 0.25 * depth / shape.stem) * round_factor
        reach = radius + (shape.fin - radius) * max(0.0, 1 - depth / fin_foot)
        sections.append(_stem_with_fins(radius, reach, fin_half, np.deg2rad(shape.fin_angle_deg), -depth))
    return np.stack(sections)


def _stem_with_fins(radius: float, reach: float, half: float, back_angle: float, y: float) -> Array:
    """One cross-section, (N, 3): a circle with a fin to either side, counter-clockwise seen from below."""
    joint = np.arcsin(min(half / radius, 0.9))
    if reach > radius * 1.02:
        side = np.linspace(radius * np.cos(joint), reach, 6)
        end = np.linspace(-half, half, 5)[1:-1]
        fin = np.concatenate(
            [
                np.stack([side, np.full(6, -half)], 1),
                np.stack([np.full(3, reach), end], 1),
                np.stack([side[::-1], np.full(6, half)], 1),
            ]
        )
    else:
        spread = np.linspace(-joint, joint, 15)
        fin = radius * np.stack([np.cos(spread), np.sin(spread)], 1)
    # Right fin, front arc, left fin, back arc; the fins point backwards (-z) by back_angle.
    start, stop = -back_angle + joint, np.pi + back_angle - joint
    front = np.linspace(start, stop, 60)[1:-1]
    behind = np.linspace(stop + 2 * joint, 2 * np.pi + start - 2 * joint, 60)[1:-1]
    right = fin @ _turn(-back_angle)
    left = fin @ _turn(np.pi + back_angle)
    ring = np.concatenate(
        [
            right,
            radius * np.stack([np.cos(front), np.sin(front)], 1),
            left,
            radius * np.stack([np.cos(behind), np.sin(behind)], 1),
        ]
    )
    return np.stack([ring[:, 0], np.full(len(ring), y), ring[:, 1]], axis=1)


def _turn(angle: float) -> Array:
    """Matrix that rotates row vectors (N, 2) counter-clockwise."""
    return np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
