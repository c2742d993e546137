"""``medcli --help`` against the help of a bare Typer app with two commands: at most 1.6 times its time.

And refusals against ``medcli --help``: what is missing is said within 1.5 times its processor time, both warm.

Run it from the repository with ``python tests/benchmarks/bench_help.py``; it exits with status 1 if a bound is missed.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]
ROUNDS = 15
BOUND = 1.6
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


def seconds(*words: str) -> float:
    started = time.perf_counter()
    _run(words, REPOSITORY).check_returncode()
    return time.perf_counter() - started


def processor_seconds(words: list[str], folder: str) -> float:
    before = os.times()
    _run(["-m", "medcli", *words], Path(folder))
    after = os.times()
    return after.children_user - before.children_user + after.children_system - before.children_system


def _run(words: list[str] | tuple[str, ...], folder: Path) -> subprocess.CompletedProcess[bytes]:
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY)}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)  # warm: compiled once
    return subprocess.run([sys.executable, *words], cwd=folder, env=environment, check=False, capture_output=True)


def median_ratio(ours: Callable[[], float], other: Callable[[], float], rounds: int) -> tuple[float, float, float]:
    """Median ratio of measurements taken in turn, and both medians."""
    ours()
    pairs = [(ours(), other()) for _ in range(rounds)]
    medians = (statistics.median(column) for column in zip(*pairs, strict=True))
    return statistics.median(one / two for one, two in pairs), *medians  # type: ignore[return-value]


def main() -> int:
    worst = 0.0
    for words in (["--help"], ["calibrate", "veriserum", "--help"]):
        ratio, ours, bare = median_ratio(
            lambda w=words: seconds("-m", "medcli", *w), lambda: seconds("-c", BARE), ROUNDS
        )  # type: ignore[misc]
        print(f"medcli {' '.join(words)}: {ours:.3f} s, bare Typer app {bare:.3f} s, ratio {ratio:.2f} (bound {BOUND})")
        worst = max(worst, ratio / BOUND)
    with tempfile.TemporaryDirectory() as folder:
        for command in REFUSALS:
            ratio, ours, plain = median_ratio(
                lambda c=command: processor_seconds(c.split(), folder),  # type: ignore[misc]
                lambda: processor_seconds(["--help"], folder),
                REFUSAL_ROUNDS,
            )
            print(f"medcli {command}: {ours:.2f} s, --help {plain:.2f} s, ratio {ratio:.2f} (bound {REFUSAL_BOUND})")
            worst = max(worst, ratio / REFUSAL_BOUND)
    return 0 if worst <= 1 else 1


if __name__ == "__main__":
    sys.exit(main())
