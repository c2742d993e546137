"""``medcli demo``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from medcli.cli import options
from medcli.cli.output import Output

if TYPE_CHECKING:
    from medcli.demo import DemoResult


def demo(
    out: Annotated[Path, typer.Option("--out", help="Folder of everything the demonstration makes.")] = Path("demo"),
    pairs: Annotated[int, typer.Option("--pairs", min=1, max=999_999, help="Image pairs to make.")] = 24,
    seed: options.Seed = 0,
    workers: options.Workers = None,
    json: options.Json = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
) -> None:
    """Try medcli without any data: make X-ray image pairs, calibrate them, show before and after.

    The pairs are Veriserum-like: knee components in two X-ray planes, distorted as an image intensifier does, in the
    published layout.
    """
    from medcli.demo import run_demo

    output = Output(json, quiet, verbose)
    result = run_demo(out, pairs, seed, workers=workers, progress=output.progress())
    output.finish(result, lambda done: _show(output, done))


def _show(output: Output, result: DemoResult) -> None:
    output.pairs(
        {
            "data": f"{result.root}: {result.pairs} pairs, {result.made} images made by this run",
            "calibrated": f"{result.calibrated}: {result.done} images by this run",
            "distortion": f"moves points by up to {result.distortion_mm} mm",
            "off the truth": f"{result.error_before} grey levels before, {result.error_after} after calibration",
            "time": f"{result.seconds} s",
            "before/after": result.contact_sheet,
        }
    )
