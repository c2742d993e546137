"""What ``medcli`` offers to scripts: the same names everywhere, and nothing heavy loaded before they are used."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

import medcli
from tests.conftest import REPOSITORY

HEAVY = ("torch", "cv2", "numba", "numpy", "pandas", "scipy", "lightning", "matplotlib", "typer")
SOURCE = ast.parse(Path(medcli.__file__).read_text("utf-8"))


def names_for_type_checkers() -> dict[str, tuple[str, str]]:
    (block,) = (node for node in SOURCE.body if isinstance(node, ast.If))
    imports = [node for node in block.body if isinstance(node, ast.ImportFrom)]
    found = {name.name: (str(node.module), name.name) for node in imports for name in node.names}
    for node in block.body:  # those that have another name here
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Name) and isinstance(node.targets[0], ast.Name):
            found[node.targets[0].id] = found.pop(node.value.id)
    return found


def test_every_name_is_what_type_checkers_see() -> None:
    seen = names_for_type_checkers()
    assert sorted({*seen, "__version__"}) == sorted(medcli.__all__)
    assert set(medcli._PLACES) == set(seen)
    for name, (module, original) in seen.items():
        assert getattr(medcli, name) is getattr(sys.modules[module], original), name
    assert set(medcli.__all__) <= set(dir(medcli))


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'medcli' has no attribute 'index_bones'"):
        medcli.index_bones  # noqa: B018


def test_import_loads_nothing_heavy() -> None:
    code = f"import sys, medcli; dir(medcli); print([name for name in {HEAVY} if name in sys.modules])"
    ran = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "[]"


def test_every_name_is_on_its_page() -> None:
    page = (REPOSITORY / "docs/python.md").read_text("utf-8")
    missing = [name for name in medcli.__all__ if name != "__version__" and not re.search(rf"`{name}\b", page)]
    assert not missing


def examples() -> str:
    return "\n".join(
        re.findall(r"^```python\n(.*?)^```", (REPOSITORY / "docs/python.md").read_text("utf-8"), re.M | re.S)
    )


def test_examples_use_public_names() -> None:
    uses = {
        node.attr
        for node in ast.walk(ast.parse(examples()))
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "medcli"
    }
    kinds = {"DataError", "MedcliError", "UsageError", "__version__"}
    assert uses == {*medcli.__all__} - kinds


@pytest.mark.deep
def test_examples_run_in_their_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {"__name__": "__main__"}
    exec(compile(examples(), "docs/python.md", "exec"), names)
    image, probability = names["image"], names["probability"]
    assert probability.shape == image.shape  # type: ignore[attr-defined]
    assert names["done"].done == names["masks"].done == 8  # type: ignore[attr-defined]
    assert names["errors"].pairs > 0  # type: ignore[attr-defined]
