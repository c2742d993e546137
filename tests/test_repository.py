"""What the repository's own files say of each other: Makefile, CI, hooks, changelog, addresses, site."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from importlib.metadata import metadata
from pathlib import Path
from typing import Any

import pytest
import yaml

import medcli
from tests.conftest import REPOSITORY

CI = yaml.safe_load((REPOSITORY / ".github/workflows/ci.yml").read_text("utf-8"))
MAKEFILE = (REPOSITORY / "Makefile").read_text("utf-8")


def steps(job: str) -> list[dict[str, Any]]:
    return CI["jobs"][job]["steps"]


def made_by(*words: str) -> list[str]:
    """The commands of a target, from an empty folder on."""
    if shutil.which("make") is None:
        pytest.skip("there is no make")
    command = ["make", "--dry-run", "--always-make", "--no-print-directory", *words]
    ran = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=True)
    return [line.strip() for line in ran.stdout.splitlines()]


def test_ci_runs_make_test_on_three_systems_and_two_versions() -> None:
    matrix = CI["jobs"]["test"]["strategy"]["matrix"]
    assert set(matrix["os"]) == {"ubuntu", "windows", "macos"}
    bounds = re.fullmatch(r"<3\.(\d+),>=3\.(\d+)", metadata("medcli")["Requires-Python"])
    assert bounds
    assert matrix["python"] == [f"3.{bounds[2]}", f"3.{int(bounds[1]) - 1}"]
    assert [step["run"] for step in steps("package") if "run" in step] == [
        "make wheel PYTHON=python",
        "make docs PYTHON=python",
    ]


def test_commands_without_make_are_those_of_make() -> None:
    with_make, without = (step for step in steps("test") if "run" in step)
    assert with_make["run"].startswith("make test ")
    expected = [line for line in made_by(*with_make["run"].split()[1:]) if not line.startswith("touch")]
    found = without["run"].replace(".venv/Scripts/", ".venv/bin/").splitlines()
    assert found == expected


def test_hooks_are_those_of_make_lint() -> None:
    hooks = yaml.safe_load((REPOSITORY / ".pre-commit-config.yaml").read_text("utf-8"))["repos"][0]["hooks"]
    lint = re.findall(r"\.venv/bin/((?:ruff|mypy)[^;\n]*)", "\n".join(made_by("lint")))
    assert [hook["entry"] for hook in hooks] == lint


def test_ci_here_runs_what_the_makefile_has() -> None:
    run = (REPOSITORY / ".ci/run").read_text("utf-8")
    assert re.findall(r"^make ([a-z-]+)$", run, re.MULTILINE) == ["test", "docs", "wheel", "test-deep"]
    targets = re.search(r"^\.PHONY: (.*)$", MAKEFILE, re.MULTILINE)
    assert targets
    assert set(targets[1].split()) == set(re.findall(r"^([a-z-]+):", MAKEFILE, re.MULTILINE))


def test_changelog_has_this_version_and_what_comes_next() -> None:
    text = (REPOSITORY / "CHANGELOG.md").read_text("utf-8")
    versions = re.findall(r"^## (\S+)", text, re.MULTILINE)
    assert versions[0] == "Unreleased"
    assert medcli.__version__ in versions


def test_addresses_of_the_project_stand_in_one_place() -> None:
    urls = dict(text.split(", ") for text in metadata("medcli").get_all("Project-URL") or ())
    assert list(urls) == ["Source", "Issues", "Documentation", "Changelog"]
    assert all(url.startswith(urls["Source"]) for url in urls.values())
    command = ["git", "grep", "--files-with-matches", "--fixed-strings", urls["Source"]]
    if (REPOSITORY / ".git").exists():
        ran = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=True)
        assert ran.stdout.split() == ["pyproject.toml"]


def test_site_has_every_page() -> None:
    """`make docs` looks at the rest: every page and link."""
    pages = {path.name for path in (REPOSITORY / "docs").glob("*.md")}
    site = (REPOSITORY / "mkdocs.yml").read_text("utf-8")
    assert pages <= set(re.findall(r": ([\w-]+\.md)$", site, re.MULTILINE))


def test_dockerfile_passes_its_linter() -> None:
    program = shutil.which("hadolint", path=str(Path(sys.executable).parent)) or shutil.which("hadolint")
    if program is None:
        pytest.skip("there is no hadolint")
    ran = subprocess.run([program, "Dockerfile"], cwd=REPOSITORY, capture_output=True, text=True)
    assert (ran.returncode, ran.stdout) == (0, "")


def test_dockerfile_builds_for_cpu_and_cuda_from_what_it_is_given() -> None:
    """It is built in no test: what it copies exists and is not ignored, and one argument chooses PyTorch's build."""
    text = (REPOSITORY / "Dockerfile").read_text("utf-8")
    words = [name for line in re.findall(r"^COPY (?!--from)(.*)$", text, re.MULTILINE) for name in line.split()[:-1]]
    assert words
    assert all((REPOSITORY / name).exists() for name in words)
    kept = re.findall(r"^!(.*)$", (REPOSITORY / ".dockerignore").read_text("utf-8"), re.MULTILINE)
    assert sorted(kept) == sorted(words)
    assert "ARG TORCH=cpu\n" in text
    assert '--torch-backend "${TORCH}"' in text
    bounds = re.fullmatch(r"<3\.(\d+),>=3\.(\d+)", metadata("medcli")["Requires-Python"])
    assert bounds
    images = re.findall(r"^FROM python:3\.(\d+)-", text, re.MULTILINE)
    assert len(images) == 2
    assert all(int(bounds[2]) <= int(image) < int(bounds[1]) for image in images)
