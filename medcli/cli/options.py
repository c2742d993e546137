"""Option types that several commands share, declared once: names, help and environment variables."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import typer

ULTRABONES_ROOT = Path("data/ultrabones")
VERISERUM_ROOT = Path("data/veriserum")
WEIGHTS_ROOT = Path("data/weights")
RUNS = Path("runs")

UltrabonesRoot = Annotated[
    Path, typer.Option("--root", help="Folder of UltraBones100k.", envvar="MEDCLI_ULTRABONES_ROOT")
]
VeriserumRoot = Annotated[Path, typer.Option("--root", help="Folder of Veriserum.", envvar="MEDCLI_VERISERUM_ROOT")]
Workers = Annotated[
    int | None,
    typer.Option(
        "--workers",
        min=1,
        max=1024,
        help="Parallel workers.  [default: one for each usable core]",
        envvar="MEDCLI_WORKERS",
    ),
]
Device = Annotated[
    str,
    typer.Option(
        "--device", help="auto (a GPU if there is one), cpu, cuda or cuda:N.", envvar="MEDCLI_DEVICE", metavar="NAME"
    ),
]
Seed = Annotated[int, typer.Option("--seed", help="Seed of every random draw.", envvar="MEDCLI_SEED")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Write again what is already there.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what would be done; write nothing.")]
Json = Annotated[bool, typer.Option("--json", help="Print the result as one JSON object on stdout.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress and no warnings.", envvar="MEDCLI_QUIET")]
Verbose = Annotated[
    bool, typer.Option("--verbose", "-v", help="Also print what happens inside.", envvar="MEDCLI_VERBOSE")
]


PoseFrame = Annotated[
    Literal["world", "fs", "source-bs"],
    typer.Option("--pose-frame", help="Frame that poses are given in; world is that of plane bs."),
]
InterPlane = Annotated[
    Path | None, typer.Option("--inter-plane", help="Places of the planes, JSON.  [default: the published ones]")
]
Calibrated = Annotated[
    Path | None,
    typer.Option(
        "--calibrated", help="Folder of calibrated images.  [default: ROOT/calibrated, else made from the originals]"
    ),
]


@dataclass(frozen=True)
class IdRange:
    """Whole numbers from ``first`` to ``last``, both included: ``7`` or ``1-1000`` on the command line."""

    first: int
    last: int

    @staticmethod
    def parse(text: str) -> IdRange:
        first, dash, last = text.partition("-")
        if not first.isdecimal() or (dash and not last.isdecimal()):
            raise ValueError("a whole number or a range like 1-1000")
        span = IdRange(int(first), int(last or first))
        if span.last < span.first:
            raise ValueError("a range from a smaller to a larger number")
        return span


Ids = Annotated[
    list[IdRange] | None,
    typer.Option("--ids", parser=IdRange.parse, metavar="IDS", help="Only these ids: 7 9, 1-1000 or 1-5,9."),
]


def id_filter(ids: list[IdRange] | None) -> list[tuple[int, int]] | None:
    """The ranges as plain (first, last) pairs for library functions; None means all."""
    return [(span.first, span.last) for span in ids] if ids else None
