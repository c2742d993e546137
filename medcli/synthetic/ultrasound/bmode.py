"""B-mode images of a bone under soft tissue: gel, skin, fat, fascia, muscle, speckle, bone interface and shadow.

A linear probe looks down along each column. Amplitudes are built in this order and then log-compressed: echogenicity
of the layers, times speckle (the envelope of filtered complex noise), times attenuation with depth, times what the bone
lets through, plus the mirror-like interfaces. Lengths are millimetres, so that frames of any pixel size look alike.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

FloatImage = NDArray[np.float32]
DYNAMIC_RANGE_DB = 52.0
_WAVES = 5


@dataclass(frozen=True)
class Scene:
    """The soft tissue over one sweep; it changes slowly with the probe's position.

    Attributes:
        gel_mm: depth of the skin below the transducer.
        fat_mm: thickness of skin and fat.
        gain_db: overall gain.
        attenuation_db_mm: loss per millimetre of depth.
        leak: share of the amplitude that is left right under bone (reverberation and clutter).
        phases: (4, waves) random phases of the layers' waves.
    """

    gel_mm: float
    fat_mm: float
    gain_db: float
    attenuation_db_mm: float
    leak: float
    phases: NDArray[np.float64]

    @staticmethod
    def draw(generator: np.random.Generator) -> Scene:
        return Scene(
            gel_mm=float(generator.uniform(0.9, 2.2)),
            fat_mm=float(generator.uniform(2.5, 6.5)),
            gain_db=float(generator.uniform(-4.0, 2.0)),
            attenuation_db_mm=float(generator.uniform(0.45, 0.80)),
            leak=float(generator.uniform(0.25, 0.50)),
            phases=generator.uniform(0, 2 * np.pi, (4, _WAVES)),
        )

    def wave(self, which: int, across_mm: NDArray[np.float64], travel_mm: float) -> FloatImage:
        """A smooth curve along the columns, about -1 to 1, that drifts as the probe travels."""
        total = np.zeros_like(across_mm)
        for k, phase in enumerate(self.phases[which]):
            total += np.cos(across_mm * (k + 1) * 0.09 + travel_mm * 0.03 * (k + 1) + phase) / (k + 1)
        return (total / 1.8).astype(np.float32)


def render_bmode(
    bone_rows: NDArray[np.float64],
    scene: Scene,
    travel_mm: float,
    spacing_mm: float,
    height: int,
    generator: np.random.Generator,
) -> NDArray[np.uint8]:
    """An image (height, columns) of the bone surface at ``bone_rows``.

    Args:
        bone_rows: (columns,) row of the first bone surface under each column, NaN where there is none.
        scene: the soft tissue.
        travel_mm: how far the probe has travelled along the bone.
        spacing_mm: edge of a pixel.
        height: rows.
        generator: of the speckle.
    """
    width = len(bone_rows)
    across = np.arange(width, dtype=np.float64) * spacing_mm
    depth = (np.arange(height, dtype=np.float32) * np.float32(spacing_mm))[:, None]
    skin, fascia = _layers(scene, across, travel_mm)
    bone_mm = np.where(np.isnan(bone_rows), np.inf, (bone_rows + 0.5) * spacing_mm).astype(np.float32)
    pressed_mm = max(float((skin - bone_mm + 2.0).max()), 0.0)  # bone right below the skin: less gel between
    skin = np.maximum(skin - pressed_mm, np.float32(0.6))
    fascia = np.minimum(fascia, np.maximum(np.nan_to_num(bone_mm - 0.8, posinf=99.0), skin + 0.4))

    echo = _echogenicity(depth, skin, fascia, spacing_mm, generator)
    speckle = _speckle((height, width), spacing_mm, generator)
    amplitude = _interface(depth, skin, 0.10, 0.16) * 0.9
    amplitude += _interface(depth, fascia, 0.08, 0.18) * (0.45 + 0.4 * scene.wave(2, across * 2.3, travel_mm))
    amplitude = (amplitude + echo) * speckle
    amplitude *= 10 ** (-scene.attenuation_db_mm / 20 * np.maximum(depth - 4.0, 0))
    amplitude *= 1 - 0.75 * _edge_loss(across, scene, travel_mm)
    amplitude *= _transmission(depth, bone_mm, scene.leak, spacing_mm)
    amplitude += _bone_echo(depth, bone_mm, across, scene, travel_mm) * (0.45 + 0.55 * speckle)
    image = _compress(amplitude, scene.gain_db)
    _draw_screen(image, spacing_mm, scene, across, travel_mm)
    return image


def _layers(scene: Scene, across: NDArray[np.float64], travel_mm: float) -> tuple[FloatImage, FloatImage]:
    """Depth of skin and of the deep fascia under each column: a leg is round, so the skin falls off to the sides."""
    middle = across[-1] * (0.5 + 0.1 * np.cos(scene.phases[3, 0]))
    fall = 1.6 * ((across - middle) / (0.5 * across[-1])) ** 2
    skin = (scene.gel_mm + fall + 0.25 * scene.wave(0, across, travel_mm)).astype(np.float32)
    thickness = scene.fat_mm * (1 + 0.18 * scene.wave(1, across, travel_mm))
    return skin, (skin + np.maximum(thickness, 0.8)).astype(np.float32)


def _echogenicity(
    depth: FloatImage, skin: FloatImage, fascia: FloatImage, spacing_mm: float, generator: np.random.Generator
) -> FloatImage:
    """Mean amplitude of each tissue: gel none, fat darker with bright septa, muscle brighter with slanting fibres."""
    shape = (len(depth), len(skin))
    patches = _smooth_noise(shape, 3.0, 6.0, spacing_mm, generator)
    fibres = 0.7 * _smooth_noise(shape, 0.6, 5.0, spacing_mm, generator)
    fibres += 0.7 * _smooth_noise(shape, 0.22, 1.6, spacing_mm, generator)
    fibres = _slanted(fibres, generator.uniform(-0.22, 0.22))
    septa = 1.6 * np.maximum(fibres - 0.9, 0) ** 1.5
    muscle = 0.17 * np.exp(0.36 * patches + 0.34 * fibres) + 0.09 * septa
    fat = 0.075 * np.exp(0.20 * patches + 0.15 * fibres) + 0.12 * septa
    echo = np.where(depth < fascia, fat, muscle)
    below_skin = np.clip((depth - skin) / 0.15, 0, 1)
    return np.asarray(echo * below_skin + 0.0012)


def _speckle(shape: tuple[int, int], spacing_mm: float, generator: np.random.Generator) -> FloatImage:
    """Envelope of complex noise seen through a point spread of 0.1 mm along the beam and twice that across.

    The 0.7th power stands for the compounding of scanners, which lowers the contrast of speckle; mean about 1.
    """
    across, along = 0.095 / spacing_mm, 0.05 / spacing_mm
    noise = generator.standard_normal((2, *shape), dtype=np.float32)
    real, imaginary = (cv2.GaussianBlur(part, (0, 0), sigmaX=across, sigmaY=along) for part in noise)
    power = real * real + imaginary * imaginary
    envelope = np.power(power, np.float32(0.35))
    return np.asarray(envelope / max(float(envelope.mean()), 1e-9), np.float32)


def _smooth_noise(
    shape: tuple[int, int], along_mm: float, across_mm: float, spacing_mm: float, generator: np.random.Generator
) -> FloatImage:
    """Noise with structures of about this size, mean 0, deviation about 1."""
    coarse = (max(int(shape[0] * spacing_mm / along_mm), 2) + 1, max(int(shape[1] * spacing_mm / across_mm), 2) + 1)
    noise = generator.standard_normal(coarse, dtype=np.float32)
    return np.asarray(cv2.resize(noise, (shape[1], shape[0]), interpolation=cv2.INTER_CUBIC), np.float32) * 1.2


def _slanted(image: FloatImage, slope: float) -> FloatImage:
    shear = np.array([[1, 0, 0], [slope, 1, -slope * image.shape[1] / 2]], np.float32)
    size = (image.shape[1], image.shape[0])
    return np.asarray(cv2.warpAffine(image, shear, size, borderMode=cv2.BORDER_REFLECT), np.float32)


def _edge_loss(across: NDArray[np.float64], scene: Scene, travel_mm: float) -> FloatImage:
    """Where the outermost elements lose contact with a round leg, 0 to 1 for each column."""
    to_side_mm = np.minimum(across, across[-1] - across)
    reach_mm = 4.0 * np.clip(1 + scene.wave(3, across, travel_mm), 0.2, 2)
    return np.asarray(np.exp(-((to_side_mm / reach_mm) ** 2)), np.float32)


def _interface(depth: FloatImage, at_mm: FloatImage, above_mm: float, below_mm: float) -> FloatImage:
    """A bright line at depth ``at_mm`` under each column, with a sharper upper edge than lower."""
    line = np.zeros((len(depth), len(at_mm)), np.float32)
    reachable = at_mm[at_mm <= depth[-1, 0]]
    if reachable.size:
        first, last = np.searchsorted(depth[:, 0], [reachable.min() - 5 * above_mm, reachable.max() + 5 * below_mm])
        away = depth[first:last] - at_mm
        away *= np.where(away < 0, np.float32(1 / above_mm), np.float32(1 / below_mm))
        line[first:last] = np.exp(np.float32(-0.5) * away * away)
    return line


def _transmission(depth: FloatImage, bone_mm: FloatImage, leak: float, spacing_mm: float) -> FloatImage:
    """What reaches each pixel past the bone: 1 above it, a fading rest below; the shadow's sides blur with depth."""
    below = np.clip(depth - bone_mm, 0, None)
    through = np.where(below > 0, leak * np.exp(below / np.float32(-4.5)) + np.float32(0.03), np.float32(1))
    near = cv2.blur(through, (_odd(0.8 / spacing_mm), 1))
    far = cv2.blur(cv2.blur(near, (_odd(5.0 / spacing_mm), 1)), (_odd(5.0 / spacing_mm), 1))
    share = np.clip((depth - 6.0) / 30.0, 0, 0.8)
    # Only the outer side of a shadow's edge is softened far away from the bone's own line.
    soft = near + share * (far - near)
    return np.where(np.abs(depth - bone_mm) < 0.6, through, np.minimum(soft, np.maximum(through, 0.5)))


def _odd(pixels: float) -> int:
    return max(int(pixels), 1) | 1


def _bone_echo(
    depth: FloatImage,
    bone_mm: FloatImage,
    across: NDArray[np.float64],
    scene: Scene,
    travel_mm: float,
) -> FloatImage:
    """The bone's line: strong where the beam meets it at a right angle, lost on steep flanks and in drop-outs."""
    present = np.isfinite(bone_mm)
    if not present.any():
        return np.zeros((len(depth), len(bone_mm)), np.float32)
    at = np.where(present, bone_mm, 1e3).astype(np.float32)
    smooth = np.interp(across, across[present], bone_mm[present])
    smooth = cv2.GaussianBlur(smooth.astype(np.float32)[None], (0, 0), 0.5 / (across[1] - across[0]))[0]
    slope = np.gradient(smooth, across)
    strength = (1 / (1 + slope**2)) ** 2.2
    patchy = np.clip(0.75 + 0.55 * scene.wave(2, across * 3.1, 2 * travel_mm), 0.12, 1.3)
    attenuated = 10 ** (-scene.attenuation_db_mm / 20 * np.maximum(at - 4.0, 0))
    line = _interface(depth, at + np.float32(0.05), 0.14, 0.30) + 0.05 * _interface(
        depth, at + np.float32(0.6), 0.3, 1.2
    )
    return np.asarray(line * (2.6 * strength * patchy * attenuated * present), np.float32)


def _compress(amplitude: FloatImage, gain_db: float) -> NDArray[np.uint8]:
    level = (20 * np.log10(np.maximum(amplitude, 1e-6)) + gain_db) / DYNAMIC_RANGE_DB + 1
    grey = 235 * np.clip(level, 0, 1) ** 1.8
    return np.asarray(np.clip(cv2.GaussianBlur(grey, (0, 0), 0.8), 0, 255), np.uint8)


def _draw_screen(
    image: NDArray[np.uint8], spacing_mm: float, scene: Scene, across: NDArray[np.float64], travel_mm: float
) -> None:
    """What the scanner adds: the transducer's line at the top, and the depth marker and edge at the right."""
    height, width = image.shape
    line_mm = 0.45 + 0.12 * scene.wave(3, across * 0.5, travel_mm)
    depth = (np.arange(max(int(1.1 / spacing_mm), 1), dtype=np.float32) * np.float32(spacing_mm))[:, None]
    top = image[: len(depth)]
    line = 190 * _interface(depth, line_mm.astype(np.float32), 0.05, 0.06)
    np.copyto(top, np.clip(np.maximum(top * (depth > line_mm + 0.1), line), 0, 255).astype(np.uint8))
    image[int(0.445 * height) : int(0.56 * height), min(int(0.9868 * width), width - 1)] = 200
    image[:, -1] = 40
