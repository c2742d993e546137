"""Options that several commands share, declared once: help and environment variables.

An option has the name of the parameter that it is for, unless it states another one.
Those that every command has, ``--json --quiet --verbose``, are not even declared by it: :func:`with_output` adds them.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from copy import copy
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, get_args, get_origin

import typer

from medcli.cli.shared.option_values import OptionKind
from medcli.cli.shared.output import Output
from medcli.core.errors import UsageError

Settings = TypeVar("Settings")
ULTRABONES_ROOT = Path("data/ultrabones")
ULTRABONES_HIP_ROOT = Path("data/ultrabones-hip")
VERISERUM_ROOT = Path("data/veriserum")
WEIGHTS_ROOT = Path("data/weights")
EXAMPLES_ROOT = Path("data/examples")
RUNS = Path("runs")

UltrabonesRoot = Annotated[Path, typer.Option(help="Folder of UltraBones100k.", envvar="MEDCLI_ULTRABONES_ROOT")]
VeriserumRoot = Annotated[Path, typer.Option(help="Folder of Veriserum.", envvar="MEDCLI_VERISERUM_ROOT")]
Workers = Annotated[
    int | None,
    typer.Option(min=1, max=1024, help="Parallel workers.  [default: one per usable core]", envvar="MEDCLI_WORKERS"),
]


def device_word(text: str) -> str:
    """The plain word for one of ``--device`` and ``--gpus``, see :func:`medcli.training.devices.plain_device`."""
    from medcli.training.devices import plain_device

    return plain_device(text)


Device = Annotated[
    str,
    typer.Option(
        "--device",
        "--gpus",
        help="auto (a GPU if available), cpu, mps, cuda, cuda:1, or how many GPUs: 0 is the CPU.",
        envvar="MEDCLI_DEVICE",
        metavar="DEVICE|N",
        parser=device_word,
    ),
]
Engine = Annotated[
    Literal["auto", "torch", "onnx"],
    typer.Option(
        help="What computes the network. onnx: ONNX Runtime on the CPU, exported once; auto: onnx where possible.",
        envvar="MEDCLI_ENGINE",
    ),
]
Tta = Annotated[
    bool,
    typer.Option(help="Average the probabilities of a frame and of its mirror image; takes twice the time."),
]
Seed = Annotated[int, typer.Option(min=0, help="Seed of every random draw.", envvar="MEDCLI_SEED")]
Overwrite = Annotated[bool, typer.Option(help="Replace existing results.")]
DryRun = Annotated[bool, typer.Option(help="Report what would be done; write nothing.")]
OUTPUT = {
    "json": typer.Option("--json", help="Print the result as one JSON object on stdout."),
    "quiet": typer.Option("--quiet", "-q", help="No progress and no warnings.", envvar="MEDCLI_QUIET"),
    "verbose": typer.Option("--verbose", "-v", help="Also print debug messages.", envvar="MEDCLI_VERBOSE"),
}


def _take_settings(ctx: typer.Context, file: Path | None) -> Path | None:
    if not ctx.resilient_parsing and hasattr(ctx.command, "take_settings"):
        ctx.command.take_settings(ctx, file, _given.get() is not None)
    return file


CONFIG = typer.Option(
    "--config",
    metavar="FILE",
    is_eager=True,  # before the options that it gives values to
    callback=_take_settings,
    help="Settings, TOML: names of options in a table such as [train.seg].  [default: medcli.toml, if it exists]",
)


PoseFrame = Annotated[
    Literal["world", "fs", "source-bs"],
    typer.Option(help="Coordinate frame of the poses; world is that of plane bs."),
]
MatchedPlanes = Annotated[
    Literal["both", "bs", "fs"],
    typer.Option(help="Planes to match; in one, the depth is much less certain, as its errors say."),
]


InterPlane = Annotated[Path | None, typer.Option(help="Geometry of the planes, JSON.  [default: published]")]
SourceCalibration = Annotated[
    Path | None,
    typer.Option(help="Source-intensifier calibrations, CSV or database.  [default: those below ROOT]"),
]
Implants = Annotated[Path | None, typer.Option(help="Folder of ana_NNNNNN.stl.  [default: the one below ROOT]")]
AnyPoses = Annotated[
    Path | None, typer.Option(help="Any table of poses, CSV or database.  [default: the dataset's own]")
]
TrialNames = Annotated[
    list[str] | None,
    typer.Option(metavar="NAME", help="Only these trials: 3 7 or 2-5; named by measurement_id or trial column."),
]
Calibrated = Annotated[
    Path | None,
    typer.Option(help="Folder of calibrated images.  [default: ROOT/calibrated, else calibrated on the fly]"),
]
Specimens = Annotated[list[int] | None, typer.Option(help="Only these specimens: 2 7 8 or 2-5.", metavar="N")]
Records = Annotated[
    list[int] | None,
    typer.Option(help="Only these records of each specimen: 1 2 or 1-3.", metavar="N"),
]
Meshes = Annotated[
    Path | None,
    typer.Option(help="Folder of STL meshes.  [default: CT_bone_segmentations of each specimen]"),
]
ProbeChoice = Annotated[
    str | None,
    typer.Option(
        metavar="FILE|PRESET",
        help="Calibration of the probe: a probe.json, ultrabones100k or ultrabones-hip.  [default: each record's own]",
    ),
]
Merged = Annotated[bool, typer.Option(help="Use the merged mesh of all bones.")]
PoseChoice = Literal["initial", "optimized"]
KnownPoses = Annotated[
    PoseChoice | None,
    typer.Option(help="As tracked, or optimised.  [default: optimised where the tracking table has them]"),
]
PosesOfMasks = Annotated[
    PoseChoice | None, typer.Option(help="As tracked, or optimised.  [default: those the masks were made from]")
]
MaskFolder = Annotated[str, typer.Option(help="Folder of masks: Labels, Labels_full or Labels_pred.", metavar="NAME")]
PoseTable = Annotated[Path | None, typer.Option(help="Pose table, CSV or database.  [default: the one below ROOT]")]
DistortionTable = Annotated[
    Path | None,
    typer.Option(help="Distortion calibrations, CSV or database.  [default: the one below ROOT]"),
]
SegCheckpoint = Annotated[
    Path | None, typer.Option(help="Trained network.  [default: newest runs/seg/*/best.safetensors]")
]
PoseCheckpoint = Annotated[
    Path | None, typer.Option(help="Trained network.  [default: newest runs/pose/*/best.safetensors]")
]
TrainedOn = Annotated[
    list[int] | None,
    typer.Option(help="Specimens trained on.  [default: those stored in the checkpoint]", metavar="N"),
]
Threshold = Annotated[
    float | None,
    typer.Option(help="Probability, 0 to 1, above which is bone.  [default: the network's, 0.5]"),
]
Arch = Annotated[str, typer.Option(help="Architecture of segmentation_models_pytorch.")]
Encoder = Annotated[str, typer.Option(help="Encoder of the architecture; tu-NAME for any of timm.")]
PretrainedWeights = Annotated[
    str, typer.Option(help="imagenet (downloaded once), none, or a local file.", metavar="NAME|FILE")
]
Nodes = Annotated[int, typer.Option(min=1, help="Number of machines, started by SLURM or torchrun.")]
Precision = Annotated[
    Literal["auto", "32", "bf16"],
    typer.Option(help="auto: bf16 on a GPU that supports it, otherwise 32."),
]
Compile = Annotated[
    Literal["auto", "on", "off"],
    typer.Option(
        "--compile",
        help="auto: record the steps on a GPU as a CUDA graph; on: compile the network as well; off: neither.",
    ),
]
Resume = Annotated[
    str,
    typer.Option(help="auto: resume the run in --out; or a last.ckpt file.", metavar="auto|FILE"),
]


EarlyStop = Annotated[
    int | None,
    typer.Option(min=1, metavar="N", help="End after N epochs without a better --monitor.  [default: off]"),
]


Loggers = Annotated[
    list[Literal["csv", "tensorboard", "wandb", "mlflow"]] | None,
    typer.Option("--logger", help="metrics.csv is always written.  [default: csv]"),
]


def refuse_both_sources(checkpoint: Path | None, predictions: object) -> None:
    """An evaluation is of a network or of stored predictions.

    Raises:
        UsageError: both are given.
    """
    if checkpoint is not None and predictions is not None:
        raise UsageError("--checkpoint and --predictions exclude each other")


def choice(table: Mapping[str, Any], *more: str) -> Any:
    """An option whose choices are the names in a table of the library; each entry describes itself."""

    def parse(text: str) -> str:
        names = (*table, *more)
        if text not in names:
            raise typer.BadParameter(f"'{text}' is not one of {', '.join(names)}")
        return text

    words = "; ".join(f"{name}: {entry.about}" for name, entry in table.items())
    return typer.Option(parser=parse, metavar="|".join((*table, *more)), help=f"{words}.")


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

    def __str__(self) -> str:
        return f"{self.first}" if self.last == self.first else f"{self.first}-{self.last}"


Ids = Annotated[
    list[IdRange] | None,
    typer.Option(parser=IdRange.parse, metavar="IDS", help="Only these ids: 7 9, 1-1000 or 1-5,9."),
]


def id_filter(ids: list[IdRange] | None) -> list[tuple[int, int]] | None:
    """The ranges as plain (first, last) pairs for library functions; None means all."""
    return [(span.first, span.last) for span in ids] if ids else None


def settings_from(kind: type[Settings], options: Mapping[str, Any], **others: Any) -> Settings:
    """The settings of a library function, a dataclass, with the values of the options that have its fields' names.

    Args:
        options: by parameter, ``locals()`` of a command; those that were not given (None) leave the field's default.
        others: fields that are not an option as it is.
    """
    given = {name: value for name, value in options.items() if value is not None}
    chosen = {one.name: given[one.name] for one in fields(kind) if one.name in given}  # type: ignore[arg-type]
    return kind(
        **{name: tuple(value) if isinstance(value, list) else value for name, value in (chosen | others).items()}
    )


def with_output(command: Callable[..., None]) -> Callable[..., None]:
    """``command`` with the options of every command in place of its parameter ``output``, which is made from them."""
    signature = inspect.signature(command, eval_str=True)  # get_type_hints hides annotations in Optional on Python 3.10
    if "output" not in signature.parameters:
        return command
    given = [param for param in signature.parameters.values() if param.name != "output"]
    annotations = {param.name: param.annotation for param in given}
    annotations |= {name: Annotated[bool, option] for name, option in OUTPUT.items()}
    annotations["config"] = Annotated[Path | None, CONFIG]
    added = [inspect.Parameter("config", inspect.Parameter.KEYWORD_ONLY, default=None)]
    added += [inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=False) for name in OUTPUT]

    def run(json: bool, quiet: bool, verbose: bool, config: Path | None = None, **values: Any) -> None:
        command(output=_given.get() or Output(json, quiet, verbose), **values)

    run.__name__, run.__doc__, run.__module__ = command.__name__, command.__doc__, command.__module__
    run.__annotations__ = annotations
    params = [param.replace(annotation=_for_typer(param.name, annotations[param.name])) for param in (*given, *added)]
    run.__signature__ = inspect.Signature(params)  # type: ignore[attr-defined]
    return run


def _for_typer(name: str, annotation: Any) -> Any:
    """An option as Typer reads it.

    To one that is on or off, ``--NAME``, it would add ``--no-NAME``; of several choices it knows no ``Literal``, and
    :mod:`medcli.cli.shared.option_values` checks them.
    """
    if get_origin(annotation) is not Annotated:
        return annotation
    kind, option = get_args(annotation)[:2]
    if kind is bool and option.default is ...:  # in an annotation, the first of its names
        option = copy(option)
        option.param_decls = (f"--{name.replace('_', '-')}",)
    values = OptionKind.of(annotation)
    return Annotated[list[str] | None if values.several and get_origin(values.element) is Literal else kind, option]


_given: ContextVar[Output | None] = ContextVar("medcli_output", default=None)


@contextmanager
def printed_by(output: Output) -> Iterator[None]:
    """Commands that run in the block answer to ``output``, whatever they print."""
    token = _given.set(output)
    try:
        yield
    finally:
        _given.reset(token)
