"""``medcli info``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from medcli.cli.shared import options
from medcli.cli.shared.multi_value_options import App
from medcli.cli.shared.output import Output

app = App()


@app.command("info")
def info(
    output: Output,
    ultrabones_root: options.UltrabonesRoot = options.ULTRABONES_ROOT,
    veriserum_root: options.VeriserumRoot = options.VERISERUM_ROOT,
    weights_root: Annotated[
        Path, typer.Option(help="Folder of published weights.", envvar="MEDCLI_WEIGHTS_ROOT")
    ] = options.WEIGHTS_ROOT,
    ultrabones_hip_root: Annotated[
        Path, typer.Option(help="Folder of UltraBonesHip.", envvar="MEDCLI_ULTRABONES_HIP_ROOT")
    ] = options.ULTRABONES_HIP_ROOT,
    runs: Annotated[Path, typer.Option(help="Folder of runs: trainings, evaluations.")] = options.RUNS,
) -> None:
    """List data, checkpoints and runs, and the next command.

    Versions, devices, data, checkpoints and runs: what is missing or damaged, how far a training came, and the command
    that goes on with it.

    \b
    Beside the usual folders:
      medcli info --runs other/runs --ultrabones-root /data/ultrabones
    """
    from medcli.workspace.inventory import take_inventory

    inventory = take_inventory(ultrabones_root, veriserum_root, runs, weights_root, ultrabones_hip_root)
    output.finish(inventory, lambda found: output.line(found.as_text()))
