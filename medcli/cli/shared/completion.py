"""What the shell offers for a value: one table for all commands, by the name of the option or argument.

The choices of an option are offered without an entry here. Nothing is imported that takes long: the names of networks
are those that are used most, and other names can be typed as well. Where nothing is offered, the shell offers files.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from importlib import import_module
from pathlib import Path
from typing import Any

from typer.core import CompletionItem  # type: ignore[attr-defined]

_TYPED = "medcli.typed"
"""Where a context keeps the beginning of the word that is completed."""
Values = Callable[[Any], Iterable[str]]


def _specimens(ctx: Any) -> list[str]:
    """Those below ``--root``; the published ones if there are none, or for a download."""
    from medcli.ultrabones.dataset.constants import PUBLISHED_SPECIMENS
    from medcli.ultrabones.dataset.folder_layout import find_records

    here = {record.specimen for record in find_records(root)} if (root := ctx.params.get("root")) else set()
    return [str(number) for number in sorted(here - {-1} or PUBLISHED_SPECIMENS)]


def _records(ctx: Any) -> list[str]:
    from medcli.ultrabones.dataset.folder_layout import find_records

    here = {record.record for record in find_records(root)} if (root := ctx.params.get("root")) else set()
    return [str(number) for number in sorted(here - {0} or {1, 2})]


def _checkpoints(ctx: Any) -> list[str]:
    """The best network of each run of the command's task, newest first, and the published weights."""
    from medcli.training.run_folder import BEST

    task = "pose" if ctx.info_name == "pose" else "seg"
    runs = sorted(Path("runs", task).glob(f"*/{BEST}"), key=lambda path: path.stat().st_mtime, reverse=True)
    published = [] if task == "pose" else sorted(Path("data/weights").glob("**/*.safetensors"))
    return [path.as_posix() for path in (*runs, *published)]


def _resumable(ctx: Any) -> list[str]:
    from medcli.training.run_folder import RESUMABLE

    return ["auto", *(path.as_posix() for path in sorted(Path("runs", ctx.info_name).glob(f"*/{RESUMABLE}")))]


def _runs(ctx: Any) -> list[str]:
    """Runs of any command: by their path, or by its end below ``--runs`` where the command looks a name up there."""
    from medcli.workspace.runs import find_runs

    typed, root = str(ctx.meta.get(_TYPED, "")), ctx.params.get("runs")
    folder = typed.rpartition("/")[0] or ("/" if typed.startswith("/") else "")
    if folder and Path(folder).is_dir():
        below = sorted(run.path.relative_to(folder).as_posix() for run in find_runs(Path(folder)))
        return [f"{folder.rstrip('/')}/{path}" for path in below]
    paths = [run.path for run in find_runs(root or Path("runs"))]
    if root is None:
        return [path.as_posix() for path in (*paths, *(path for path in (Path("demo"),) if path.is_dir()))]
    ends = [path.relative_to(root).as_posix() for path in paths]
    names = [path.name for path in paths if typed]
    return list(dict.fromkeys([*ends, *(name for name in names if names.count(name) == 1)]))


def _roots(ctx: Any) -> list[str]:
    """Data folders at their usual places."""
    default = next((param.default for param in ctx.command.params if "--root" in param.opts), None)
    folders = [default, Path("demo") / Path(default).name] if default else []
    return [folder.as_posix() for folder in folders if folder.is_dir()]


def _devices(ctx: Any) -> list[str]:
    from medcli.training.gpus import count_gpus, has_mps

    numbered = [f"cuda:{number}" for number in range(count_gpus() or 0)]
    return ["auto", "cpu", *(["mps"] if has_mps() else []), *(["cuda", *numbered] if numbered else [])]


def _names_in(module: str, table: str) -> Values:
    """Those of a table in a module of the library, which is imported when they are asked for."""
    return lambda _: getattr(import_module(f"medcli.{module}"), table)


def _probes(_: Any) -> list[str]:
    """The presets, and the calibrations in the working folder."""
    from medcli.ultrabones.dataset.probe import PRESETS

    return [*PRESETS, *(path.name for path in sorted(Path().glob("*probe*.json")))]


VALUES: dict[str, Values] = {
    "--specimens": _specimens,
    "--train-specimens": _specimens,
    "--val-specimens": _specimens,
    "--records": _records,
    "--root": _roots,
    "--checkpoint": _checkpoints,
    "--probe": _probes,
    "--resume": _resumable,
    "--device": _devices,
    "--arch": _names_in("ultrabones.segmentation.settings", "ARCHITECTURES"),
    "--encoder": _names_in("ultrabones.segmentation.settings", "ENCODERS"),
    "--backbone": _names_in("veriserum.pose.settings", "BACKBONES"),
    "--encoder-weights": lambda _: ("imagenet", "none"),
    "--backbone-weights": lambda _: ("imagenet", "none"),
    "--predictions": lambda _: ("Labels_pred",),
    "--mask": lambda _: ("Labels", "Labels_full", "Labels_pred"),
    "RUN": _runs,
    "FILE": _checkpoints,
    "IN": _checkpoints,
}
"""By flag, or by the name that the help gives an argument."""


def offered(param: Any, ctx: Any, incomplete: str) -> list[CompletionItem]:
    """The values of an option or argument that begin with what is typed and were not given yet."""
    name = param.metavar if param.param_type_name == "argument" else param.opts[0]
    named = [word for word in (param.metavar or "").partition(" ")[0].split("|") if word.islower()]  # auto of auto|FILE
    given = ctx.params.get(param.name) if param.multiple else None
    known = {str(getattr(value, "value", value)) for value in given or ()}
    ctx.meta[_TYPED] = incomplete
    values = param.choices or (VALUES[name](ctx) if name in VALUES else named)
    return [CompletionItem(value) for value in values if value.startswith(incomplete) and value not in known]
