"""The root of the command line: wires the verbs, and is the one place that catches errors."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from typing import Annotated, Any

import typer

from medcli import __version__
from medcli.cli import (
    calibrate,
    check,
    checkpoint,
    demo,
    download,
    evaluate,
    export,
    info,
    label,
    predict,
    reconstruct,
    register,
    report,
    train,
)
from medcli.cli.shared.guarded_streams import guarded_streams
from medcli.cli.shared.multi_value_options import App
from medcli.cli.shared.output import say
from medcli.core.errors import MedcliError, system_failure
from medcli.core.run_provenance import command_line
from medcli.core.secrets import hide_values_in, hide_variables, redact
from medcli.core.shell import spell

INTERRUPTED = 130

app = App(
    name="medcli",
    help="Commands for two open orthopaedic imaging datasets: UltraBones100k (bone surfaces in ultrasound) "
    "and Veriserum (knee implants in dual-plane fluoroscopy).",
    epilog="Research software; not a medical device.",
)
# In the order in which a study uses them.
app.add_typer(download.app, name="download")
app.add_typer(check.app, name="check")
app.add_typer(calibrate.app, name="calibrate")
app.add_typer(label.app, name="label")
app.add_typer(train.app, name="train")
app.add_typer(evaluate.app, name="evaluate")
app.add_typer(predict.app, name="predict")
app.add_typer(reconstruct.app, name="reconstruct")
app.add_typer(register.app, name="register")
app.add_typer(export.app, name="export")
app.add_typer(checkpoint.app, name="checkpoint")
app.command("report")(report.report)
app.command("demo")(demo.demo)
app.command("info")(info.info)


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
    _stop_on_terminate()
    typed = sys.argv[1:] if words is None else words
    hide_variables(os.environ)
    hide_values_in(typed)
    with guarded_streams():
        _run(typed)


def _run(words: list[str]) -> None:
    try:
        with command_line(spell("medcli", *map(redact, words))):
            app(args=words, prog_name="medcli")
    except MedcliError as error:
        sys.exit(_say_error(error))
    except OSError as error:  # a full disk, a read-only one, a missing right: wherever it was met
        failure = system_failure(error)
        if failure is None:
            raise
        sys.exit(_say_error(failure))
    except KeyboardInterrupt:
        sys.exit(_say_interrupted())
    except SystemExit as leaving:
        if leaving.code == INTERRUPTED:
            _say_interrupted()
        raise


def _say_error(error: MedcliError) -> int:
    for problem in error.problems:
        say("error: ", problem.message)
        if problem.hint:
            say("       ", problem.hint)
    return error.exit_code


def _say_interrupted() -> int:
    print("interrupted; run the same command again to resume", file=sys.stderr)
    return INTERRUPTED


def _stop_on_terminate() -> None:
    """Treat a cluster's time limit (SIGTERM) and a closed terminal (SIGHUP) like Ctrl-C: clean up and exit."""

    def interrupt(number: int, frame: Any) -> None:
        raise KeyboardInterrupt

    with contextlib.suppress(ValueError):  # not in the main thread
        for name in ("SIGTERM", "SIGHUP"):
            if hasattr(signal, name):  # Windows has no SIGHUP
                signal.signal(getattr(signal, name), interrupt)
