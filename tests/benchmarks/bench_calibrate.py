"""Speed of ``medcli calibrate veriserum``, as ratios measured side by side in one run.

(a) end to end against decoding + encoding alone, same codec, threads and files: at least 0.85 of its rate;
(b) throughput with 1, 2, … workers up to the usable cores;
(c) seconds an image of the published procedure (its k-d tree twin) and of medcli;
(d) peak memory with 12 workers: below 600 MB;
(e) a second run over 20,000 images that are all there: below 3 s.

Run it from the repository with ``python tests/benchmarks/bench_calibrate.py [--pairs 150]``; it leaves with 1 if a
bound is missed.
"""

from __future__ import annotations

import argparse
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np

REPOSITORY = Path(__file__).parents[2]
sys.path.insert(0, str(REPOSITORY))

from medcli.core import image_io
from medcli.core.files import usable_cores, write_bytes
from medcli.core.threads import run_in_threads
from medcli.veriserum.calibration import output_manifest
from medcli.veriserum.calibration.undistort import CalibrationSettings, calibrate
from tests.support.made_veriserum import make_distortion, smooth_image, write_tables
from tests.support.published_veriserum import correct_pair, mapped_pixels

ROUNDS = 5


def make_folder(root: Path, pairs: int) -> None:
    """Pairs of files with six different images of about the size of real ones."""
    contents = [image_io.encode(smooth_image(seed), ".jpg", 90).tobytes() for seed in range(6)]
    root.mkdir(parents=True)
    for number in range(1, pairs + 1):
        for offset, plane in enumerate(("bs", "fs")):
            (root / f"{plane}_{number:06d}.jpg").write_bytes(contents[(2 * number + offset) % 6])
    write_tables(root, list(range(1, pairs + 1)), {1: make_distortion(1), 2: make_distortion(2)})


def seconds(task: Callable[[], object]) -> float:
    started = time.perf_counter()
    task()
    return time.perf_counter() - started


def codec_alone(root: Path, out: Path, workers: int) -> None:
    """Read, decode, encode a 512 x 512 image of like content, write: what no correction can avoid."""
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir()

    def one_pair(number: int) -> None:
        for plane in ("bs", "fs"):
            path = root / f"{plane}_{number:06d}.jpg"
            decoded = image_io.decode_grey(image_io.read_content(path), path)
            content = image_io.encode(np.ascontiguousarray(decoded[::3, ::3][:512, :512]), ".jpg", 95)
            write_bytes(out / f"{path.stem}.jpg", content, durable=False)

    numbers = sorted(int(path.stem[3:]) for path in root.glob("bs_*.jpg"))
    for _ in run_in_threads(one_pair, numbers, workers):
        pass


def whole(root: Path, out: Path, workers: int) -> float:
    """Calibrate everything into a new folder; seconds of the steady state, from the first image to the last."""
    shutil.rmtree(out, ignore_errors=True)  # as for the codec: replacing a file costs the file system more
    result = calibrate(root, out, workers=workers)
    assert result.failed == 0
    return result.seconds


def against_the_codec(root: Path, work: Path) -> bool:
    image_io.use_single_threaded_codecs()
    workers = usable_cores()
    whole(root, work / "warm-up", workers)
    ratios = []
    for _ in range(ROUNDS):
        alone = seconds(lambda: codec_alone(root, work / "codec", workers))
        corrected = whole(root, work / "out", workers)
        ratios.append(alone / corrected)
    ratio = statistics.median(ratios)
    print(
        f"(a) rate of medcli / rate of the codec alone, {workers} workers: {ratio:.2f} "
        f"({min(ratios):.2f} to {max(ratios):.2f} in {ROUNDS} rounds; bound 0.85)"
    )
    return ratio >= 0.85


def with_more_workers(root: Path, work: Path) -> bool:
    cores = usable_cores()
    counts = sorted({1, *(2**k for k in range(1, 8) if 2**k <= cores), cores})
    times: dict[int, list[float]] = {count: [] for count in counts}
    for _ in range(3):
        for count in counts:
            times[count].append(whole(root, work / "out", count))
    single = statistics.median(times[1])
    for count in counts:
        print(f"(b) {count} workers: {single / statistics.median(times[count]):.2f} times the throughput of one")
    return cores == 1 or single / statistics.median(times[cores]) >= 0.7 * cores


def against_the_published_procedure(root: Path, work: Path) -> bool:
    """One pair by the published steps: a tree is built and asked for every image, as the published code does."""
    from scipy.spatial import cKDTree

    distortion = make_distortion(1)
    path = root / "bs_000001.jpg"

    def published() -> None:
        image = image_io.read_grey(path)
        columns, rows = np.meshgrid(np.arange(1600.0), np.arange(1600.0))
        tree = cKDTree(mapped_pixels(distortion))
        nearest = tree.query(np.stack([columns.ravel(), rows.ravel()], axis=1))[1].reshape(1600, 1600)
        result = correct_pair({"bs": image}, {"bs": nearest})["bs"]
        (work / "published.jpg").write_bytes(cv2.imencode(".jpg", result)[1])

    pairs = len(list(root.glob("bs_*.jpg")))
    slow, fast = [], []
    for _ in range(3):
        slow.append(seconds(published))
        fast.append(whole(root, work / "out", 1) / (2 * pairs))
    a, b = statistics.median(slow), statistics.median(fast)
    print(f"(c) seconds an image on one core: published procedure {a:.2f}, medcli {b:.4f}: {a / b:.0f} times faster")
    return a / b >= 50


def in_a_process(*words: str | Path) -> tuple[float, float]:
    """Seconds and peak memory (MB, from Linux's /proc) of a whole medcli process."""
    code = (
        "import sys\nfrom medcli.cli.app import main\n"
        "try:\n    main(sys.argv[1:])\nexcept SystemExit as leaving:\n    assert not leaving.code, leaving.code\n"
        "status = open('/proc/self/status').read()\n"
        "print(status.split('VmHWM:')[1].split()[0], file=sys.stderr)"
    )
    command = [sys.executable, "-c", code, *map(str, words), "--quiet"]
    started = time.perf_counter()
    ran = subprocess.run(
        command, capture_output=True, text=True, check=True, env=os.environ | {"PYTHONPATH": str(REPOSITORY)}
    )
    return time.perf_counter() - started, int(ran.stderr.split()[-1]) / 1024


def memory(root: Path, work: Path) -> bool:
    _, peak = in_a_process(
        "calibrate", "veriserum", "--root", root, "--out", work / "out", "--workers", "12", "--overwrite"
    )
    print(f"(d) peak memory with 12 workers: {peak:.0f} MB (bound 600)")
    return peak < 600


def second_run(work: Path) -> bool:
    """20,000 images and their results, all there: only names matter, so the files may be empty."""
    root = work / "many"
    (root / "calibrated").mkdir(parents=True)
    for number in range(1, 10_001):
        for plane in ("bs", "fs"):
            (root / f"{plane}_{number:06d}.jpg").touch()
            (root / "calibrated" / f"calibrated_{plane}_{number:06d}.jpg").touch()
    write_tables(root, list(range(1, 10_001)), {1: make_distortion(1), 2: make_distortion(2)})
    output_manifest.write(root / "calibrated", output_manifest.OutputManifest(CalibrationSettings().pixel_options))
    took = [in_a_process("calibrate", "veriserum", "--root", root)[0] for _ in range(ROUNDS)]
    print(f"(e) second run over 20,000 images: {statistics.median(took):.2f} s (bound 3)")
    return statistics.median(took) < 3


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=150)
    pairs = parser.parse_args().pairs
    print(
        f"{platform.processor() or platform.machine()}, {usable_cores()} cores, OpenCV {cv2.__version__}, {pairs} pairs"
    )
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        root = work / "veriserum"
        make_folder(root, pairs)
        held = [
            against_the_codec(root, work),
            with_more_workers(root, work),
            against_the_published_procedure(root, work),
            memory(root, work),
            second_run(work),
        ]
    print("all bounds hold" if all(held) else "A BOUND IS MISSED")
    return 0 if all(held) else 1


if __name__ == "__main__":
    sys.exit(main())
