"""The state of the demonstration's folder: what it was made with, and which steps are done."""

from __future__ import annotations

from pathlib import Path

import pytest

from medcli.core.errors import MedcliError, UsageError
from medcli.demo.plan import DemoPlan, DemoTask, StepOutcome
from medcli.demo.result import ResultImage, Step
from medcli.demo.step_state import finished, prepare, remember
from medcli.workspace.demo_folder import SETTINGS


def made(out: Path) -> tuple[DemoPlan, DemoTask, Step]:
    plan = DemoPlan(out)
    prepare(plan)
    words = ("info", out / "data")
    task = DemoTask("a", "A", "About.", words, lambda _: StepOutcome({}), reads=("in/*",), writes=("written",))
    step = Step("a", "A", "About.", task.command, 1.5, 1.0, images=(ResultImage("x.jpg", "alt", "caption"),))
    return plan, task, step


def test_a_step_is_done_as_long_as_its_files_are_unchanged(tmp_path: Path) -> None:
    plan, task, step = made(tmp_path / "demo")
    assert finished(plan, task) is None
    (plan.out / "written").write_text("x", "utf-8")
    remember(plan, task, step)
    assert finished(plan, task) == step
    (plan.out / "in").mkdir()
    (plan.out / "in/new").touch()
    assert finished(plan, task) is None


def test_the_folder_may_move(tmp_path: Path) -> None:
    plan, task, step = made(tmp_path / "demo")
    remember(plan, task, step)
    moved = plan.out.rename(tmp_path / "elsewhere")
    _, task, _ = made(moved)
    assert finished(DemoPlan(moved), task) == step


def test_other_folders_are_not_touched(tmp_path: Path) -> None:
    (tmp_path / "mine").touch()
    with pytest.raises(MedcliError, match="mine"):
        prepare(DemoPlan(tmp_path))
    prepare(DemoPlan(tmp_path / "demo", quick=True))
    prepare(DemoPlan(tmp_path / "demo", quick=True))
    with pytest.raises(UsageError):
        prepare(DemoPlan(tmp_path / "demo"))
    (tmp_path / "demo" / SETTINGS).write_text("{", "utf-8")
    with pytest.raises(MedcliError, match="cannot be read"):
        prepare(DemoPlan(tmp_path / "demo", quick=True))
