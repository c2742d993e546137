"""Triton alone is not enough: it calls a C compiler."""

from __future__ import annotations

import shutil
from collections.abc import Iterator

import pytest

from medcli.training.device_step import triton_present


@pytest.fixture(autouse=True)
def _forget() -> Iterator[None]:
    triton_present.can_compile.cache_clear()
    yield
    triton_present.can_compile.cache_clear()


@pytest.mark.parametrize(("has_triton", "has_compiler"), [(True, True), (True, False), (False, True)])
def test_both_are_needed(monkeypatch: pytest.MonkeyPatch, has_triton: bool, has_compiler: bool) -> None:
    monkeypatch.delenv("CC", raising=False)
    monkeypatch.setattr(triton_present, "find_spec", lambda name: object() if has_triton else None)
    monkeypatch.setattr(shutil, "which", lambda name: "/usr/bin/cc" if has_compiler else None)
    assert triton_present.can_compile() == (has_triton and has_compiler)
