"""The first images of a process do without compiled code, unless it is loaded anyway."""

from __future__ import annotations

import sys

import pytest

from medcli.core.image_formats import few_images
from medcli.core.image_formats.few_images import FewImages


def test_the_first_do_without_compiled_code(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(few_images, "_FEW", 2)
    monkeypatch.delitem(sys.modules, "numba", raising=False)
    few = FewImages()
    assert [few.next_is_one() for _ in range(4)] == [True, True, False, False]
    monkeypatch.setitem(sys.modules, "numba", sys)
    assert not FewImages().next_is_one()
