"""``medcli --help`` against the help of a bare Typer app with two commands: at most 1.6 times its time.

Run it from the repository with ``python tests/benchmarks/bench_help.py``; it leaves with 1 if the bound is missed.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]
ROUNDS = 15
BOUND = 1.6
BARE = """
import typer
app = typer.Typer()
@app.command()
def one(): ...
@app.command()
def two(): ...
app(["--help"])
"""


def seconds(*words: str) -> float:
    started = time.perf_counter()
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY)}
    subprocess.run([sys.executable, *words], env=environment, check=True, capture_output=True)
    return time.perf_counter() - started


def main() -> int:
    worst = 0.0
    for words in (["--help"], ["calibrate", "veriserum", "--help"]):
        seconds("-m", "medcli", *words)
        pairs = [(seconds("-m", "medcli", *words), seconds("-c", BARE)) for _ in range(ROUNDS)]
        ratio = statistics.median(ours / bare for ours, bare in pairs)
        ours, bare = (statistics.median(column) for column in zip(*pairs, strict=True))
        print(f"medcli {' '.join(words)}: {ours:.3f} s, bare Typer app {bare:.3f} s, ratio {ratio:.2f} (bound {BOUND})")
        worst = max(worst, ratio)
    return 0 if worst <= BOUND else 1


if __name__ == "__main__":
    sys.exit(main())
