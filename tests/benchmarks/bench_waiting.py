"""How PyTorch's threads wait for each other: asleep, as ``medcli`` asks OpenMP to, or on their core, its default.

Run: ``python tests/benchmarks/bench_waiting.py``, best while other programs use the cores and while none does.

Medians of forward passes and training steps of the published network on two frames, on one thread and on all cores,
each in a process of its own; seconds on the clock and of the processor.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.benchmarks.bench_help import REPOSITORY

PASSES, STEPS = 8, 4
POLICIES = {"asleep": "PASSIVE", "as OpenMP does": ""}


def measured(run: Callable[[], object], rounds: int) -> str:
    """Medians of ``rounds`` calls after a first one."""
    import time

    run()
    times = []
    for _ in range(rounds):
        wall, processor = time.perf_counter(), time.process_time()
        run()
        times.append((time.perf_counter() - wall, time.process_time() - processor))
    wall, processor = (statistics.median(column) for column in zip(*times, strict=True))
    return f"{wall:.2f} s (processor {processor:.2f} s)"


def measure(threads: int) -> None:
    import torch

    from medcli.ultrabones.segmentation.network import build_model

    torch.set_num_threads(threads)
    network = build_model().to(memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(network.parameters())
    images = torch.zeros(2, 1, 256, 256).contiguous(memory_format=torch.channels_last)

    def step() -> None:
        network(images).square().mean().backward()
        optimizer.step()
        optimizer.zero_grad()

    with torch.inference_mode():
        forward = measured(lambda: network.eval()(images), PASSES)
    network.train()
    print(f"forward {forward}, training step {measured(step, STEPS)}", flush=True)


def main() -> None:
    for threads in dict.fromkeys((1, os.cpu_count() or 1)):
        for name, policy in POLICIES.items() if threads > 1 else (("alone", ""),):
            environment = {key: value for key, value in os.environ.items() if key != "OMP_WAIT_POLICY"}
            environment |= {"PYTHONPATH": str(REPOSITORY), **({"OMP_WAIT_POLICY": policy} if policy else {})}
            print(f"{threads} threads, {name}: ", end="", flush=True)
            subprocess.run([sys.executable, __file__, str(threads)], env=environment, check=True)


if __name__ == "__main__":
    measure(int(sys.argv[1])) if len(sys.argv) > 1 else main()
