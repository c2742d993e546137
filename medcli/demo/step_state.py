"""The state of the demonstration's folder: what it was made with, and which steps are done."""

from __future__ import annotations

import hashlib
from datetime import datetime, timezone
from pathlib import Path

from medcli import __version__
from medcli.core.errors import MedcliError
from medcli.core.files import make_output_folder, write_json
from medcli.core.json_text import read_object
from medcli.core.made_with import differences, reject_other_options
from medcli.demo.plan import DemoPlan, DemoTask
from medcli.demo.result import Step
from medcli.workspace.demo_folder import SETTINGS

STEPS_FOLDER = "steps"
_SCHEMA = "medcli.demo-settings.v1"


def prepare(plan: DemoPlan) -> None:
    """Make the folder, or resume in one of a demonstration with the same settings.

    Raises:
        MedcliError: the folder contains anything else; it is left unchanged.
        UsageError: it contains a demonstration with other settings.
    """
    marker, expected = plan.out / SETTINGS, {"schema": _SCHEMA, "quick": plan.quick, "seed": plan.seed}
    remedy = "choose another folder with --out, or remove this one"
    if not marker.is_file():
        foreign = sorted(path.name for path in plan.out.iterdir()) if plan.out.is_dir() else []
        if foreign:
            raise MedcliError(
                f"{plan.out} contains files that are not synthetic data of a demonstration: {', '.join(foreign[:3])}",
                remedy,
            )
        make_output_folder(plan.out)
        write_json(marker, {**expected, "started": datetime.now(timezone.utc).isoformat(timespec="seconds")})
    else:
        found = read_object(marker)
        if not expected.keys() <= found.keys():
            raise MedcliError(f"{marker} cannot be read", remedy)
        reject_other_options(plan.out, differences(found, expected), remedy)
    for folder in (plan.out, plan.out / STEPS_FOLDER, plan.images):
        make_output_folder(folder)


def finished(plan: DemoPlan, task: DemoTask) -> Step | None:
    """The recorded step, if the files that it read and wrote are unchanged since."""
    found = read_object(_record(plan, task))
    try:
        return Step.from_json(found["step"]) if found.get("state") == _state(plan, task) else None
    except (KeyError, TypeError):
        return None


def remember(plan: DemoPlan, task: DemoTask, step: Step) -> None:
    """Record that a step is done."""
    write_json(_record(plan, task), {"state": _state(plan, task), "step": step})


def _record(plan: DemoPlan, task: DemoTask) -> Path:
    return plan.out / STEPS_FOLDER / f"{task.name}.json"


def _state(plan: DemoPlan, task: DemoTask) -> str:
    """A digest of the command and of the names, sizes and modification times of the step's files."""
    lines = [__version__, *(_relative_word(plan, word) for word in task.words)]
    for pattern in (*task.reads, *task.writes):
        files = sorted(path for path in plan.out.glob(pattern) if path.is_file())
        lines.append(f"{pattern}: {len(files)}")
        for path in files:
            status = path.stat()
            lines.append(f"{plan.relative(path)} {status.st_size} {status.st_mtime_ns}")
    return hashlib.sha256("\n".join(lines).encode("utf-8", "surrogateescape")).hexdigest()


def _relative_word(plan: DemoPlan, word: str | Path) -> str:
    """A word of the command; paths are made relative to the folder, which may have been moved or renamed."""
    return plan.relative(word) if isinstance(word, Path) else word
