"""Embedded images are no larger than they are shown; missing ones are reported."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from medcli.report.blocks import Note
from medcli.report.embedded_images import embed_image, from_array


def test_images_are_no_larger_than_shown(tmp_path: Path) -> None:
    image = np.random.default_rng(0).integers(0, 255, (600, 2400, 3), np.uint8)
    embedded = from_array(image, "alt", width=800)
    assert (embedded.width, embedded.height) == (800, 200)
    flat = from_array(np.full((50, 50, 3), 255, np.uint8), "alt", is_drawing=True)
    assert flat.source.startswith("data:image/png;base64,")
    (tmp_path / "x.png").write_bytes(b"no image")
    for name in ("x.png", "absent.png"):
        remark = embed_image(tmp_path / name, "alt")
        assert isinstance(remark, Note)
        assert name in remark.text
