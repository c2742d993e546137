"""Kernels of a package that root installed, for a user without a home."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY

KERNEL = """
from medcli.core.compiled import njit

@njit()
def double(x):
    return 2 * x

@njit(inline="always")
def half(x):
    return x / 2
"""


def run_without_a_home(site: Path, tmp: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """``python words`` where neither the package's folders nor the user's can hold a cache."""
    for folder in [path for path in site.rglob("*") if path.is_dir()] + [site]:
        if not (folder / "__pycache__").exists():
            (folder / "__pycache__").touch()  # no folder of that name can be made, not even by root
    hidden = ("NUMBA_CACHE_DIR", "XDG_CACHE_HOME", "MEDCLI_CACHE_DIR")
    environment = {name: value for name, value in os.environ.items() if name not in hidden}
    environment |= {"HOME": os.devnull, "TMPDIR": str(tmp), "PYTHONDONTWRITEBYTECODE": "1"}
    environment |= {"PYTHONPATH": f"{site}{os.pathsep}{REPOSITORY}", "MPLCONFIGDIR": str(tmp)}
    command = [sys.executable, *words]
    return subprocess.run(
        command, cwd=tmp.parent, env=environment, capture_output=True, text=True, check=False, timeout=300
    )


@pytest.mark.skipif(os.name == "nt", reason="homes as POSIX systems know them")
@pytest.mark.parametrize("is_writable", [True, False])
def test_a_kernel_without_a_place_for_its_cache(tmp_path: Path, is_writable: bool) -> None:
    """It is kept below the temporary folder, or compiled again each time where that is not this user's alone."""
    site, tmp = tmp_path / "site", tmp_path / "tmp"
    site.mkdir()
    tmp.mkdir()
    (site / "kernels.py").write_text(KERNEL)
    cache = tmp / f"medcli-cache-{os.getuid()}"
    if not is_writable:
        cache.mkdir(mode=0o777)
        cache.chmod(0o777)
    ran = run_without_a_home(site, tmp, "-c", "import kernels; print(kernels.double(3), kernels.half(3))")
    assert (ran.returncode, ran.stdout) == (0, "6 1.5\n"), ran.stderr
    assert bool(list(cache.rglob("*.nbc"))) == is_writable
    if is_writable:
        assert cache.stat().st_mode & 0o077 == 0
        assert ran.stderr.count(f"no folder for caches can be written to: {cache} is used") == 1
    assert not (tmp_path / "~").exists()


@pytest.mark.deep
@pytest.mark.skipif(os.name == "nt", reason="homes as POSIX systems know them")
def test_labels_are_the_same_for_a_user_without_a_home(tmp_path: Path) -> None:
    from medcli.synthetic.ultrasound.dataset import SweepSettings, make_ultrabones
    from medcli.ultrabones.labelling.label_dataset import label_ultrabones

    site, tmp, root = tmp_path / "site", tmp_path / "tmp", tmp_path / "data"
    shutil.copytree(REPOSITORY / "medcli", site / "medcli", ignore=shutil.ignore_patterns("__pycache__"))
    tmp.mkdir()
    make_ultrabones(root, (1,), settings=SweepSettings(frames=2, scale=0.25))
    shutil.copytree(root, tmp_path / "same")
    words = ("label", "ultrabones", "--root", str(root), "--overwrite")
    ran = run_without_a_home(site, tmp, "-m", "medcli", *words)
    assert ran.returncode == 0, ran.stderr
    assert ran.stderr.count("warning: ") == 1
    from medcli.ultrabones.labelling.label_dataset import LabelSettings

    label_ultrabones(tmp_path / "same", settings=LabelSettings(overwrite=True))
    for path in root.rglob("Labels*/*.png"):
        assert path.read_bytes() == (tmp_path / "same" / path.relative_to(root)).read_bytes()
