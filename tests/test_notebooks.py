"""The notebooks run from beginning to end on synthetic data, draw what they say, and hold no outputs."""

from __future__ import annotations

import ast
import base64
import json
import os
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

import medcli
from tests.conftest import REPOSITORY

NOTEBOOKS = sorted((REPOSITORY / "notebooks").glob("*.ipynb"))
FIGURES = {"segment-your-images": 1, "label-and-rebuild-a-sweep": 2, "pose-from-an-xray-pair": 1}


def cells(path: Path, kind: str) -> list[dict[str, Any]]:
    return [cell for cell in json.loads(path.read_text("utf-8"))["cells"] if cell["cell_type"] == kind]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebooks_hold_no_outputs_and_use_public_names(path: Path) -> None:
    code = cells(path, "code")
    assert all(cell["outputs"] == [] and cell["execution_count"] is None for cell in code)
    tree = ast.parse("\n".join("".join(cell["source"]) for cell in code))
    used = {n.attr for n in ast.walk(tree) if isinstance(n, ast.Attribute) and getattr(n.value, "id", "") == "medcli"}
    assert used <= set(medcli.__all__)
    assert "from medcli" not in "\n".join("".join(cell["source"]) for cell in code)
    assert path.stem in FIGURES


@pytest.mark.deep
@pytest.mark.timeout(900)
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebooks_run(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nbformat, nbclient = pytest.importorskip("nbformat"), pytest.importorskip("nbclient")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(REPOSITORY), os.environ.get("PYTHONPATH", "")]))
    notebook = nbformat.reads(path.read_text("utf-8").replace("epochs=20,", "epochs=4,"), as_version=4)  # a short one
    nbclient.NotebookClient(notebook, timeout=800, resources={"metadata": {"path": str(tmp_path)}}).execute()
    outputs = [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]
    images = [output.data["image/png"] for output in outputs if "image/png" in output.get("data", {})]
    assert len(images) == FIGURES[path.stem]
    for number, image in enumerate(images):
        content = base64.b64decode(image)
        (tmp_path / f"{path.stem}-{number}.png").write_bytes(content)
        pixels = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR)
        assert pixels is not None
        assert len(np.unique(pixels.reshape(-1, 3), axis=0)) > 50, "an empty figure"
