"""The page in headless Chromium: it loads alone, works by keyboard, and fits small, dark and printed."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from medcli.core.image_io import decode_grey
from medcli.report import write_report
from tests.support import report_folders

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
QUIET = ("--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-sync", "--no-first-run")
DRAWN = "() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))"
CONTRAST = """() => {
  const channel = (v) => (v /= 255) <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4;
  const parse = (text) => (text.match(/[\\d.]+/g) || []).map(Number);
  const light = (c) => 0.2126 * channel(c[0]) + 0.7152 * channel(c[1]) + 0.0722 * channel(c[2]);
  const ground = (node) => {
    for (; node; node = node.parentElement) {
      const c = parse(getComputedStyle(node).backgroundColor);
      if (c.length === 3 || c[3] === 1) return c;
    }
    return [255, 255, 255];
  };
  const poor = [];
  for (const node of document.querySelectorAll("body *")) {
    if (node.closest(".stage, script, style, .skip") || !node.getClientRects().length) continue;
    if (![...node.childNodes].some((n) => n.nodeType === 3 && n.textContent.trim())) continue;
    const style = getComputedStyle(node);
    const [a, b] = [light(parse(node.closest("svg") ? style.fill : style.color)), light(ground(node))];
    const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    if (ratio < 4.5) poor.push(`${node.tagName} "${node.textContent.slice(0, 20)}" ${ratio.toFixed(2)}`);
  }
  return [...new Set(poor)];
}"""
CHECKS = """() => {
  const headings = [...document.querySelectorAll("h1,h2,h3,h4,h5,h6")].map((h) => +h.tagName[1]);
  const ids = [...document.querySelectorAll("[id]")].map((e) => e.id);
  const named = (e) => e.getAttribute("aria-label") || (e.labels && e.labels.length) || e.textContent.trim();
  return {
    language: document.documentElement.lang,
    headings,
    jumps: headings.filter((level, i) => i && level > headings[i - 1] + 1),
    repeated: ids.filter((id, i) => ids.indexOf(id) !== i),
    images: [...document.images].map((i) => [i.alt.length > 5, i.naturalWidth > 0]),
    unscoped: [...document.querySelectorAll("th")].filter((h) => !["col", "row"].includes(h.scope)).length,
    headless: [...document.querySelectorAll("table")].filter((t) => !t.querySelector("thead th")).length,
    nameless: [...document.querySelectorAll("button, input, canvas, a, svg[role=img]")].filter((e) => !named(e)).length,
    small: [...document.querySelectorAll("button, summary")].filter((b) => b.offsetHeight < 24).length,
    wide: document.documentElement.scrollWidth - innerWidth,
  };
}"""


def find_chromium() -> str | None:
    found = os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, NAMES)), None)
    windows = Path("C:/Program Files/Google/Chrome/Application/chrome.exe")
    return found or (str(windows) if windows.is_file() else None)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    path = find_chromium()
    with playwright.sync_playwright() as runner:
        if path is None and not Path(runner.chromium.executable_path).exists():
            pytest.skip("there is no Chromium: install it, or name it in the variable CHROMIUM")
        opened = runner.chromium.launch(executable_path=path, args=list(QUIET))
        yield opened
        opened.close()


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report of a demonstration, which has every kind of block; the name of a step tries to do harm."""
    folder = report_folders.demo(tmp_path_factory.mktemp("a demo"))
    content = (
        (folder / "demo.json").read_text("utf-8").replace('"About it."', re.sub(r"^", '"', report_folders.EVIL) + '"')
    )
    (folder / "demo.json").write_text(content, "utf-8")
    report_folders.provenance(folder / "runs/bone", "reconstruct", {"records": [], "failures": [report_folders.EVIL]})
    return write_report(folder).out


class Opened:
    """A page, and all that was heard of it while it was open."""

    def __init__(self, browser: Any, report: Path, **options: Any) -> None:
        self.requests: list[str] = []
        self.complaints: list[str] = []
        self.context = browser.new_context(**{"viewport": {"width": 1000, "height": 800}, **options})
        self.page = self.context.new_page()
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.on("console", lambda message: self.complaints.append(f"{message.type}: {message.text}"))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.goto(report.as_uri())
        if options.get("java_script_enabled", True):
            # The steps of a demonstration are collapsed.
            self.page.evaluate("for (const one of document.querySelectorAll('.whole')) one.open = true")
            self.page.evaluate(DRAWN)
        else:
            for summary in self.page.locator(".level2 > details > summary").all():
                summary.click()

    def __enter__(self) -> Opened:
        return self

    def __exit__(self, *error: Any) -> None:
        self.context.close()

    def screenshot(self, selector: str) -> np.ndarray:
        return decode_grey(self.page.locator(selector).first.screenshot(), selector)

    def press(self, selector: str, *keys: str) -> None:
        self.page.locator(selector).first.focus()
        for key in keys:
            self.page.keyboard.press(key)
        self.page.evaluate(DRAWN)


def test_it_loads_alone_and_in_peace(browser: Any, report: Path) -> None:
    with Opened(browser, report) as opened:
        assert opened.complaints == []
        others = [url for url in opened.requests if not url.startswith("data:")]
        assert others == [report.as_uri()]
        assert opened.page.evaluate("typeof window.evil") == "undefined"
        checks = opened.page.evaluate(CHECKS)
        assert checks["language"] == "en"
        assert checks["headings"][0] == 1
        assert checks["headings"].count(1) == 1
        assert len(checks["images"]) == 3
        assert all(described and loaded for described, loaded in checks["images"])
        for name in ("jumps", "repeated"):
            assert checks[name] == [], name
        for name in ("unscoped", "headless", "nameless", "small", "wide"):
            assert checks[name] == 0, name


def test_the_slider_moves_by_keyboard_and_changes_what_is_shown(browser: Any, report: Path) -> None:
    """The image before is dark, the one after bright."""
    with Opened(browser, report) as opened:
        start = opened.screenshot(".compare .stage")
        assert start[60:-60, 60:200].mean() < 60
        assert start[60:-60, -200:-60].mean() > 200
        opened.press(".compare input", "Home")
        assert opened.screenshot(".compare .stage")[60:-60, 60:200].mean() > 200
        opened.press(".compare input", "End")
        assert opened.screenshot(".compare .stage")[60:-60, -200:-60].mean() < 60
        opened.press(".compare input", "ArrowLeft", "ArrowLeft")
        assert opened.page.locator(".compare input").get_attribute("aria-valuetext") == "98 %"
        assert opened.page.locator(".compare label").inner_text().startswith("Visible share of")


def test_the_view_turns_by_keyboard_and_by_dragging(browser: Any, report: Path) -> None:
    with Opened(browser, report) as opened:
        opened.press("canvas")  # the ring around what has the focus is in every screenshot
        start = opened.screenshot("canvas")
        assert np.mean(np.abs(start.astype(int) - np.median(start)) > 30) > 0.005, "the points are drawn"
        opened.press("canvas", "ArrowLeft", "ArrowLeft", "ArrowUp")
        rotated = opened.screenshot("canvas")
        assert np.mean(rotated != start) > 0.003
        opened.press("canvas", "+")
        assert np.mean(opened.screenshot("canvas") != rotated) > 0.003
        opened.press("canvas", "Home")
        assert np.mean(opened.screenshot("canvas") != start) < 0.001, "Home restores the first view"
        opened.page.locator("canvas").scroll_into_view_if_needed()
        box = opened.page.locator("canvas").bounding_box()
        opened.page.mouse.move(box["x"] + 200, box["y"] + 100)
        opened.page.mouse.down()
        opened.page.mouse.move(box["x"] + 300, box["y"] + 140, steps=4)
        opened.page.mouse.up()
        opened.press("canvas")
        assert np.mean(opened.screenshot("canvas") != start) > 0.003
        assert opened.complaints == []


def test_dark_mode_changes_ground_and_ink_and_both_can_be_read(browser: Any, report: Path) -> None:
    seen = {}
    for scheme in ("light", "dark"):
        with Opened(browser, report, color_scheme=scheme) as opened:
            opened.page.evaluate("() => document.querySelectorAll('details').forEach((d) => { d.open = true; })")
            assert opened.page.evaluate(CONTRAST) == []
            seen[scheme] = [
                opened.page.evaluate(f"() => getComputedStyle(document.querySelector('{selector}')).{style}")
                for selector, style in (("body", "backgroundColor"), (".line.s0", "stroke"), (".panel .tick", "fill"))
            ]
    assert all(light != dark for light, dark in zip(seen["light"], seen["dark"], strict=True))


def test_a_phone_shows_all_without_moving_sideways(browser: Any, report: Path) -> None:
    with Opened(browser, report, viewport={"width": 360, "height": 740}, has_touch=True, is_mobile=True) as opened:
        assert opened.page.locator("nav details").get_attribute("open") is None, "contents are folded"
        opened.page.evaluate("() => document.querySelectorAll('details').forEach((d) => { d.open = true; })")
        assert opened.page.evaluate("document.documentElement.scrollWidth") == 360
        assert opened.page.evaluate(
            "[...document.querySelectorAll('.scroll')].some((s) => s.scrollWidth > s.clientWidth)"
        )
        assert opened.page.evaluate("visualViewport.width") == 360


def test_the_first_key_leads_to_the_results_and_print_shows_both_images(browser: Any, report: Path) -> None:
    with Opened(browser, report) as opened:
        opened.page.keyboard.press("Tab")
        assert opened.page.evaluate("document.activeElement.className") == "skip"
        opened.page.keyboard.press("Enter")
        assert opened.page.evaluate("document.activeElement.id") == "content"
        opened.page.emulate_media(media="print")
        boxes = [opened.page.locator(f".compare .{side}").first.bounding_box() for side in ("before", "after")]
        assert boxes[0]["x"] + boxes[0]["width"] <= boxes[1]["x"]


def test_without_script_all_images_are_shown(browser: Any, report: Path) -> None:
    with Opened(browser, report, java_script_enabled=False) as opened:
        for selector in (".compare .before img", ".compare .after img", "noscript", "pre"):
            assert opened.page.locator(selector).first.is_visible(), selector
