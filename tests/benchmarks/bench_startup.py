"""What a user waits for before anything is computed: short commands against ``import torch``, in processor time.

Run: ``python tests/benchmarks/bench_startup.py [--rounds 5] [--imports 8]``

One image predicted by torch, by a checkpoint whose graph is in the cache, and by a graph that was exported; a record
evaluated by the cached graph; stored masks of it evaluated with and without figures. Each is a process of its own, in
turn with ``import torch`` (medians). Then, by ``python -X importtime``, what each command imports: the packages that
take longest, each with all that it is the first to import. Exits with 1 if a command takes more than its bound.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.benchmarks.bench_help import REPOSITORY, medcli_seconds, median_ratio, processor_seconds

BOUND_S = 4.0
"""Processor time of one prediction by a graph and of an evaluation of stored masks."""
_LINE = re.compile(r"import time:\s+(\d+) \|\s+(\d+) \| ( *)(\S+)")


class Command(NamedTuple):
    """What is typed, and its bound in seconds; None for those that are shown only."""

    words: str
    bound_s: float | None = None


def make_inputs(place: Path) -> dict[str, Command]:
    """Commands by what they are; their files lie in ``place``."""
    import shutil

    import torch

    from medcli.synthetic.ultrasound.dataset import SweepSettings, make_ultrabones
    from medcli.ultrabones.segmentation.checkpoint import save_checkpoint
    from medcli.ultrabones.segmentation.checkpoint_metadata import Metadata
    from medcli.ultrabones.segmentation.network import build_model
    from medcli.ultrabones.segmentation.onnx_graph.engine import find_graph

    torch.manual_seed(0)
    checkpoint = save_checkpoint(place / "network.safetensors", build_model(), Metadata())
    started = time.process_time()
    graph = find_graph(checkpoint, "onnx")
    print(f"export of the graph, once: {time.process_time() - started:.1f} s")
    assert graph is not None, "the network is exported"
    shutil.copy(graph, place / "network.onnx")
    root = make_ultrabones(place / "bones", (2,), settings=SweepSettings(frames=4, predictions=True))
    shutil.copy(next(path for path in root.rglob("*.png") if "abel" not in str(path)), place / "image.png")
    predict = "predict seg image.png --device cpu --overwrite --out masks --checkpoint"
    evaluate = "evaluate --root bones --specimens 2 --device cpu --out scores"
    return {
        "one image, torch": Command(f"{predict} network.safetensors --engine torch"),
        "one image, cached graph": Command(f"{predict} network.safetensors", BOUND_S),
        "one image, exported graph": Command(f"{predict} network.onnx", BOUND_S),
        "four frames evaluated, cached graph": Command(f"{evaluate} --checkpoint network.safetensors --no-figures"),
        "stored masks, with figures": Command(f"{evaluate} --predictions Labels_pred", BOUND_S),
        "stored masks, no figures": Command(f"{evaluate} --predictions Labels_pred --no-figures", BOUND_S),
    }


def slowest_imports(words: str, folder: str, count: int) -> dict[str, float]:
    """Seconds of the packages that a command imports, each with those that it is the first to import."""
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY)}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    command = [sys.executable, "-X", "importtime", "-m", "medcli", *words.split()]
    text = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False).stderr
    seconds: dict[str, float] = {}
    for _, total, _, name in _LINE.findall(text):
        if "." not in name:
            seconds[name] = max(seconds.get(name, 0.0), int(total) / 1e6)
    ours = {"medcli", "runpy"}
    slowest = sorted(((name, one) for name, one in seconds.items() if name not in ours), key=lambda pair: -pair[1])
    return dict(slowest[:count])


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--imports", type=int, default=8)
    options, worst = parser.parse_args(), 0.0
    with tempfile.TemporaryDirectory() as folder:
        os.environ["MEDCLI_CACHE_DIR"] = str(Path(folder, "cache"))
        commands = make_inputs(Path(folder))
        for name, (words, bound_s) in commands.items():
            ratio, ours, bare = median_ratio(
                lambda w=words: medcli_seconds(w, folder),  # type: ignore[misc]
                lambda: processor_seconds(["-c", "import torch"], folder),
                options.rounds,
            )
            bound = f" (bound {bound_s:.1f} s)" if bound_s else ""
            print(f"{name:36}{ours:6.2f} s, import torch {bare:.2f} s, ratio {ratio:.2f}{bound}", flush=True)
            worst = max(worst, ours / bound_s if bound_s else 0.0)
        print("\nslowest imports, seconds on the clock")
        for name, (words, _) in commands.items():
            found = slowest_imports(words, folder, options.imports)
            print(f"{name:36}" + ", ".join(f"{package} {seconds:.2f}" for package, seconds in found.items()))
    return 0 if worst <= 1 else 1


if __name__ == "__main__":
    sys.exit(main())
