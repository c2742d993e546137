"""Curves as small SVG charts in the page's colours, so that they follow light and dark mode."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

_WIDTH, _HEIGHT = 300, 226
_LEFT, _RIGHT, _TOP, _BOTTOM = 46, 10, 28, 42
_TICKS = 5
_EDGE, _LONGEST_TITLE = 4, 36
"""Distance of titles from the edge, and characters that surely fit."""
_MARKED_UP_TO = 12


@dataclass(frozen=True)
class Curve:
    """One line of a chart.

    Attributes:
        label: its name.
        x, y: the same number of values; the line is interrupted where ``y`` is not finite.
        low, high: limits of a band around it.
        style: number of its colour, 0 to 5.
        dashed: draw a dashed line.
        marked: mark the values by crosses instead of joining them.
    """

    label: str
    x: Sequence[float]
    y: Sequence[float]
    low: Sequence[float] | None = None
    high: Sequence[float] | None = None
    style: int = 0
    dashed: bool = False
    marked: bool = False


@dataclass(frozen=True)
class Axes:
    """Titles and ranges of the axes; ranges of None follow the curves.

    Attributes:
        title: quantity of the y axis, with its unit, written horizontally above the panel.
        x: quantity of the x axis, with its unit.
        whole_x: ticks at integers only.
    """

    title: str
    x: str
    x_range: tuple[float, float] | None = None
    y_range: tuple[float, float] | None = None
    whole_x: bool = False


def draw(axes: Axes, curves: Sequence[Curve], description: str) -> Markup:
    """One panel as SVG; ``description`` is its alternative text."""
    x_range = axes.x_range or _span([value for curve in curves for value in curve.x], tight=True)
    y_range = axes.y_range or _span([value for curve in curves for value in curve.y])
    plot = _Plot(x_range, y_range)
    parts = [
        Markup('<svg class="panel" viewBox="0 0 {} {}" role="img" aria-label="{}">').format(
            _WIDTH, _HEIGHT, f"{axes.title}. {description}"
        ),
        _title(axes.title),
        *_frame(plot, axes),
        *(band for curve in curves for band in _band(plot, curve)),
        *(line for curve in curves for line in _line(plot, curve)),
        Markup("</svg>"),
    ]
    return Markup("").join(parts)


def _title(text: str) -> Markup:
    """The title above the panel; one that is too long for its width is set narrower."""
    narrow = Markup(' textLength="{}" lengthAdjust="spacingAndGlyphs"').format(_WIDTH - 2 * _EDGE)
    return Markup('<text class="title" x="{}" y="17"{}>{}</text>').format(
        _EDGE, narrow if len(text) > _LONGEST_TITLE else "", text
    )


class _Plot:
    """Maps values to positions in the chart."""

    def __init__(self, x_range: tuple[float, float], y_range: tuple[float, float]) -> None:
        self.x_range, self.y_range = x_range, y_range

    def x(self, value: float) -> float:
        low, high = self.x_range
        return _LEFT + (value - low) / (high - low) * (_WIDTH - _LEFT - _RIGHT)

    def y(self, value: float) -> float:
        low, high = self.y_range
        return _HEIGHT - _BOTTOM - (value - low) / (high - low) * (_HEIGHT - _TOP - _BOTTOM)

    def path(self, points: Sequence[tuple[float, float]]) -> str:
        """A polyline through points, clipped to the y range."""
        low, high = self.y_range
        return "M" + "L".join(f"{self.x(x):.1f} {self.y(min(max(y, low), high)):.1f}" for x, y in points)


def _frame(plot: _Plot, axes: Axes) -> list[Markup]:
    right, bottom = _WIDTH - _RIGHT, _HEIGHT - _BOTTOM
    parts = []
    for value in ticks(*plot.y_range):
        y = f"{plot.y(value):.1f}"
        parts.append(Markup('<path class="grid" d="M{} {}H{}"/>').format(_LEFT, y, right))
        at = f"{plot.y(value) + 4:.1f}"
        parts.append(Markup('<text class="tick end" x="{}" y="{}">{}</text>').format(_LEFT - 7, at, _text(value)))
    for value in ticks(*plot.x_range, whole=axes.whole_x):
        x = f"{plot.x(value):.1f}"
        parts.append(Markup('<path class="grid" d="M{} {}V{}"/>').format(x, _TOP, bottom))
        parts.append(Markup('<text class="tick mid" x="{}" y="{}">{}</text>').format(x, bottom + 17, _text(value)))
    parts.append(Markup('<path class="axis" d="M{} {}V{}H{}"/>').format(_LEFT, _TOP, bottom, right))
    middle = (_LEFT + right) / 2
    parts.append(Markup('<text class="label mid" x="{}" y="{}">{}</text>').format(middle, _HEIGHT - 6, axes.x))
    return parts


def _band(plot: _Plot, curve: Curve) -> list[Markup]:
    if curve.low is None or curve.high is None:
        return []
    pieces: list[list[tuple[float, float, float]]] = [[]]
    for x, low, high in zip(curve.x, curve.low, curve.high, strict=True):
        if math.isfinite(low) and math.isfinite(high):
            pieces[-1].append((x, low, high))
        elif pieces[-1]:
            pieces.append([])
    outlines = [
        plot.path([(x, high) for x, _, high in piece] + [(x, low) for x, low, _ in reversed(piece)])
        for piece in pieces
        if len(piece) > 1
    ]
    return [Markup('<path class="band s{}" d="{}Z"/>').format(curve.style, outline) for outline in outlines]


def _line(plot: _Plot, curve: Curve) -> list[Markup]:
    pieces: list[list[tuple[float, float]]] = [[]]
    for x, y in zip(curve.x, curve.y, strict=True):
        if math.isfinite(y) and math.isfinite(x):
            pieces[-1].append((x, y))
        elif pieces[-1]:
            pieces.append([])
    found = [piece for piece in pieces if piece]
    if curve.marked:
        return [_cross(plot, x, y, curve.style) for piece in found for x, y in piece]
    kind = f"line s{curve.style}" + (" dashed" if curve.dashed else "")
    drawn = [Markup('<path class="{}" d="{}"/>').format(kind, plot.path(piece)) for piece in found if len(piece) > 1]
    few = sum(map(len, found)) <= _MARKED_UP_TO
    dots = [
        Markup('<circle class="dot s{}" cx="{}" cy="{}" r="2.6"/>').format(
            curve.style, f"{plot.x(x):.1f}", f"{plot.y(min(max(y, plot.y_range[0]), plot.y_range[1])):.1f}"
        )
        for piece in found
        for x, y in piece
        if few or len(piece) == 1
    ]
    return drawn + dots


def _cross(plot: _Plot, x: float, y: float, style: int) -> Markup:
    across, up = plot.x(min(max(x, plot.x_range[0]), plot.x_range[1])), plot.y(y)
    arms = f"M{across - 4:.1f} {up - 4:.1f}l8 8m0 -8l-8 8"
    return Markup('<path class="line s{}" d="{}"/>').format(style, arms)


def ticks(low: float, high: float, whole: bool = False) -> list[float]:
    """About five round values from ``low`` to ``high``."""
    raw = (high - low) / _TICKS
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(factor * power for factor in (1, 2, 2.5, 5, 10) if factor * power >= raw * 0.999)
    if whole:
        step = max(1.0, math.ceil(step))
    first = math.ceil(low / step - 1e-9)
    last = math.floor(high / step + 1e-9)
    return [round(i * step, 10) for i in range(first, last + 1)]


def _span(values: Sequence[float], tight: bool = False) -> tuple[float, float]:
    """A range that contains all finite values; 0 to 1 if there are none."""
    known = [value for value in values if math.isfinite(value)]
    if not known:
        return 0.0, 1.0
    low, high = min(known), max(known)
    if low == high:
        return low - 0.5, high + 0.5
    if tight:
        return low, high
    margin = 0.06 * (high - low)
    return (0.0 if 0 <= low < 0.35 * high else low - margin), high + margin


def _text(value: float) -> str:
    return f"{value:g}".replace("-", "\u2212")
