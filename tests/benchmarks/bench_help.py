"""Help against that of a bare Typer app with two commands: at most 1.3 times its processor time, on a terminal as well.

On a terminal both draw panels, in a pipe only Typer does. And refusals against ``medcli --help`` in a pipe: what is
missing is said within 1.5 times its processor time, both warm.

Run it from the repository with ``python tests/benchmarks/bench_help.py``; it exits with status 1 if a bound is missed.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

try:
    import resource
except ImportError:
    resource = None  # type: ignore[assignment]

REPOSITORY = Path(__file__).parents[2]
ROUNDS = 15
BOUND = 1.3
HELP = ("--help", "train seg --help", "evaluate --help")
REFUSAL_ROUNDS = 7
REFUSAL_BOUND = 1.5
BARE = """
import typer
app = typer.Typer()
@app.command()
def one(): ...
@app.command()
def two(): ...
app(["--help"])
"""
REFUSALS = (
    "train seg --gpus 99",
    "train pose --gpus 99",
    "evaluate --specimens 2 7 8",
    "evaluate pose",
    "evaluate --dry-run",
    "evaluate pose --dry-run",
    "predict seg scans",
    "predict pose --device cuda:99",
    "calibrate veriserum",
    "calibrate points none.csv --out a.csv",
    "calibrate fit bs=none.png fs=none.png --out a.csv",
    "label ultrabones",
    "reconstruct ultrabones",
    "register pose",
    "export seg",
    "checkpoint show none.pth",
    "checkpoint convert none.pth a.safetensors",
    "report none",
    "download ultrabones --connection-string-file none.txt",
    "download veriserum",
    "info",
)
"""Commands in an empty folder: each says what is missing, and ``info`` that there is nothing."""


def processor_seconds(words: list[str], folder: str, is_terminal: bool = False) -> float:
    """Of ``python WORDS``, warm: compiled before."""
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY), "TERM": "xterm-256color", "COLUMNS": "100"}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    before = _of_children()
    (_run_on_a_terminal if is_terminal else _run)([sys.executable, *words], folder, environment)
    return _of_children() - before


def _of_children() -> float:
    if resource is None:  # Windows
        times = os.times()
        return times.children_user + times.children_system
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def _run(words: list[str], folder: str, environment: dict[str, str]) -> None:
    subprocess.run(words, cwd=folder, env=environment, check=False, capture_output=True)


def _run_on_a_terminal(words: list[str], folder: str, environment: dict[str, str]) -> None:
    ours, theirs = os.openpty()
    with subprocess.Popen(words, cwd=folder, env=environment, stdout=theirs, stderr=theirs) as process:
        os.close(theirs)
        with contextlib.suppress(OSError):  # the other end is closed
            while os.read(ours, 1 << 16):
                pass
    os.close(ours)
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, words)


def medcli_seconds(words: str, folder: str, is_terminal: bool = False) -> float:
    return processor_seconds(["-m", "medcli", *words.split()], folder, is_terminal)


def median_ratio(ours: Callable[[], float], other: Callable[[], float], rounds: int) -> tuple[float, float, float]:
    """Median ratio of measurements taken in turn, and both medians."""
    ours()
    pairs = [(ours(), other()) for _ in range(rounds)]
    medians = (statistics.median(column) for column in zip(*pairs, strict=True))
    return statistics.median(one / two for one, two in pairs), *medians  # type: ignore[return-value]


def main() -> int:
    worst = 0.0
    with tempfile.TemporaryDirectory() as folder:
        places = (False, True) if hasattr(os, "openpty") else (False,)
        for words, is_terminal in itertools.product(HELP, places):
            ratio, ours, bare = median_ratio(
                lambda w=words, t=is_terminal: medcli_seconds(w, folder, t),  # type: ignore[misc]
                lambda t=is_terminal: processor_seconds(["-c", BARE], folder, t),  # type: ignore[misc]
                ROUNDS,
            )
            place = "on a terminal" if is_terminal else "in a pipe"
            print(
                f"medcli {words} {place}: {ours:.3f} s, bare Typer app {bare:.3f} s, ratio {ratio:.2f} (bound {BOUND})"
            )
            worst = max(worst, ratio / BOUND)
        for command in REFUSALS:
            ratio, ours, plain = median_ratio(
                lambda c=command: medcli_seconds(c, folder),  # type: ignore[misc]
                lambda: medcli_seconds("--help", folder),
                REFUSAL_ROUNDS,
            )
            print(f"medcli {command}: {ours:.2f} s, --help {plain:.2f} s, ratio {ratio:.2f} (bound {REFUSAL_BOUND})")
            worst = max(worst, ratio / REFUSAL_BOUND)
    return 0 if worst <= 1 else 1


if __name__ == "__main__":
    sys.exit(main())
