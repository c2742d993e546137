"""Time to make a synthetic pair of X-ray images, one thread, and what share of it is compressing the JPEG files.

Promise: at most 0.5 s of processor time a pair.

    python tests/benchmarks/bench_synthetic.py
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from medcli.core.image_io import encode, use_single_threaded_codecs
from medcli.synthetic.fluoroscopy.dataset import FluoroscopySettings, Study
from medcli.veriserum.dataset.detector import PLANES

PROMISE_S = 0.5
PAIRS = 6


def main() -> int:
    use_single_threaded_codecs()
    study = Study(FluoroscopySettings(pairs=PAIRS, calibrations=1))
    for plane in PLANES:
        study.native(1, plane)  # compiles, and builds the map of the calibration
    started = time.process_time()
    natives = [study.native(number, plane) for number in study.frames for plane in PLANES]
    made = time.process_time()
    for native in natives:
        encode(native, ".jpg", 90)
    encoded = time.process_time()
    pair_s, codec_s = (encoded - started) / PAIRS, (encoded - made) / PAIRS
    print(f"{pair_s:.3f} s a pair, of which {codec_s:.3f} s JPEG; promised at most {PROMISE_S} s")
    return int(pair_s > PROMISE_S)


if __name__ == "__main__":
    sys.exit(main())
