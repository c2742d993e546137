"""``medcli info`` on 390,000 files, 300,000 of UltraBones100k: at most 5 s of processor time and 200 MB.

Run it from the repository with ``python tests/benchmarks/bench_info.py [FRAMES]``; it makes a folder of empty files
with the published names below the system's temporary folder, and removes it. Exits with 1 if a bound is missed.
``--show`` prints the answers.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]
FRAMES = 100_000
ROUNDS = 3
MOST_SECONDS, MOST_MB = 5.0, 200.0
RECORDS = [
    (specimen, anatomy, record)
    for specimen in range(1, 15)
    for anatomy in ("fibula", "foot", "tibia")
    for record in (1, 2)
]
COLUMNS = "timestamp,x,y,z,euler_x,euler_y,euler_z,space_factor"
MEASURE = """
import resource, sys
from medcli.cli.app import main
try:
    main(sys.argv[1:])
finally:
    print("peak", resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1024 if sys.platform != "darwin" else 1 << 20))
"""


def make_ultrabones(root: Path, frames: int) -> None:
    """Frames with partial and full labels, each with a row in its record's tracking table."""
    each = frames // len(RECORDS) + 1
    for specimen, anatomy, record in RECORDS:
        folder = root / f"specimen{specimen:02d}" / "ultrasound_records" / anatomy / f"record{record:02d}"
        stamps = [1_600_000_000_000 + 40 * number for number in range(each)]
        for name, ending in (("UltrasoundImages", ""), ("Labels", "_label"), ("Labels_full", "_label")):
            (folder / name).mkdir(parents=True)
            for stamp in stamps:
                os.mknod(folder / name / f"{stamp}{ending}.png")
        rows = "\n".join(f"{stamp},1.5,2.5,3.5,10.25,20.25,30.25,0.05392" for stamp in stamps)
        (folder / "tracking.csv").write_text(f"{COLUMNS}\n{rows}\n")


def make_veriserum(root: Path, pairs: int) -> None:
    """Pairs of images, and the three tables with a row of each pair."""
    (root / "images").mkdir(parents=True)
    for number in range(1, pairs + 1):
        os.mknod(root / "images" / f"bs_{number:06d}.jpg")
        os.mknod(root / "images" / f"fs_{number:06d}.jpg")
    poses = "\n".join(f"{n},{n // 100},1,1,1,0,1.5,2.5,3.5,1,2,3" for n in range(1, pairs + 1))
    head = "id,measurement_id,anatomy_id,distortion_calibration_id,source_int_calibration_id,obsolete,tx,ty,tz,rz,rx,ry"
    (root / "veriserum_pose.csv").write_text(f"{head}\n{poses}\n")
    (root / "distortion_calibration.csv").write_text("id,distortion_result_bs,distortion_result_fs\n1,x,x\n")
    (root / "source_int_calibration.csv").write_text(
        "id,principalp_h_fs,principalp_v_fs,principalp_h_bs,principalp_v_bs,sid_fs,sid_bs\n1,0,0,0,0,1000,1000\n"
    )


def measure(folder: Path) -> tuple[float, float]:
    """Processor time, s, and peak memory, MB."""
    before = os.times()
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY)}
    command = [sys.executable, "-c", MEASURE, "info"]
    done = subprocess.run(command, cwd=folder, env=environment, check=True, capture_output=True, text=True)
    if "--show" in sys.argv:
        print(done.stdout)
    after = os.times()
    seconds = after.children_user - before.children_user + after.children_system - before.children_system
    return seconds, float(done.stdout.split()[-1])


def main() -> int:
    frames = next((int(word) for word in sys.argv[1:] if word.isdecimal()), FRAMES)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        make_ultrabones(folder / "data" / "ultrabones", frames)
        make_veriserum(folder / "data" / "veriserum", frames * 45 // 100)
        found = [measure(folder) for _ in range(ROUNDS)]
    seconds, peak = (statistics.median(column) for column in zip(*found, strict=True))
    print(
        f"medcli info, {frames:,} frames: {seconds:.2f} s (bound {MOST_SECONDS}), {peak:.0f} MB (bound {MOST_MB:.0f})"
    )
    return 0 if seconds <= MOST_SECONDS and peak <= MOST_MB else 1


if __name__ == "__main__":
    sys.exit(main())
