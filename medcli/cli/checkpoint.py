"""``medcli checkpoint``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from medcli.cli.shared import options
from medcli.cli.shared.multi_value_options import App
from medcli.cli.shared.output import Output
from medcli.core.errors import quantity
from medcli.core.files import check_output_folder, check_replaceable
from medcli.core.refusals import refusals

if TYPE_CHECKING:
    from medcli.ultrabones.segmentation.checkpoint import Checkpoint
    from medcli.veriserum.pose.checkpoint import PoseCheckpoint

app = App()


@app.command("convert")
def convert(
    output: Output,
    source: Annotated[
        Path, typer.Argument(metavar="IN", help="A pickled segmentation network (.pth), or one of medcli's.")
    ],
    target: Annotated[Path, typer.Argument(metavar="OUT", help="The .safetensors file to write.")],
    train_specimens: Annotated[
        list[int] | None,
        typer.Option(help="Specimens that the network was trained on, where the file does not say.", metavar="N"),
    ] = None,
    overwrite: options.Overwrite = False,
) -> None:
    """Write a pickled network as safetensors.

    Nothing in the file is executed; a file that requires it is rejected. Files that medcli download weights brought
    are recognised, and what they were trained on is written into the checkpoint.
    """
    from medcli.ultrabones.segmentation import checkpoint
    from medcli.ultrabones.segmentation.checkpoint_metadata import check_segmentation_checkpoint

    with refusals() as check:
        if check(check_segmentation_checkpoint, source):
            check(checkpoint.check_stated_training, source, train_specimens)
        check(check_replaceable, checkpoint.with_suffix(target), overwrite)
        check(check_output_folder, target.parent)
    done = checkpoint.convert_checkpoint(source, target, overwrite, train_specimens)
    output.finish(done, lambda written: _show(output, written))


@app.command("new")
def new(
    output: Output,
    target: Annotated[Path, typer.Argument(metavar="OUT", help="The .safetensors file to write.")],
    arch: options.Arch = "fpn",
    encoder: options.Encoder = "resnet34",
    encoder_weights: options.PretrainedWeights = "none",
    seed: options.Seed = 42,
    overwrite: options.Overwrite = False,
) -> None:
    """Write an untrained network, to compare trained ones with.

    It is as before its first step: the same network, weights and seed given to train seg begin a training with
    exactly these weights.
    """
    from medcli.ultrabones.segmentation import checkpoint
    from medcli.ultrabones.segmentation.network import check_architecture, check_encoder, check_encoder_weights

    with refusals() as check:
        check(check_architecture, arch)
        check(check_encoder, encoder)
        check(check_encoder_weights, encoder, encoder_weights)
        check(check_output_folder, target.parent)
    made = checkpoint.create(target, arch, encoder, encoder_weights, seed, overwrite)
    output.finish(made, lambda written: _show(output, written))


@app.command("show")
def show(
    output: Output,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A checkpoint: .safetensors, or a published .pth.")],
) -> None:
    """Describe a checkpoint; nothing in it is executed.

    Of either kind: segmentation networks, also published ones (.pth), and pose networks.
    """
    from medcli.workspace.checkpoint_listing import describe_checkpoint

    output.finish(describe_checkpoint(file), lambda found: _show(output, found))


def _show(output: Output, found: Checkpoint | PoseCheckpoint) -> None:
    metadata = found.metadata
    network, facts = _facts_of_pose(found) if hasattr(metadata, "backbone") else _facts_of_segmentation(found)
    rows = {
        "file": found.path,
        "network": f"{network}, {quantity(found.parameters, 'parameter')}",
        **facts,
        "source": metadata.source,
        "licence": metadata.licence,
        **({"citation": metadata.citation} if metadata.citation else {}),
    }
    for name in ("splits", "metrics", "settings"):
        values = {key: value for key, value in getattr(metadata, name).items() if value not in (None, [], "", {})}
        warnings = values.pop("warnings", [])
        if values:
            rows[name] = ", ".join(f"{key} {_short(value)}" for key, value in values.items())
        if warnings:
            rows["warnings"] = "; ".join(warnings)
    output.pairs(rows)


def _facts_of_segmentation(found: Any) -> tuple[str, dict[str, Any]]:
    metadata = found.metadata
    return f"segmentation, {metadata.arch} on {metadata.encoder}", {
        "format": found.format,
        "input": f"{metadata.input_size} x {metadata.input_size}, mean {metadata.mean:.6f}, std {metadata.std:.6f}",
        "threshold": metadata.threshold,
    }


def _facts_of_pose(found: Any) -> tuple[str, dict[str, Any]]:
    metadata = found.metadata
    numbers = [f"{value:.1f}" for value in metadata.mean_pose]
    return f"implant pose, {metadata.backbone}", {
        "input": f"2 planes of {metadata.size} x {metadata.size}, {metadata.images}",
        "anatomies": " ".join(map(str, metadata.anatomies)),
        "mean pose": f"tx ty tz {' '.join(numbers[:3])} mm, rz rx ry {' '.join(numbers[3:])} degrees",
    }


def _short(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.5g}"
    if isinstance(value, dict):
        return " ".join(f"{key} {_short(item)}" for key, item in value.items())
    return " ".join(str(item) for item in value) if isinstance(value, (list, tuple)) else str(value)
