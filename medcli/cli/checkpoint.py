"""``medcli checkpoint``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from medcli.cli import options
from medcli.cli.output import Output
from medcli.cli.words import App

if TYPE_CHECKING:
    from medcli.ultrabones.checkpoint import Checkpoint

app = App(help="Look at checkpoints of segmentation networks, convert published ones, make untrained ones.")


@app.command("convert")
def convert(
    source: Annotated[Path, typer.Argument(metavar="IN", help="A pickled network (.pth) or one of ours.")],
    target: Annotated[Path, typer.Argument(metavar="OUT", help="The .safetensors file to write.")],
    overwrite: options.Overwrite = False,
    json: options.Json = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
) -> None:
    """Write a pickled network as safetensors.

    Nothing in the file is executed; a file that asks for it is refused.
    """
    from medcli.ultrabones import checkpoint

    output = Output(json, quiet, verbose)
    output.finish(checkpoint.convert(source, target, overwrite), lambda written: _show(output, written))


@app.command("new")
def new(
    target: Annotated[Path, typer.Argument(metavar="OUT", help="The .safetensors file to write.")],
    arch: Annotated[str, typer.Option(help="Architecture of segmentation_models_pytorch.")] = "fpn",
    encoder: Annotated[str, typer.Option(help="Encoder of it; tu-NAME for any of timm.")] = "resnet34",
    encoder_weights: Annotated[
        str, typer.Option(help="none (random), imagenet (downloaded once), or a local file.", metavar="NAME|FILE")
    ] = "none",
    seed: options.Seed = 42,
    overwrite: options.Overwrite = False,
    json: options.Json = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
) -> None:
    """Write a network before its first training step, to compare trained ones with.

    The same network, weights and seed given to train seg begin a training with exactly these weights.
    """
    from medcli.ultrabones import checkpoint

    output = Output(json, quiet, verbose)
    made = checkpoint.create(target, arch, encoder, encoder_weights, seed, overwrite)
    output.finish(made, lambda written: _show(output, written))


@app.command("show")
def show(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A checkpoint of either kind.")],
    json: options.Json = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
) -> None:
    """Say what a checkpoint is; nothing in it is executed."""
    from medcli.ultrabones import checkpoint

    output = Output(json, quiet, verbose)
    output.finish(checkpoint.describe(file), lambda found: _show(output, found))


def _show(output: Output, found: Checkpoint) -> None:
    metadata = found.metadata
    rows = {
        "file": found.path,
        "network": f"{metadata.arch} on {metadata.encoder}, {found.parameters:,} parameters",
        "format": found.format,
        "input": f"{metadata.input_size} x {metadata.input_size}, mean {metadata.mean:.6f}, std {metadata.std:.6f}",
        "threshold": metadata.threshold,
        "source": metadata.source,
        "licence": metadata.licence,
        "citation": metadata.citation,
    }
    for name in ("splits", "metrics", "settings"):
        values = getattr(metadata, name)
        if values:
            rows[name] = ", ".join(
                f"{key} {_short(value)}" for key, value in values.items() if value not in (None, [], "")
            )
    output.pairs(rows)


def _short(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.5g}"
    return " ".join(str(item) for item in value) if isinstance(value, (list, tuple)) else str(value)
