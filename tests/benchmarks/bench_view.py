"""Time and size of ``medcli view --save`` for a record as long as the published ones.

    python tests/benchmarks/bench_view.py            # 1,110 synthetic frames of 950 x 811 pixels, three kinds of masks
    python tests/benchmarks/bench_view.py RECORD     # your own record

The issue's limits are 30 s and 150 MB for a record of 1,110 frames; a longer or larger one ends with status 1. The
synthetic record takes minutes to make; none of that is counted.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from medcli.core.files import usable_cores
from medcli.synthetic.ultrasound.dataset import SweepSettings, make_ultrabones
from medcli.viewing.settings import ViewSettings
from medcli.viewing.targets import find_target
from medcli.viewing.view import save_view

FRAMES, MOST_SECONDS, MOST_MB = 1110, 30.0, 150.0


def main(given: str | None) -> int:
    with tempfile.TemporaryDirectory() as folder:
        if given is None:
            began = time.perf_counter()
            settings = SweepSettings(frames=FRAMES, predictions=True)
            make_ultrabones(Path(folder, "data"), (2,), settings=settings)
            print(f"made the synthetic record in {time.perf_counter() - began:.0f} s")
        record = given or str(Path(folder, "data"))
        target = find_target(record, None, Path(folder))
        file = Path(folder, "view.rrd")
        save_view(target, Path(folder, "first.rrd"), ViewSettings(every=200))  # loads and compiles
        before = time.process_time()
        found = save_view(target, file, ViewSettings())
        processor = time.process_time() - before
    megabytes = found.bytes / 1e6
    print(f"{found.frames:,} frames on {usable_cores()} cores: {found.seconds:.1f} s, {megabytes:.1f} MB")
    print(f"processor time: {processor:.1f} s (on a busy machine the time above says little)")
    print(f"a frame: {1000 * found.seconds / found.frames:.1f} ms, {found.bytes / found.frames / 1000:.0f} kB")
    print("; ".join(f"{name} {count:,}" for name, count in found.contents.items()))
    share = found.frames / FRAMES
    is_within = found.seconds <= MOST_SECONDS * share and megabytes <= MOST_MB * share
    print("within" if is_within else "beyond", f"{MOST_SECONDS * share:.0f} s and {MOST_MB * share:.0f} MB")
    return 0 if is_within else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1] if len(sys.argv) > 1 else None))
