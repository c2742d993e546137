"""Knees for the ray-casting simulator: components, bones, motions and pairs with known poses, written as a study.

Only surfaces (vertices and faces) come from the package; motion, camera, rendering and tables are written anew.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.spatial.transform import Rotation

from medcli.core.mesh import Mesh
from medcli.synthetic.fluoroscopy.implants import make_implants
from tests.support.ray_cast_xray import Beam, Metal, Quadric, detectors, xray

PLANES = ("bs", "fs")
MESHES: dict[int, Mesh] = {implant.anatomy_id: implant.mesh for implant in make_implants()}
FEMORA, TIBIAE = (1, 2), (3, 4, 5, 6, 7)
SEATED_MM = 21.0  # height of the femoral origin over the tray's underside


@dataclass(frozen=True)
class Knee:
    """One pair: both components, their poses (4, 4), the row of the source table, and both images (512, 512)."""

    femur_id: int
    tibia_id: int
    femur: np.ndarray
    tibia: np.ndarray
    source: dict[str, float]
    images: dict[str, np.ndarray]

    def pose(self, anatomy: int) -> np.ndarray:
        return self.femur if anatomy in FEMORA else self.tibia


def draw_source(random: np.random.Generator) -> dict[str, float]:
    names = ("principalp_h_bs", "principalp_v_bs", "principalp_h_fs", "principalp_v_fs")
    feet = random.normal([3.0, -6.0, -11.0, 1.5], 2.0)
    return {name: float(value) for name, value in zip(names, feet, strict=True)} | {
        "sid_bs": float(random.uniform(1849, 1862)),
        "sid_fs": float(random.uniform(1849, 1862)),
    }


def tibia_on_femur(
    flexion: float, adduction: float, internal: float, place: np.ndarray, right: bool = True
) -> np.ndarray:
    """Tibial in femoral coordinates (x right, y proximal, z anterior) from joint angles in degrees: flexion about the
    femur's x, adduction about the floating axis, internal rotation about the tibia's y; (3,) mm in femoral axes.

    Lateral is +x in a right knee seen from behind (anterior z, proximal y, so x = y cross z points to the left of the
    viewer in front, that is to the person's right): the lateral side of a right leg.
    """
    side = 1.0 if right else -1.0
    # A tibia flexes backwards: about +x, its distal end (-y) turns to -z.
    angles = [flexion, -side * adduction, side * internal]
    result = np.eye(4)
    result[:3, :3] = Rotation.from_euler("XZY", angles, degrees=True).as_matrix()
    result[:3, 3] = place
    return result


def draw_knee(random: np.random.Generator, flexion: float | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Poses of femur and tibia for one frame of a random activity."""
    bend = float(random.uniform(0, 80)) if flexion is None else flexion
    tibia = np.eye(4)
    angles = [random.choice([-1, 1]) * random.uniform(55, 125), random.uniform(-15, 30), random.normal(0, 6)]
    tibia[:3, :3] = Rotation.from_euler("YXZ", angles, degrees=True).as_matrix()
    tibia[:3, 3] = np.array([0, -8, 381.0]) + random.uniform([-24, -22, -30], [24, 22, 30])
    return tibia @ _seated(
        bend, random.normal(0, 2), random.normal(0.08 * bend, 3), random.normal(0, 2), -0.06 * bend
    ), tibia


def _seated(flexion: float, adduction: float, internal: float, sideways: float, forward: float) -> np.ndarray:
    """The femur in the tibia's coordinates, resting on the tray."""
    turned = np.linalg.inv(tibia_on_femur(flexion, adduction, internal, np.zeros(3)))
    turned[:3, 3] = [sideways, SEATED_MM, forward]
    return turned


def walk(random: np.random.Generator, frames: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """A trial at 25 frames a second: a gait cycle of known motion."""
    phase = random.uniform(0, 1) + np.arange(frames) / 25 / random.uniform(0.95, 1.25)
    waves = 2 * np.pi * phase
    bumps = [np.abs((phase - at + 0.5) % 1 - 0.5) for at in (0.15, 0.72)]
    bend = 5 + 12 * np.exp(-((bumps[0] / 0.1) ** 2)) + 55 * np.exp(-((bumps[1] / 0.13) ** 2))
    heading = random.choice([-1, 1]) * random.uniform(60, 120)
    middle = np.array([0, -8, 381.0]) + random.uniform([-14, -14, -18], [14, 14, 18])
    shifts = random.uniform(0, 2 * np.pi, 6)
    poses = []
    for wave, flexion in zip(waves, bend, strict=True):
        tibia = np.eye(4)
        angles = [heading + 5 * np.sin(wave + shifts[0]), 0.45 * flexion - 10, 3 * np.sin(wave + shifts[1])]
        tibia[:3, :3] = Rotation.from_euler("YXZ", angles, degrees=True).as_matrix()
        tibia[:3, 3] = middle + np.array([11, 7, 7]) * np.sin(wave + shifts[2:5])
        relative = _seated(
            flexion, 1.5 * np.sin(wave), 0.08 * flexion + 2 * np.sin(wave + shifts[5]), np.sin(wave), -0.06 * flexion
        )
        poses.append((tibia @ relative, tibia))
    return poses


def draw_beam(random: np.random.Generator) -> Beam:
    return Beam(
        quanta=random.uniform(150, 600),
        scatter=random.uniform(0.2, 0.6),
        scatter_mm=random.uniform(18, 32),
        glare=random.uniform(0.05, 0.15),
        blur_mm=random.uniform(0.3, 0.6),
        vignetting=random.uniform(0.15, 0.4),
        gain=random.uniform(0.8, 1.25),
        texture=random.uniform(0.03, 0.1),
        centre_mm=random.normal(0, 3, 2),
    )


def bones(femur: np.ndarray, tibia: np.ndarray, random: np.random.Generator) -> list[Quadric]:
    """Shafts with a marrow canal, condyles, a patella and a fibula, and flesh."""
    size = random.uniform(0.92, 1.08)
    bodies = []
    for pose, up in ((femur, 1.0), (tibia, -1.0)):
        bodies += [
            Quadric(_at(pose, [0, up * 24, 0]), size * np.array([34, 26, 24.0]), "bone"),
            Quadric(_at(pose, [0, up * 120, 0]), size * np.array([14, 1, 13.0]), "cortex", 1.0, (-95.0, 95.0)),
            Quadric(_at(pose, [0, up * 120, 0]), size * np.array([9, 1, 8.0]), "cortex", -1.0, (-95.0, 95.0)),
            Quadric(_at(pose, [0, up * 110, 0]), size * np.array([48, 1, 45.0]), "flesh", 1.0, (-110.0, 110.0)),
            Quadric(_at(pose, [0, up * 15, 0]), size * np.array([54, 54, 52.0]), "flesh"),
        ]
    bodies.append(Quadric(_at(femur, [0, 12, 46]), size * np.array([20, 22, 10.0]), "bone"))
    side = random.choice([-1, 1])
    return [*bodies, Quadric(_at(tibia, [side * 34, -90, -18]), np.array([6, 1, 6.0]), "cortex", 1.0, (-75.0, 75.0))]


def _at(pose: np.ndarray, place: list[float]) -> np.ndarray:
    shift = np.eye(4)
    shift[:3, 3] = place
    return np.asarray(pose @ shift)


def photograph(
    femur_id: int,
    tibia_id: int,
    femur: np.ndarray,
    tibia: np.ndarray,
    source: dict[str, float],
    random: np.random.Generator,
    beam: Beam | None = None,
    metals: tuple[str, ...] = ("femur", "tibia"),
) -> Knee:
    """The pair of a knee; ``metals`` may leave out a component."""
    alloy = str(random.choice(["titanium", "cobalt chrome"]))
    parts = {
        "femur": Metal(MESHES[femur_id].vertices, MESHES[femur_id].faces, femur, "cobalt chrome"),
        "tibia": Metal(MESHES[tibia_id].vertices, MESHES[tibia_id].faces, tibia, alloy),
    }
    tissues, beam = bones(femur, tibia, random), beam or draw_beam(random)
    shown = [parts[name] for name in metals]
    images = {plane: xray(shown, tissues, at, beam, random) for plane, at in detectors(source).items()}
    return Knee(femur_id, tibia_id, femur, tibia, source, images)


def knee(seed: int, number: int) -> Knee:
    """Pair ``number`` of a series; pairs of different seeds share no random number."""
    random = np.random.default_rng([seed, number])
    femur, tibia = draw_knee(random)
    return photograph(FEMORA[number % 2], TIBIAE[number % 5], femur, tibia, draw_source(random), random)


def trial(seed: int, number: int, frames: int) -> list[Knee]:
    """A trial of consecutive pairs with one beam and one calibration."""
    random = np.random.default_rng([seed, 1000 + number])
    source, beam, poses = draw_source(random), draw_beam(random), walk(random, frames)
    femur_id, tibia_id = FEMORA[number % 2], TIBIAE[number % 5]
    seeds = random.integers(0, 2**31, frames)
    shape = int(random.integers(0, 2**31))  # bones and alloy stay the same through the trial
    knees = []
    for (femur, tibia), noise in zip(poses, seeds, strict=True):
        made = photograph(femur_id, tibia_id, femur, tibia, source, np.random.default_rng([shape, int(noise)]), beam)
        knees.append(made)
    return knees
