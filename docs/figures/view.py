"""Makes the figures of ``medcli view``: rerun's web viewer in headless Chromium, drawn without a graphics card.

    python docs/figures/view.py

It needs the development packages (``pip install -e '.[dev]'``) and an installed Chromium.
"""

from __future__ import annotations

import re
import shutil
import sys
import tempfile
import threading
import time
from contextlib import suppress
from pathlib import Path

import cv2
import numpy as np
import psutil
from playwright.sync_api import Page, sync_playwright

sys.path.insert(0, str(Path(__file__).parents[2]))

from medcli.core.errors import MedcliError
from medcli.core.image_io import write_image
from medcli.synthetic.fluoroscopy.dataset import make_veriserum
from medcli.synthetic.ultrasound.dataset import SweepSettings, make_ultrabones
from medcli.viewing import viewer
from medcli.viewing.targets import find_target
from medcli.viewing.view import save_view

IMAGES = Path(__file__).parents[1] / "images"
WIDTH, HEIGHT, TOP = 1280, 800, 36  # the bar at the top is not shown
SECONDS_TO_DRAW = 60
SOFTWARE = ("--no-sandbox", "--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader")


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        make_ultrabones(root / "bones", (2,), settings=SweepSettings(frames=60, predictions=True, drift_mm=1.0))
        make_veriserum(root / "knees", 24, frames_per_trial=24, both_poses=True, obsolete_every=0)
        for word, name in ((str(root / "bones"), "view-ultrasound"), ("trial:1", "view-xray")):
            file = root / f"{name}.rrd"
            save_view(find_target(word, root / "knees", root), file)
            shoot(file, IMAGES / f"{name}.jpg")


def shoot(file: Path, target: Path) -> None:
    """Write what the viewer shows of a file."""
    said: list[str] = []

    def serve() -> None:
        with suppress(MedcliError):  # it is terminated
            viewer.show_file(file, True, said.append)

    server = threading.Thread(target=serve)
    server.start()
    while not said:
        time.sleep(0.1)
    time.sleep(5)
    address = re.search(r"http://\S+", said[0])
    assert address is not None
    chromium = next(name for name in ("chromium", "chromium-browser", "google-chrome") if shutil.which(name))
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which(chromium), args=list(SOFTWARE))
        page = browser.new_page(viewport={"width": WIDTH, "height": HEIGHT}, color_scheme="dark")
        page.goto(address[0])
        image = drawn(page)
        browser.close()
    for child in psutil.Process().children():  # the server
        child.terminate()
    server.join()
    write_image(target, image[TOP:], 80)
    print(target, f"{target.stat().st_size / 1000:.0f} kB")


def drawn(page: Page) -> np.ndarray:
    """The page once it had the time to load and to draw, (HEIGHT, WIDTH, 3) RGB."""
    time.sleep(SECONDS_TO_DRAW)
    return cv2.imdecode(np.frombuffer(page.screenshot(timeout=120_000), np.uint8), cv2.IMREAD_COLOR)[..., ::-1]


if __name__ == "__main__":
    main()
