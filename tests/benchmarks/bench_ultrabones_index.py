"""Seconds to index 100,000 frames with labels (empty files), beside merely listing the same folders."""

from __future__ import annotations

import os
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from medcli.ultrabones.dataset.frame_index import index_frames

RECORDS, FRAMES = 200, 500
MOST_TIMES_LISTING = 25.0
MOST_SECONDS = 10.0


def lay_out(root: Path) -> None:
    for number in range(RECORDS):
        record = root / f"specimen{1 + number // 15:02d}/ultrasound_records/tibia/record{1 + number % 15:02d}"
        for folder, ending in (("UltrasoundImages", ".png"), ("Labels", "_label.png"), ("Labels_full", "_label.png")):
            (record / folder).mkdir(parents=True)
            for timestamp in range(FRAMES):
                os.close(os.open(record / folder / f"{160000 + 50 * timestamp}{ending}", os.O_CREAT | os.O_WRONLY))
        rows = "\n".join(f"{160000 + 50 * timestamp},0.05392,1,2,3,4,5,6" for timestamp in range(FRAMES))
        (record / "tracking.csv").write_text(f"timestamp,space_factor,x,y,z,euler_x,euler_y,euler_z\n{rows}\n")


def main() -> int:
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        lay_out(root)
        started = time.perf_counter()
        listed = sum(len(names) for _, _, names in os.walk(root))
        listing_s = time.perf_counter() - started
        started = time.perf_counter()
        frames = index_frames(root)
        index_s = time.perf_counter() - started
    print(f"listing {listed:,} names: {listing_s:.2f} s; index of {len(frames):,} frames: {index_s:.2f} s")
    print(f"index takes {index_s / listing_s:.1f} times a bare listing (promised at most {MOST_TIMES_LISTING:.0f})")
    return int(index_s > MOST_TIMES_LISTING * listing_s or index_s > MOST_SECONDS)


if __name__ == "__main__":
    raise SystemExit(main())
