"""The help of the download commands is quick, and their words are checked before anything is imported."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable

import pytest

from tests.conftest import REPOSITORY, Ran

HEAVY = ("azure", "huggingface_hub", "requests", "urllib3", "numpy", "torch", "pandas")


@pytest.mark.parametrize("verb", [[], ["ultrabones"], ["veriserum"], ["weights"]])
def test_help_imports_nothing_heavy(verb: list[str]) -> None:
    words = ["download", *verb, "--help"]
    script = (
        f"import sys; from medcli.cli.app import main\ntry:\n    main({words!r})\nexcept SystemExit: pass\n"
        f"print([name for name in {HEAVY!r} if name in sys.modules], file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert done.stderr.strip() == "[]"
    assert "Usage: medcli download" in done.stdout


@pytest.mark.parametrize(
    "words",
    [
        ("ultrabones", "--only", "pictures"),
        ("ultrabones", "--anatomies", "femur"),
        ("ultrabones", "--source", "ftp"),
        ("ultrabones", "--specimens", "two"),
        ("ultrabones", "--records", "1-x"),
        ("veriserum", "--ids", "9-3"),
        ("veriserum", "--only", "labels"),
    ],
)
def test_a_wrong_word_is_quoted(medcli: Callable[..., Ran], words: tuple[str, ...]) -> None:
    ran = medcli("download", *words)
    assert ran.code == 2
    assert words[-1] in ran.err
