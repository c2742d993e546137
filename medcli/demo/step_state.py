"""The demonstration's folder: whose it is, and which steps are done."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from medcli import __version__
from medcli.core.errors import MedcliError, UsageError
from medcli.core.files import make_output_folder, remove_left_overs, write_json
from medcli.demo.plan import DemoPlan, DemoTask
from medcli.demo.result import Step
from medcli.workspace.demo_folder import SETTINGS

STEPS_FOLDER = "steps"
_SCHEMA = "medcli.demo-settings.v1"


def prepare(plan: DemoPlan) -> None:
    """Make the folder, or go on in one that a demonstration of the same settings made.

    Raises:
        MedcliError: the folder holds anything else; it is left as it is.
        UsageError: a demonstration with other settings.
    """
    marker, wanted = plan.out / SETTINGS, _settings(plan)
    if not marker.is_file():
        foreign = sorted(path.name for path in plan.out.iterdir()) if plan.out.is_dir() else []
        if foreign:
            raise MedcliError(
                f"{plan.out} holds files that are not synthetic ones of this demonstration: {', '.join(foreign[:3])}",
                "choose a new folder with --out, or remove this one",
            )
        make_output_folder(plan.out)
        write_json(marker, wanted)
    else:
        _check_same(marker, wanted, plan)
    remove_left_overs(plan.out)
    for folder in (plan.out / STEPS_FOLDER, plan.pictures):
        folder.mkdir(exist_ok=True)
        remove_left_overs(folder)


def _settings(plan: DemoPlan) -> dict[str, Any]:
    return {"schema": _SCHEMA, "quick": plan.quick, "seed": plan.seed}


def _check_same(marker: Path, wanted: dict[str, Any], plan: DemoPlan) -> None:
    try:
        found = json.loads(marker.read_text(encoding="utf-8"))
        had = {name: found[name] for name in wanted}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise MedcliError(f"{marker} cannot be read", "choose a new folder with --out, or remove this one") from error
    if had != wanted:
        raise UsageError(
            f"{plan.out} holds {_in_words(had)}, asked for is {_in_words(wanted)}",
            "choose another folder with --out, or remove this one",
        )


def _in_words(settings: dict[str, Any]) -> str:
    return f"a {'quick' if settings['quick'] else 'full'} demonstration with seed {settings['seed']}"


def finished(plan: DemoPlan, task: DemoTask) -> Step | None:
    """The step as it ran before, if what it read and what it left are as they were then."""
    try:
        found = json.loads(_record(plan, task).read_text(encoding="utf-8"))
        same = found["state"] == _state(plan, task)
        return Step.from_json(found["step"]) if same else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def remember(plan: DemoPlan, task: DemoTask, step: Step) -> None:
    """Note that a step is done."""
    write_json(_record(plan, task), {"state": _state(plan, task), "step": step})


def _record(plan: DemoPlan, task: DemoTask) -> Path:
    return plan.out / STEPS_FOLDER / f"{task.name}.json"


def _state(plan: DemoPlan, task: DemoTask) -> str:
    """A digest of the command and of the names, sizes and times of the step's files."""
    lines = [__version__, *(_without_place(plan, word) for word in task.words)]
    for pattern in (*task.reads, *task.leaves):
        files = sorted(path for path in plan.out.glob(pattern) if path.is_file())
        lines.append(f"{pattern}: {len(files)}")
        for path in files:
            status = path.stat()
            lines.append(f"{plan.relative(path)} {status.st_size} {status.st_mtime_ns}")
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def _without_place(plan: DemoPlan, word: str | Path) -> str:
    """A word of the command, paths relative to the folder, which may have been moved or named in another way."""
    return plan.relative(word) if isinstance(word, Path) else word
