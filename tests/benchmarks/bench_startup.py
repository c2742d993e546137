"""What a user waits for before anything is computed: short commands against ``import torch``, in processor time.

Run: ``python tests/benchmarks/bench_startup.py [--rounds 5]``

One image predicted by a checkpoint of the published network and by the graph that was exported from it, and stored
masks of one record evaluated (half of which is matplotlib); each a process of its own, in turn with ``import torch``
(median ratios). The graph must cost less than 1.5 times ``import torch``; exits with 1 if it does not.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.benchmarks.bench_help import medcli_seconds, median_ratio, processor_seconds

BOUND = 1.5


def make_inputs(place: Path) -> dict[str, tuple[str, bool]]:
    """Commands by what they are, and whether they are bound."""
    import shutil

    import torch

    from medcli.synthetic.ultrasound.dataset import SweepSettings, make_ultrabones
    from medcli.ultrabones.segmentation.checkpoint import save_checkpoint
    from medcli.ultrabones.segmentation.checkpoint_metadata import Metadata
    from medcli.ultrabones.segmentation.network import build_model
    from medcli.ultrabones.segmentation.onnx_graph.export import export_seg

    torch.manual_seed(0)
    checkpoint = save_checkpoint(place / "network.safetensors", build_model(), Metadata())
    export_seg(checkpoint, place / "network.onnx")
    root = make_ultrabones(place / "bones", (2,), settings=SweepSettings(frames=4, predictions=True))
    shutil.copy(next(path for path in root.rglob("*.png") if "abel" not in str(path)), place / "image.png")
    predict = "predict seg image.png --device cpu --overwrite --out masks --checkpoint"
    return {
        "one image by a checkpoint": (f"{predict} network.safetensors", False),
        "one image by an exported graph": (f"{predict} network.onnx", True),
        "stored masks evaluated": ("evaluate --root bones --specimens 2 --predictions Labels_pred --out scores", False),
    }


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=5)
    rounds, worst = parser.parse_args().rounds, 0.0
    with tempfile.TemporaryDirectory() as folder:
        for name, (words, is_bound) in make_inputs(Path(folder)).items():
            ratio, ours, bare = median_ratio(
                lambda w=words: medcli_seconds(w, folder),  # type: ignore[misc]
                lambda: processor_seconds(["-c", "import torch"], folder),
                rounds,
            )
            bound = f" (bound {BOUND})" if is_bound else ""
            print(f"{name:32}{ours:6.2f} s, import torch {bare:.2f} s, ratio {ratio:.2f}{bound}")
            worst = max(worst, ratio / BOUND if is_bound else 0.0)
    return 0 if worst <= 1 else 1


if __name__ == "__main__":
    sys.exit(main())
