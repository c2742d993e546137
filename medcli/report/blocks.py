"""The building blocks of a report, all rendered by one template.

Text is plain text and is escaped when rendered; the only field with markup is :attr:`Chart.panels`, filled by
:mod:`medcli.report.charts`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from markupsafe import Markup


@dataclass(frozen=True)
class Text:
    """A paragraph."""

    text: str
    kind: str = "text"


@dataclass(frozen=True)
class Note:
    """A highlighted remark; ``tone`` is ``info``, ``warning`` or ``failure``."""

    text: str
    tone: str = "info"
    items: Sequence[str] = ()
    kind: str = "note"


@dataclass(frozen=True)
class Command:
    """A command line."""

    text: str
    label: str = ""
    kind: str = "command"


@dataclass(frozen=True)
class FigureTile:
    """One number shown large.

    Attributes:
        value: the number; a text where there is none.
        unit: of the number.
        beside: a second line: what it is compared with, or what else belongs to it.
    """

    value: str
    unit: str = ""
    beside: str = ""

    @staticmethod
    def of(text: str) -> FigureTile:
        """A tile from text such as ``0.01 mm; at the start 3.45``, ``36 of specimens 2 7 8`` or ``2 min 10 s``."""
        first, _, beside = text.partition("; ")
        duration = _DURATION.fullmatch(first)
        found = None if duration else _MEASURED.fullmatch(first)
        if found is None:
            return FigureTile(first, beside=beside)
        rest = found["rest"].lstrip(",").strip()
        return FigureTile(found["value"], found["unit"] or "", "; ".join(filter(None, (rest, beside))))

    @property
    def is_number(self) -> bool:
        """Whether there is a number to show large."""
        return bool(_DURATION.fullmatch(self.value)) or is_number(self.value)


_UNITS = "mm|°|deg|degrees|%|s|min|h|ms|px|grey levels|frames|pairs|images|epochs|points|poses|masks|records"
_DURATION = re.compile(r"\d+ h \d+ min|\d+ min \d+ s")
_MEASURED = re.compile(rf"(?P<value>[-\u2212+]?\d[\d,.]*)(?: ?(?P<unit>{_UNITS})(?![a-z]))?(?P<rest>(?:,? .*)?)")


@dataclass(frozen=True)
class KeyFigures:
    """The most important numbers: name -> text with unit, shown large; what follows a semicolon is a second line."""

    figures: Mapping[str, str]
    kind: str = "figures"

    @property
    def tiles(self) -> dict[str, FigureTile]:
        """Number, unit and second line of each."""
        return {name: FigureTile.of(text) for name, text in self.figures.items()}


@dataclass(frozen=True)
class KeyValues:
    """Names and values; ``folded`` collapses them below the caption."""

    rows: Mapping[str, str]
    caption: str = ""
    folded: bool = False
    kind: str = "pairs"


@dataclass(frozen=True)
class Table:
    """Rows of text cells; columns that contain only numbers are right-aligned.

    Attributes:
        header: title of each column.
        rows: cells, as many in each row as ``header``; the first names the row.
        caption: what the table shows.
        folded: collapse it below the caption.
    """

    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    caption: str
    folded: bool = False
    kind: str = "table"

    @property
    def numeric(self) -> list[bool]:
        """Whether each column contains only numbers."""
        return [
            any(is_number(row[i]) for row in self.rows)
            and all(is_number(row[i]) or row[i] in BLANK for row in self.rows)
            for i in range(len(self.header))
        ]


BLANK = ("", "–")
"""Cells without a value."""


@dataclass(frozen=True)
class ImageBlock:
    """An image embedded in the page.

    Attributes:
        source: ``data:`` URL.
        width, height: pixels.
        alt: alternative text.
        caption: shown below it.
        wide: contains small text, so a narrow screen scrolls it instead of shrinking it.
    """

    source: str
    width: int
    height: int
    alt: str
    caption: str = ""
    wide: bool = False
    kind: str = "image"


@dataclass(frozen=True)
class Gallery:
    """Images side by side, as many as fit the screen, with a common ``caption``."""

    images: Sequence[ImageBlock]
    caption: str = ""
    kind: str = "gallery"


@dataclass(frozen=True)
class Compare:
    """Two superimposed images of the same size with a slider."""

    before: ImageBlock
    after: ImageBlock
    caption: str
    labels: tuple[str, str] = ("before", "after")
    kind: str = "compare"


@dataclass(frozen=True)
class Key:
    """One entry of a chart's legend: colour and line style by number, and label."""

    style: int
    label: str
    dashed: bool = False


@dataclass(frozen=True)
class Chart:
    """Panels of curves with one legend; ``table`` contains the same numbers."""

    panels: Sequence[Markup]
    keys: Sequence[Key]
    caption: str
    table: Table | None = None
    kind: str = "chart"


@dataclass(frozen=True)
class PointCloud:
    """Points over a mesh, rotated by dragging or arrow keys. Arrays are base64 of little-endian numbers.

    Attributes:
        points: (N, 3) uint16, each axis 0 to 65535 over the box.
        values: (N,) uint8, position on the colour scale.
        vertices, faces: (V, 3) uint16 in the same box and (F, 3) uint16; empty without a mesh.
        low_mm, size_mm: corner and edges of the box.
        view: (9,) rotation of the first view, row by row.
        scale: text at the ends of the colour scale.
        alt, caption: as of an image.
    """

    points: str
    values: str
    vertices: str
    faces: str
    low_mm: Sequence[float]
    size_mm: Sequence[float]
    view: Sequence[float]
    palette: Sequence[str]
    scale: tuple[str, str]
    alt: str
    caption: str
    kind: str = "cloud"


@dataclass(frozen=True)
class MovingBodies:
    """Rigid bodies that move, with a slider over time. Arrays are base64 of little-endian numbers.

    Attributes:
        vertices, faces: (V, 3) uint16, each body in its own box, and (F, 3) uint16; one body after the other.
        bodies: of each body its name, number of vertices, colour, and low_mm and size_mm of its box.
        poses: (N, B, 12) float32, the upper three rows of each body's pose in the common frame, mm; NaN: not there.
        points: (N, P, 3) float32 marks in the frame of the last body, mm.
        colours: of the marks, variables of the page's style.
        labels: what a frame is called, one each.
        names: of the axes of the last body's frame.
        view: (9,) rotation of the first view, row by row.
        alt, caption: as of an image.
    """

    vertices: str
    faces: str
    bodies: Sequence[Mapping[str, object]]
    poses: str
    points: str
    colours: Sequence[str]
    labels: Sequence[str]
    names: Sequence[str]
    view: Sequence[float]
    alt: str
    caption: str
    kind: str = "motion"


Block = (
    Text
    | Note
    | Command
    | KeyFigures
    | KeyValues
    | Table
    | ImageBlock
    | Gallery
    | Compare
    | Chart
    | PointCloud
    | MovingBodies
)


@dataclass(frozen=True)
class Section:
    """A heading with blocks and subsections; ``folded`` collapses them below the heading."""

    title: str
    blocks: Sequence[Block] = ()
    sections: Sequence[Section] = field(default_factory=tuple)
    folded: bool = False


_NOT_DIGITS = str.maketrans("", "", ",%()×")


def is_number(text: str) -> bool:
    """Whether a cell is a number; sign, thousands separators, percentage and plus-minus are allowed."""
    bare = text.translate(_NOT_DIGITS).replace("\u2212", "-")
    parts = [part for part in bare.replace(" to ", " ").split() if part != "±"]
    try:
        return bool(parts) and all(float(part) == float(part) for part in parts)
    except ValueError:
        return False


def number(value: object, digits: int = 3, unit: str = "") -> str:
    """A value as a cell; ``–`` if it is missing."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or value != value:
        return "–"
    if isinstance(value, int):
        text = f"{value:,}"
    else:
        text = f"{value:,.{digits}f}"
    return (text.replace("-", "\u2212") + (f" {unit}" if unit else "")) if text else text
