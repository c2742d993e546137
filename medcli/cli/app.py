"""The root of the command line: wires the verbs, and is the one place that catches errors."""

from __future__ import annotations

import os
import sys
from typing import Annotated

import typer

from medcli import __version__
from medcli.cli.shared.guarded_streams import guarded_streams
from medcli.cli.shared.interrupts import INTERRUPTED, Interrupts
from medcli.cli.shared.multi_value_options import App
from medcli.cli.shared.output import say
from medcli.cli.shared.usage_errors import ParserError, as_usage_error
from medcli.cli.shared.verbs import Verb, VerbGroup
from medcli.core.errors import MedcliError, system_failure
from medcli.core.run_provenance import command_line
from medcli.core.secrets import hide_option_values, hide_values_in, hide_variables, redact
from medcli.core.shell import spell
from medcli.training.processes.early_signal import EarlySignal


class Root(VerbGroup):
    """``medcli``."""

    verbs = (
        Verb("demo", "Start", "See every command work, without any data."),
        Verb("info", "Start", "List data, checkpoints and runs, and the next command."),
        Verb("download", "Start", "Download data: verified, resumable, only what is missing."),
        Verb("check", "Data", "Check that a data folder is complete and sound."),
        Verb("import", "Data", "Read recordings of PLUS, poses of JTML and Autoscoper.", module="import_files"),
        Verb("label", "Data", "Make labels from meshes: of bones, of implants.", "ultrabones"),
        Verb("calibrate", "Data", "Correct the distortion of X-ray images; calibrate your own devices."),
        Verb("reconstruct", "Ultrasound", "Rebuild bone in 3D, and measure it against the CT.", "ultrabones"),
        Verb("register", "X-ray", "Match implants to X-ray images, reconstructed bone to CT.", "pose"),
        Verb("kinematics", "X-ray", "Compute knee motion from poses of the implants.", "veriserum"),
        Verb("train", "Networks", "Train a network: bone masks (seg, default), poses (pose).", "seg"),
        Verb(
            "evaluate",
            "Networks",
            "Measure predictions: bone masks (seg, default), poses, knee motion, registration.",
            "seg",
        ),
        Verb("benchmark", "Networks", "Check a network against a published result (seg).", "seg"),
        Verb("predict", "Networks", "Apply a network: bone masks (seg, default), poses (pose).", "seg"),
        Verb("runs", "Results", "List, compare and repeat runs.", "list"),
        Verb("convert", "Results", "Write data and poses for other programs: nnU-Net, COCO, PLUS, 3D Slicer, …"),
        Verb("view", "Results", "See a record, pair, trial or run in space and time."),
        Verb("report", "Results", "Write one HTML page that shows a run to others."),
        Verb("export", "Results", "Write trained networks for other runtimes (ONNX).", "seg"),
        Verb("publish", "Results", "Publish a checkpoint with its model card (Hugging Face Hub)."),
        Verb("checkpoint", "Results", "Inspect, convert and create checkpoints."),
    )


app = App(
    name="medcli",
    cls=Root,
    add_completion=True,
    help="Commands for two open orthopaedic imaging datasets: UltraBones100k (bone surfaces in ultrasound) "
    "and Veriserum (knee implants in dual-plane fluoroscopy).",
    epilog="Research software; not a medical device.",
)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"medcli {__version__}")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit."),
    ] = False,
) -> None:
    pass


def main(words: list[str] | None = None) -> None:
    """Run the command line and exit with its status.

    0 done; 1 failed; 2 usage; 3 data missing or corrupt; 4 finished, but some items failed; 130 interrupted.
    """
    # Read when torch is loaded: its threads sleep while they wait, or they take a core that others use from each other.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    interrupts = Interrupts()
    interrupts.receive()
    typed = sys.argv[1:] if words is None else words
    if typed[:1] in (["convert"], ["import"]):
        interrupts.hint = "nothing is left half done: run the same command again, with --overwrite for what is finished"
    elif typed[:1] == ["view"]:
        interrupts.hint = "run the same command again"
    elif typed[:1] == ["train"]:
        EarlySignal().receive()
    hide_variables(os.environ)
    hide_values_in(typed)
    hide_option_values(typed)
    with guarded_streams():
        _run(typed, interrupts)


def _run(words: list[str], interrupts: Interrupts) -> None:
    try:
        with command_line(spell("medcli", *map(redact, words))):
            status = typer.main.get_command(app).main(words, "medcli", standalone_mode=False)
    except ParserError as error:
        sys.exit(_say_error(as_usage_error(error)))
    except typer.Abort:  # a question was not answered
        print("aborted", file=sys.stderr)
        sys.exit(1)
    except MedcliError as error:
        sys.exit(_say_error(error))
    except OSError as error:  # a full disk, a read-only one, a missing right: wherever it was met
        failure = system_failure(error)
        if failure is None:
            raise
        sys.exit(_say_error(failure))
    except KeyboardInterrupt:
        interrupts.end()
    if status == INTERRUPTED:  # as Typer ends Ctrl-C
        interrupts.end()
    sys.exit(status or 0)


def _say_error(error: MedcliError) -> int:
    for problem in error.problems:
        say("error: ", problem.message)
        if problem.hint:
            say("       ", problem.hint)
    return error.exit_code
