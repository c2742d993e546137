"""One self-contained HTML file: escaped text, a table of contents and a content security policy."""

from __future__ import annotations

import base64
import re
from collections.abc import Sequence
from pathlib import Path

from medcli.report.blocks import Chart, Command, ImageBlock, Key, Note, PointCloud, Section, Table, Text
from medcli.report.charts import Axes, Curve, draw
from medcli.report.html_page import Page, is_report, render_page
from tests.support.report_folders import EVIL


def page(sections: Sequence[Section] = (), title: str = "A run") -> str:
    return render_page(Page(title, "What it is.", ["today"], None, [], sections))


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


def test_headings_anchors_and_contents_agree() -> None:
    deep = Section("Same", [Text("x")], [Section("Same", [Text("y")], [Section("???", [Text("z")])])])
    text = page([deep, Section("Same", [Text("x")])])
    assert re.findall(r"<h(\d)", text) == ["1", "2", "3", "4", "2"]
    anchors = re.findall(r'<h\d id="([^"]+)"', text)
    assert len(set(anchors)) == len(anchors) == 4
    assert set(re.findall(r'<a href="#([^"]+)"', text)) <= {*anchors, "content"}


def test_the_policy_lists_the_contents_of_the_page() -> None:
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


def test_not_a_medical_device_is_stated_at_top_and_bottom() -> None:
    text = page()
    at = [match.start() for match in re.finditer("Not a medical device", text)]
    assert at[0] < text.index("<h1") < text.index("<main") < at[-1]


def test_a_report_is_recognised_by_its_generator(tmp_path: Path) -> None:
    (tmp_path / "a.html").write_text(page(), "utf-8")
    (tmp_path / "b.html").write_text("<html>medcli report</html>", "utf-8")
    assert is_report(tmp_path / "a.html")
    assert not is_report(tmp_path / "b.html")


def test_every_block_has_a_template() -> None:
    template = (Path(__file__).parents[2] / "medcli/report/page/page.html.j2").read_text("utf-8")
    from medcli.report import blocks

    kinds = [one.kind for one in vars(blocks).values() if isinstance(one, type) and hasattr(one, "kind")]
    assert len(kinds) == 12
    assert all(f'block.kind == "{kind}"' in template for kind in kinds)
    assert PointCloud.kind in kinds
