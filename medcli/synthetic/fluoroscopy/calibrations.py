"""Synthetic calibrations of a two-plane fluoroscope, with effects of the size found in real image intensifiers.

An image intensifier's curved input screen magnifies outwards (pincushion distortion), the Earth's magnetic field turns
the image more at the rim than in the middle (spiral distortion), and its optics tilt it slightly. The numbers differ
between the two planes and drift a little from one calibration to the next.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from medcli.veriserum.calibration.distortion_model import PolynomialDistortion
from medcli.veriserum.dataset.detector import NATIVE_HEIGHT, NATIVE_WIDTH
from medcli.veriserum.geometry.biplane import SourceIntensifier

TIMESTAMP = "2024-01-01 12:00:00"
_ORIGIN = {"method": "synthetic", "git_hash": "synthetic", "git_repo": "medcli", "operator": "medcli"}
_CUBIC_GRID = 4  # powers 0 to 3 of u and of v


@dataclass(frozen=True)
class Calibration:
    """One row of both calibration tables (they share their ids here)."""

    id: int
    bs: PolynomialDistortion
    fs: PolynomialDistortion
    source: SourceIntensifier

    def distortion(self, plane: str) -> PolynomialDistortion:
        """The distortion of plane ``bs`` or ``fs``."""
        return {"bs": self.bs, "fs": self.fs}[plane]

    def distortion_row(self) -> dict[str, Any]:
        """The row of the distortion table, with the published column names."""
        return {
            "id": self.id,
            "calibration_trial_id_bs": 8 * self.id - 1,
            "calibration_trial_id_fs": 8 * self.id - 5,
            "update_timestamp": TIMESTAMP,
            "obsolete": 0,
            "distortion_result_fs": self.fs.to_text(),
            "distortion_result_bs": self.bs.to_text(),
            **_ORIGIN,
            **dict.fromkeys(("pixel_size_h_fs", "pixel_size_h_bs", "pixel_size_v_fs", "pixel_size_v_bs"), 0.225),
        }

    def source_row(self) -> dict[str, Any]:
        """The row of the source-intensifier table, with the published column names."""
        return {
            "id": self.id,
            "calibration_trial_id_fs": 8 * self.id - 4,
            "calibration_trial_id_bs": 8 * self.id,
            "update_timestamp": TIMESTAMP,
            "obsolete": 0,
            **asdict(self.source),
            **_ORIGIN,
        }


def draw_calibrations(count: int, seed: int) -> list[Calibration]:
    """``count`` calibrations with ids 1 to ``count``, drifting about one machine drawn from ``seed``."""
    machine = np.random.default_rng([seed, 1])
    bases = {plane: _draw_machine(machine) for plane in ("bs", "fs")}
    feet = machine.normal([3.0, -6.0, -11.0, 1.5], 1.0)
    calibrations = []
    for number in range(1, count + 1):
        drift = np.random.default_rng([seed, 1, number])
        bs, fs = (_distortion(bases[plane], drift) for plane in ("bs", "fs"))
        h_bs, v_bs, h_fs, v_fs = (round(float(value), 5) for value in feet + drift.normal(0, 0.7, 4))
        sid_bs, sid_fs = (round(1855 + float(value), 2) for value in drift.uniform(-6, 6, 2))
        source = SourceIntensifier(h_bs, v_bs, sid_bs, h_fs, v_fs, sid_fs)
        calibrations.append(Calibration(number, bs, fs, source))
    return calibrations


def _draw_machine(generator: np.random.Generator) -> dict[str, float]:
    """Distortion parameters of one intensifier; lengths in millimetres."""
    return {
        "scale": generator.uniform(0.221, 0.229),
        "turn_deg": generator.uniform(0.4, 1.1),
        "gain": generator.uniform(1.012, 1.022),
        "twist": generator.uniform(0.027, 0.045),
        "pincushion": generator.uniform(0.85e-6, 1.05e-6),
        "spiral": generator.uniform(4.5e-7, 6.5e-7),
        "tilt_x": generator.normal(0, 5e-5),
        "tilt_y": generator.normal(0, 5e-5),
        "off_x": generator.uniform(-3, 3),
        "off_y": generator.uniform(-3, 3),
    }


def _distortion(machine: Mapping[str, float], drift: np.random.Generator) -> PolynomialDistortion:
    """One measurement of a machine: its parameters with a drift of one percent, and noise in the higher orders."""
    now = {name: value * (1 + drift.normal(0, 0.01)) for name, value in machine.items()}
    now["scale"] = machine["scale"] * (1 + drift.normal(0, 1e-4))
    now["gain"] = machine["gain"] + drift.normal(0, 5e-4)
    x, y = np.zeros((_CUBIC_GRID, _CUBIC_GRID)), np.zeros((_CUBIC_GRID, _CUBIC_GRID))  # [power of u, power of v]
    x[1, 0], x[0, 1], y[0, 1], y[1, 0] = now["gain"], -now["twist"], now["gain"], now["twist"]
    for power_u, power_v in ((2, 0), (0, 2)):  # the factor u² + v² of the radial terms
        x[1 + power_u, power_v] -= now["pincushion"]
        x[power_u, 1 + power_v] += now["spiral"]
        y[power_u, 1 + power_v] -= now["pincushion"]
        y[1 + power_u, power_v] -= now["spiral"]
    x[2, 0], x[1, 1], y[0, 2], y[1, 1] = now["tilt_x"], now["tilt_y"], now["tilt_y"], now["tilt_x"]
    for part in (x, y):
        part[0, 0] = drift.normal(4, 1)
        for order, size in ((4, 6e-10), (5, 6e-12)):
            for power in range(order - 3, 4):
                part[power, order - power] += drift.normal(0, size)
    angle = np.deg2rad(now["turn_deg"])
    rotation = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    middle = np.array([NATIVE_WIDTH, -NATIVE_HEIGHT]) / 2
    # The centre of the image is near the centre of the field; the constant terms above contribute to this.
    translation = np.array([now["off_x"], now["off_y"]]) - 4 - now["scale"] * rotation @ middle
    return PolynomialDistortion(np.concatenate([x.ravel(), y.ravel()]), float(now["scale"]), translation, rotation)
