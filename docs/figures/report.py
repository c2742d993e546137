"""Makes the figure of a report, on a large and on a small screen, with headless Chromium.

    medcli demo && python docs/figures/report.py demo/report.html

It needs the development packages (``pip install -e '.[dev]'``) and an installed Chromium.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import cv2
import numpy as np
from playwright.sync_api import Browser, sync_playwright

from medcli.core.image_io import write_image

TARGET = Path(__file__).parents[1] / "images" / "report.jpg"
HEIGHT = 1000
GAP = 24
UNFOLD = (
    "element => { for (let at = element; at; at = at.parentElement) if (at.tagName === 'DETAILS') at.open = true; }"
)


def main(report: Path) -> None:
    chromium = next(
        found for name in ("chromium", "chromium-browser", "google-chrome") if (found := shutil.which(name))
    )
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
        top = shot(browser, report, 1180, False, "main")
        view = shot(browser, report, 420, True, ".cloud")
        browser.close()
    gap = np.full((HEIGHT, GAP, 3), 255, np.uint8)
    write_image(TARGET, np.concatenate([top, gap, view], axis=1), 82)


def shot(browser: Browser, report: Path, width: int, dark: bool, place: str) -> np.ndarray:
    """What the screen shows at a place of the page, (HEIGHT, width, 3) RGB."""
    scheme = "dark" if dark else "light"
    page = browser.new_page(viewport={"width": width, "height": HEIGHT}, color_scheme=scheme)
    page.goto(report.resolve().as_uri())
    page.wait_for_timeout(800)  # the 3D views take their room first
    if place != "main":
        page.locator(place).first.evaluate(UNFOLD)
        page.wait_for_timeout(800)
        page.locator(place).first.evaluate(
            "element => scrollTo(0, element.getBoundingClientRect().top + scrollY - 300)"
        )
        page.wait_for_timeout(300)
    image = cv2.imdecode(np.frombuffer(page.screenshot(), np.uint8), cv2.IMREAD_COLOR)
    page.close()
    return image[..., ::-1]


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "demo/report.html"))
