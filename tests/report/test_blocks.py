"""Blocks, curves and clouds by themselves, and the page that shows them."""

from __future__ import annotations

import base64
import math
import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from medcli.core.errors import DataError
from medcli.report.blocks import (
    Chart,
    Command,
    ImageBlock,
    Key,
    Note,
    PointCloud,
    Section,
    Table,
    Text,
    is_number,
    number,
)
from medcli.report.charts import Axes, Curve, draw, ticks
from medcli.report.embedded_images import from_array, picture
from medcli.report.html_page import Page, is_report, render_page
from medcli.report.point_cloud_view import MOST_FACES, MOST_POINTS, first_view, point_cloud, read_ply, simplify
from tests.support.report_folders import EVIL, reconstruction
from tests.support.solids import tube


def page(sections: Sequence[Section] = (), title: str = "A run") -> str:
    return render_page(Page(title, "What it is.", ["today"], None, [], sections))


@pytest.mark.parametrize("text", ["1", "−0.5", "1,234", "0.88 (0.85 to 0.91)", "12 %", "25"])
def test_numbers_are_told_from_words(text: str) -> None:
    assert is_number(text)
    assert not is_number(f"{text} mm")
    assert not is_number("nan")


def test_number_columns_are_found_with_gaps() -> None:
    table = Table(["name", "n", "mixed"], [["a", "1", "2"], ["b", "–", "x"]], "caption")
    assert table.numeric == [False, True, False]


def test_numbers_as_cells() -> None:
    assert number(1234567) == "1,234,567"
    assert number(-0.5, 1, "mm") == "−0.5 mm"
    assert number(math.nan) == number(None) == number(True) == "–"


@pytest.mark.parametrize(("low", "high"), [(0, 1), (0.68, 1.37), (-3, 8), (0, 0.1), (10, 10_000)])
def test_ticks_are_round_few_and_inside(low: float, high: float) -> None:
    found = ticks(low, high)
    steps = np.diff(found)
    assert 3 <= len(found) <= 12
    assert low <= found[0] <= found[-1] <= high
    assert np.allclose(steps, steps[0])
    assert ticks(1, 4, whole=True) == [1, 2, 3, 4]


def test_a_curve_is_broken_where_a_value_is_missing_and_stays_inside() -> None:
    curve = Curve("loss", [0, 1, 2, 3, 4], [0.1, 0.2, math.nan, 9.0, -9.0], style=2)
    drawn = ElementTree.fromstring(draw(Axes("Loss <1>", "epoch", y_range=(0, 1)), [curve], "It falls."))
    lines = [node.attrib["d"] for node in drawn.iter("path") if node.attrib["class"] == "line s2"]
    assert len(lines) == 2
    heights = [float(pair.split()[1]) for line in lines for pair in line[1:].split("L")]
    assert min(heights) >= 0
    assert max(heights) <= 226
    assert drawn.attrib["role"] == "img"
    assert drawn.attrib["aria-label"] == "Loss <1>. It falls."


def test_curves_take_their_colours_from_the_page() -> None:
    drawn = draw(Axes("a", "b"), [Curve("c", [0, 1], [0, 1], [0, 0.9], [0.1, 1.1], style=1)], "d")
    assert "band s1" in drawn
    assert not re.search(r"#[0-9a-f]{3}|rgb|style=", drawn), "a colour of its own would not follow dark mode"


def test_a_curve_without_values_leaves_empty_axes() -> None:
    drawn = draw(Axes("a", "b"), [Curve("c", [0.0, 1.0], [math.nan, math.nan])], "d")
    assert "line s0" not in drawn


def test_a_simpler_mesh_keeps_its_shape() -> None:
    triangles = tube(10, 60).triangles
    vertices, faces = simplify(triangles, 2000)
    assert 200 < len(faces) <= 2000
    assert len(triangles) > 20_000
    around = np.hypot(vertices[:, 0], vertices[:, 1])[np.abs(vertices[:, 2]) < 25]
    assert np.all((around > 9.5) & (around < 10.01))
    assert len(np.unique(faces)) <= len(vertices)
    assert simplify(np.empty((0, 3, 3)))[1].shape == (0, 3)


def test_the_first_view_lies_along_the_longest_extent() -> None:
    points = np.random.default_rng(1).normal(size=(500, 3)) * [1, 30, 6]
    view = first_view(points)
    assert np.allclose(view @ view.T, np.eye(3), atol=1e-12)
    assert np.linalg.det(view) == pytest.approx(1)
    assert np.ptp(points @ view[0]) > np.ptp(points @ view[1]) > np.ptp(points @ view[2])


def test_points_travel_inside_the_page_and_few_enough() -> None:
    points = np.random.default_rng(0).uniform(-5, 5, (30_000, 3)) + np.array([100.0, 0, 0])
    values = np.linspace(0, 1, len(points))
    cloud = point_cloud(
        points, values, 0.5, tube(4, 10).triangles + np.array([100.0, 0, 0]), ("0", "0.5"), "alt", "caption"
    )
    packed = np.frombuffer(base64.b64decode(cloud.points), "<u2").reshape(-1, 3)
    back = packed / 65535 * np.array(cloud.size_mm) + np.array(cloud.low_mm)
    assert len(back) == MOST_POINTS
    nearest = np.abs(points[:, None] - back[None, :50]).max(axis=2).min(axis=0)
    assert nearest.max() < 0.01
    assert np.frombuffer(base64.b64decode(cloud.values), "u1").max() == 255
    faces = np.frombuffer(base64.b64decode(cloud.faces), "<u2").reshape(-1, 3)
    assert 0 < len(faces) <= MOST_FACES
    assert faces.max() < len(base64.b64decode(cloud.vertices)) / 6


def test_a_point_cloud_is_read_as_it_was_written(tmp_path: Path) -> None:
    reconstruction(tmp_path, points=50)
    (path,) = tmp_path.glob("*.ply")
    points, distances = read_ply(path)
    assert points.shape == (50, 3)
    assert np.allclose(np.hypot(points[:, 0], points[:, 1]), 8, atol=1e-5)
    assert 0 <= distances.min() <= distances.max() <= 0.4
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(DataError, match=re.escape(str(path))):
        read_ply(path)


def test_pictures_are_no_larger_than_shown(tmp_path: Path) -> None:
    image = np.random.default_rng(0).integers(0, 255, (600, 2400, 3), np.uint8)
    made = from_array(image, "alt", width=800)
    assert (made.width, made.height) == (800, 200)
    flat = from_array(np.full((50, 50, 3), 255, np.uint8), "alt", is_drawing=True)
    assert flat.source.startswith("data:image/png;base64,")
    (tmp_path / "x.png").write_bytes(b"no image")
    for name in ("x.png", "absent.png"):
        remark = picture(tmp_path / name, "alt")
        assert isinstance(remark, Note)
        assert name in remark.text


def test_all_text_is_escaped() -> None:
    chart = Chart([draw(Axes(EVIL, EVIL), [Curve(EVIL, [0, 1], [0, 1])], EVIL)], [Key(0, EVIL)], EVIL)
    table = Table([EVIL, EVIL], [[EVIL, EVIL]], EVIL, folded=True)
    shown = ImageBlock("data:,", 1, 1, f'" onerror="{EVIL}', EVIL)
    blocks = [Text(EVIL), Note(EVIL, items=[EVIL]), Command(EVIL, EVIL), chart, table, shown]
    text = page([Section(EVIL, blocks, [Section(EVIL, [Text(EVIL)])])], title=EVIL)
    assert text.count("<script") == 1, "the page's own"
    assert "<img src=x" not in text
    assert not re.search(r'<[^>]*" onerror=', text)
    assert "&lt;script&gt;" in text


def test_headings_anchors_and_contents_fit_together() -> None:
    deep = Section("Same", [Text("x")], [Section("Same", [Text("y")], [Section("???", [Text("z")])])])
    text = page([deep, Section("Same", [Text("x")])])
    assert re.findall(r"<h(\d)", text) == ["1", "2", "3", "4", "2"]
    anchors = re.findall(r'<h\d id="([^"]+)"', text)
    assert len(set(anchors)) == len(anchors) == 4
    assert set(re.findall(r'<a href="#([^"]+)"', text)) <= {*anchors, "content"}


def test_the_policy_names_what_is_in_the_page() -> None:
    import hashlib

    text = page()
    policy = re.search(r'Content-Security-Policy" content="([^"]+)"', text)
    assert policy is not None
    for tag in ("style", "script"):
        (content,) = re.findall(f"<{tag}>(.*?)</{tag}>", text, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
        assert f"{tag}-src &#39;sha256-{digest}&#39;" in policy[1] or f"{tag}-src 'sha256-{digest}'" in policy[1]
    assert "default-src" in policy[1]
    assert not re.search(r"(?:src|href)=\"(?!data:|#)", text), "nothing is loaded from elsewhere"
    assert " style=" not in text


def test_not_a_medical_device_stands_at_top_and_bottom() -> None:
    text = page()
    at = [match.start() for match in re.finditer("Not a medical device", text)]
    assert at[0] < text.index("<h1") < text.index("<main") < at[-1]


def test_a_report_is_known_by_its_generator(tmp_path: Path) -> None:
    (tmp_path / "a.html").write_text(page(), "utf-8")
    (tmp_path / "b.html").write_text("<html>medcli report</html>", "utf-8")
    assert is_report(tmp_path / "a.html")
    assert not is_report(tmp_path / "b.html")


def test_every_block_has_a_template() -> None:
    template = (Path(__file__).parents[2] / "medcli/report/page/page.html.j2").read_text("utf-8")
    from medcli.report import blocks

    kinds = [one.kind for one in vars(blocks).values() if isinstance(one, type) and hasattr(one, "kind")]
    assert len(kinds) == 11
    assert all(f'block.kind == "{kind}"' in template for kind in kinds)
    assert PointCloud.kind in kinds
