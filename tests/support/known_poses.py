"""Poses of a synthetic study beside the true ones."""

from __future__ import annotations

import numpy as np

from medcli.core.rigid_transforms import rotation_angle_deg
from medcli.synthetic.fluoroscopy.dataset import Study
from medcli.veriserum.registration.rigid_motion import moved


def errors(study: Study, number: int, pose: np.ndarray) -> tuple[np.ndarray, float]:
    """Millimetres along x, y, z at the implant's middle, and degrees."""
    frame = study.frames[number]
    implant = study.implants[frame.anatomy_id]
    true = frame.knee.of(implant.kind)
    middle = np.append(implant.mesh.bounds.mean(axis=0), 1.0)
    return ((pose - true) @ middle)[:3], float(rotation_angle_deg(pose[:3, :3] @ true[:3, :3].T))


def shaken(study: Study, number: int, generator: np.random.Generator, most: float = 5.0) -> np.ndarray:
    frame = study.frames[number]
    implant = study.implants[frame.anatomy_id]
    true = frame.knee.of(implant.kind)
    return moved(true, generator.uniform(-most, most, 6), implant.mesh.bounds.mean(axis=0))
