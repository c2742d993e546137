"""A step of the demonstration runs exactly the command that it shows."""

from __future__ import annotations

import shlex
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from medcli.core.image_io import read_grey
from medcli.demo.plan import (
    FULL,
    QUICK,
    DemoPlan,
    DemoTask,
    StepOutcome,
    command_words,
    first_and_last_loss,
    listed,
)


@dataclass(frozen=True)
class Result:
    frames: int
    failures: tuple[object, ...] = ()


def task(**more: Any) -> DemoTask:
    words = command_words("label ultrabones --root", Path("my demo"), "--specimens 2 7")
    return DemoTask("a", "A", "About.", words, lambda done: StepOutcome({"frames": f"{done.frames}"}), **more)


@pytest.mark.skipif(sys.platform == "win32", reason="its shells quote differently")
def test_the_command_that_is_shown_is_the_one_that_is_run() -> None:
    ran: list[str] = []

    def run(words: Any) -> Result:
        ran.extend(map(str, words))
        return Result(3, (ValueError("broken"), "missing"))

    one = task(free=("--workers", "2"))
    outcome, failures = one.run(run)
    assert shlex.split(one.command) == ["medcli", *ran]
    assert ran == ["label", "ultrabones", "--root", "my demo", "--specimens", "2", "7", "--workers", "2"]
    assert (outcome.numbers, failures) == ({"frames": "3"}, ("broken", "missing"))


def test_a_step_can_do_its_work_itself() -> None:
    def reject(words: Any) -> None:
        raise AssertionError(words)

    outcome, failures = task(work=lambda: Result(5)).run(reject)
    assert (outcome.numbers, failures) == ({"frames": "5"}, ())


def test_sizes_and_places(tmp_path: Path) -> None:
    plan = DemoPlan(tmp_path, quick=True, workers=3)
    assert (plan.size, DemoPlan(tmp_path).size) == (QUICK, FULL)
    assert plan.relative(plan.trained) == "runs/seg/small/best.safetensors"
    assert (plan.parallel, DemoPlan(tmp_path).parallel) == (("--workers", "3"), ())
    assert listed(plan.size.rebuilt) == "2"
    plan.images.mkdir()
    shown = plan.save_image("grey.jpg", np.full((8, 8), 90, np.uint8), "alt", "caption")
    assert (shown.path, shown.alt, shown.caption) == ("images/grey.jpg", "alt", "caption")
    assert abs(int(read_grey(tmp_path / shown.path)[4, 4]) - 90) <= 1


def test_a_step_on_one_core_has_one_thread() -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    seen: list[int] = []

    def run_command(words: object) -> Result:
        seen.append(torch.get_num_threads())
        return Result(1)

    task(one_core=True).run(run_command)
    task().run(run_command)
    assert (seen, torch.get_num_threads()) == ([1, 2], 2)
    torch.set_num_threads(before)


def test_first_and_last_loss(tmp_path: Path) -> None:
    (tmp_path / "metrics.csv").write_text("epoch,train_loss\n1,0.75\n2,0.6\n3,0.25\n", "utf-8")
    assert first_and_last_loss(tmp_path) == "0.25 in the last epoch; 0.75 in the first"
