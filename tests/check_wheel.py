"""Builds the package and tries it where nothing else is: ``python tests/check_wheel.py``.

The sdist is built from the checkout and the wheel from the sdist; both hold every file of ``medcli/``. The wheel is
installed in an empty environment, which runs ``medcli demo --quick`` in a folder outside the checkout.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path

REPOSITORY = Path(__file__).parents[1]
LOOK_INSIDE = """
from importlib.resources import files
from pathlib import Path
import medcli, medcli.report
place = Path(medcli.__file__).parent
assert "site-packages" in place.parts, place
assert (files("medcli") / "py.typed").is_file()
"""


def main() -> None:
    uv = shutil.which("uv", path=str(Path(sys.executable).parent)) or "uv"
    with tempfile.TemporaryDirectory(prefix="medcli-wheel-") as folder:
        place = Path(folder)
        run(uv, "build", "--quiet", "--python", sys.executable, "--out-dir", place / "dist", REPOSITORY)
        wheel, sdist = next((place / "dist").glob("*.whl")), next((place / "dist").glob("*.tar.gz"))
        check_contents(wheel, sdist)
        environment = place / "environment"
        run(uv, "venv", "--quiet", "--python", sys.executable, environment)
        programs = environment / ("Scripts" if os.name == "nt" else "bin")
        run(uv, "pip", "install", "--quiet", "--python", programs / "python", wheel)
        elsewhere = place / "elsewhere"
        elsewhere.mkdir()
        run(programs / "python", "-c", LOOK_INSIDE, cwd=elsewhere)
        run(programs / "medcli", "demo", "--quick", cwd=elsewhere)
        assert (elsewhere / "demo" / "report.html").stat().st_size > 100_000
        print(f"{wheel.name} ({wheel.stat().st_size // 1000} kB) and {sdist.name} are whole, and the demonstration ran")


def check_contents(wheel: Path, sdist: Path) -> None:
    """Nothing that git knows below ``medcli`` is missing: modules, ``py.typed``, the report's template and scripts."""
    listed = subprocess.run(
        ["git", "ls-files", "medcli"], cwd=REPOSITORY, capture_output=True, text=True, check=True
    ).stdout.split()
    assert "medcli/py.typed" in listed
    assert any(not name.endswith((".py", ".typed")) for name in listed), "the report's page is no module"
    with zipfile.ZipFile(wheel) as archive:
        missing = set(listed) - set(archive.namelist())
        assert not missing, f"{wheel.name} lacks {sorted(missing)}"
    with tarfile.open(sdist) as archive:
        inside = {name.partition("/")[2] for name in archive.getnames()}
    missing = {*listed, "README.md", "CHANGELOG.md", "LICENSE", "pyproject.toml", "tests/conftest.py"} - inside
    assert not missing, f"{sdist.name} lacks {sorted(missing)}"


def run(*words: str | Path, cwd: Path | None = None) -> None:
    """Run a command that knows nothing of the checkout."""
    surroundings = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}
    subprocess.run([str(word) for word in words], cwd=cwd, env=surroundings, check=True)


if __name__ == "__main__":
    main()
