"""Run the steps of the demonstration in order, each once."""

from __future__ import annotations

import dataclasses
import logging
import time
from collections.abc import Sequence
from pathlib import Path

from medcli import __version__
from medcli.core.errors import MedcliError, system_failure
from medcli.core.files import usable_cores, write_json
from medcli.core.locks import folder_in_use
from medcli.core.progress import SILENT, Progress
from medcli.core.run_provenance import command_line
from medcli.demo.plan import DemoPlan, DemoTask, RunCommand, StepOutcome
from medcli.demo.result import DemoResult, Step
from medcli.demo.step_state import finished, prepare, remember
from medcli.workspace.demo_folder import REPORT, RESULT

FIGURES = (
    "F1 at 1 mm, untrained, paper",
    "F1 at 1 mm, trained, paper",
    "median distance to the CT surface",
    "X-ray RMS error to ground truth",
    "registered, in-plane error",
    "registered, rotation error",
    "flexion RMS error",
)
"""The numbers shown at the top of the report."""
logger = logging.getLogger(__name__)


class Listener:
    """Is notified of every step; this base class ignores it."""

    def begins(self, task: DemoTask, number: int, total: int) -> None:
        """Step ``number`` of ``total`` is about to run."""

    def ends(self, step: Step, was_done: bool) -> None:
        """The step has run, or was already done by an earlier run."""

    def fails(self, reasons: Sequence[str]) -> None:
        """The current step failed, or parts of it."""


def run_demo(
    out: Path,
    run_command: RunCommand,
    quick: bool = False,
    seed: int = 0,
    workers: int | None = None,
    data_only: bool = False,
    listener: Listener | None = None,
    progress: Progress = SILENT,
) -> DemoResult:
    """Make synthetic versions of both datasets in ``out`` and run every command on them.

    An interrupted step resumes, and a finished step is not repeated. A step that fails is recorded, and the
    steps that do not depend on it still run.

    Args:
        out: output folder: new, empty, or of a demonstration with the same settings.
        run_command: runs a command and returns its result.
        quick: less data and shorter training; without the steps on knee motion.
        seed: seed of the data and of the trainings.
        workers: threads of the steps that use them; default: one per usable core.
        data_only: make the data and stop; ``demo.json`` and the report stay as they are.
        listener: is notified of every step.
        progress: shows the progress within a step.

    Raises:
        MedcliError: the folder cannot be written to, contains files that are not of this demonstration, or another
            one is running in it.
        UsageError: it contains a demonstration with other settings.
    """
    plan = DemoPlan(Path(out), quick, seed, workers, progress)
    with folder_in_use(plan.out, "demonstration"):
        prepare(plan)
        tasks = _tasks(plan)[:1] if data_only else _tasks(plan)
        run = _Run(plan, run_command, listener or Listener())
        for number, task in enumerate(tasks, 1):
            run.do(task, number, len(tasks))
        result = run.result()
        return result if data_only else _with_report(plan, result)


def _tasks(plan: DemoPlan) -> list[DemoTask]:
    from medcli.demo.data import make_data
    from medcli.demo.fluoroscopy import fluoroscopy_tasks
    from medcli.demo.knee_motion import knee_motion_tasks
    from medcli.demo.ultrasound import ultrasound_tasks

    return [make_data(plan), *ultrasound_tasks(plan), *fluoroscopy_tasks(plan), *knee_motion_tasks(plan)]


class _Run:
    """The steps done so far."""

    def __init__(self, plan: DemoPlan, run_command: RunCommand, listener: Listener) -> None:
        self.plan, self.run_command, self.listener = plan, run_command, listener
        self.steps: list[Step] = []
        self.failures: list[str] = []
        self._broken: set[str] = set()

    def do(self, task: DemoTask, number: int, total: int) -> None:
        self.listener.begins(task, number, total)
        missing = [name for name in task.needs if name in self._broken]
        if missing:
            self._fail(task, [f"not run: it needs step {', '.join(missing)}"], broken=True)
            return
        before = finished(self.plan, task)
        if before is not None:
            step = dataclasses.replace(before, command=task.command)
            self.steps.append(step)
            self.listener.ends(step, True)
            return
        self._work(task)

    def _work(self, task: DemoTask) -> None:
        started, processor = time.perf_counter(), time.process_time()
        try:
            with command_line(task.command):
                outcome, failures = task.run(self.run_command)
        except Exception as error:  # whatever it is, steps that do not depend on this one can still run
            logger.debug("step %s", task.name, exc_info=True)
            self._fail(task, [_reason(error)], broken=True)
            return
        step = _step(self.plan, task, outcome, time.perf_counter() - started, time.process_time() - processor)
        self.steps.append(step)
        self.listener.ends(step, False)
        if failures:
            self._fail(task, failures, broken=False)
        else:
            remember(self.plan, task, step)

    def _fail(self, task: DemoTask, reasons: Sequence[str], broken: bool) -> None:
        if broken:
            self._broken.add(task.name)
        self.failures += [f"{task.name}: {reason}" for reason in reasons]
        self.listener.fails(reasons)

    def result(self) -> DemoResult:
        numbers = {name: value for step in self.steps for name, value in step.numbers.items()}
        return DemoResult(
            version=__version__,
            quick=self.plan.quick,
            seed=self.plan.seed,
            seconds=round(sum(step.seconds for step in self.steps), 1),
            cores=usable_cores(),
            out=self.plan.out,
            report=None,
            figures={name: numbers[name] for name in FIGURES if name in numbers},
            steps=tuple(self.steps),
            failures=tuple(self.failures),
        )


def _step(plan: DemoPlan, task: DemoTask, outcome: StepOutcome, seconds: float, processor_seconds: float) -> Step:
    return Step(
        name=task.name,
        title=task.title,
        about=task.about,
        command=task.command,
        seconds=round(seconds, 1),
        processor_seconds=round(processor_seconds, 1),
        folder=plan.relative(outcome.folder) if outcome.folder else None,
        numbers=dict(outcome.numbers),
        images=outcome.images,
        before_after=outcome.before_after,
    )


def _with_report(plan: DemoPlan, result: DemoResult) -> DemoResult:
    """Write ``demo.json``, and the report from it."""
    from medcli.report import write_report

    report = plan.out / REPORT
    complete = dataclasses.replace(result, report=report)
    write_json(plan.out / RESULT, complete)
    try:
        write_report(plan.out, report)
    except Exception as error:  # the results exist even if the page cannot be written
        logger.debug("report", exc_info=True)
        complete = dataclasses.replace(result, failures=(*result.failures, f"report: {_reason(error)}"))
        write_json(plan.out / RESULT, complete)
    return complete


def _reason(error: Exception) -> str:
    known = system_failure(error) if isinstance(error, OSError) else error
    return known.message if isinstance(known, MedcliError) else f"{type(error).__name__}: {error}"
