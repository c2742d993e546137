"""What to do next with the data, checkpoints and runs that are here: commands that work as they are printed."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from medcli.core.dataset_status import DataFolder
from medcli.core.shell import Proposal, spell
from medcli.training.settings import read_settings
from medcli.ultrabones.dataset.constants import TEST_SPECIMENS
from medcli.workspace.checkpoint_listing import POSE, SEGMENTATION, FoundCheckpoint
from medcli.workspace.demo_folder import REPORT, Demo
from medcli.workspace.runs import (
    EVALUATE_POSE,
    EVALUATE_SEG,
    EVALUATION,
    FINISHED,
    INTERRUPTED,
    TRAIN_POSE,
    TRAIN_SEG,
    Run,
)

_MOST_RESUMED = 3
_DEFAULT_RUNS = Path("runs")
_ORDER = ("report", "evaluate", "calibrate", "label", "train", "reconstruct", "download")


@dataclass(frozen=True)
class Here:
    """What was found.

    Attributes:
        ultrabones, veriserum: the data folders.
        runs_root: the folder of the runs.
        runs: what is in it, the newest first.
        checkpoints: published and own.
        demo: the demonstration; None where there is none.
    """

    ultrabones: DataFolder
    veriserum: DataFolder
    runs_root: Path
    runs: Sequence[Run]
    checkpoints: Sequence[FoundCheckpoint]
    demo: Demo | None


def next_steps(here: Here) -> list[Proposal]:
    """Proposals, the most useful first: what was begun, then results of what is there, then data that are not."""
    begun = [
        Proposal(run.resume, f"go on with {run.path} ({run.detail})", run.kind.split()[0])
        for run in here.runs
        if run.resume and run.state == INTERRUPTED
    ]
    data = (here.ultrabones, here.veriserum)
    steps = [*_segmentation(here), *_poses(here), *(step for folder in data for step in _of_data(folder, here))]
    steps.sort(key=lambda step: _ORDER.index(step.step))
    absent = [step for folder in data if not folder.found for step in folder.proposals]
    unseen = [Proposal("medcli demo", "see every step on small made-up data", "demo")] if _is_empty(here) else []
    if here.demo and here.demo.resume:
        unseen = [Proposal(here.demo.resume, "go on with the demonstration", "demo")]
    return [*begun[:_MOST_RESUMED], *unseen, *steps, *absent]


def _is_empty(here: Here) -> bool:
    made = here.demo and here.demo.finished
    return not (made or here.runs or here.ultrabones.found or here.veriserum.found)


def _of_data(folder: DataFolder, here: Here) -> Iterator[Proposal]:
    """What the data folder itself proposes, but for what was done or begun."""
    if not folder.found:
        return
    done = {" ".join(run.kind.split()[:2]) for run in here.runs if run.state in (FINISHED, INTERRUPTED)}
    yield from (step for step in folder.proposals if " ".join(step.command.split()[1:3]) not in done)


def _segmentation(here: Here) -> Iterator[Proposal]:
    """Evaluate the newest network, then those published; report the newest evaluation."""
    yield from _report(here, EVALUATE_SEG)
    if here.ultrabones.usable and not any(found.kind == SEGMENTATION for found in here.checkpoints):
        yield Proposal("medcli download weights", "bring the published network, to measure or apply it", "download")
    for found in _candidates(here, TRAIN_SEG, SEGMENTATION):
        if _evaluation_of(here, EVALUATE_SEG, found.path):
            return
        words = _what_to_evaluate(here, found)
        if words:
            out = _out(here, EVALUATE_SEG, found.path)
            yield Proposal(
                spell("medcli", "evaluate", "seg", "--checkpoint", found.path, *words, *out),
                "measure the network on specimens it did not learn from",
                "evaluate",
            )
            return


def _poses(here: Here) -> Iterator[Proposal]:
    yield from _report(here, EVALUATE_POSE)
    for found in _candidates(here, TRAIN_POSE, POSE):
        if _evaluation_of(here, EVALUATE_POSE, found.path):
            return
        root = here.veriserum.root
        if not here.veriserum.found:
            continue
        words = ("medcli", "evaluate", "pose", "--root", root, "--checkpoint", found.path)
        command = spell(*words, *_out(here, EVALUATE_POSE, found.path))
        yield Proposal(command, "measure the network on pairs it did not learn from", "evaluate")
        return


def _candidates(here: Here, kind: str, network: str) -> Iterator[FoundCheckpoint]:
    """Usable checkpoints: of the newest finished run, then published ones."""
    known = {found.path: found for found in here.checkpoints if found.kind == network}
    own = [run.checkpoint for run in here.runs if run.kind == kind and run.state == FINISHED and run.checkpoint]
    of_runs = {run.checkpoint for run in here.runs}
    yield from (known[path] for path in own[:1] if path in known)
    yield from (found for path, found in known.items() if path not in of_runs)


def _evaluation_of(here: Here, kind: str, checkpoint: Path) -> Run | None:
    """The evaluation of a checkpoint as it is now."""
    for run in here.runs:
        if run.kind == kind and run.state == FINISHED and _same_file(run.source, checkpoint):
            return run if (run.path / EVALUATION).stat().st_mtime >= checkpoint.stat().st_mtime else None
    return None


def _same_file(name: str, path: Path) -> bool:
    return os.path.realpath(name) == os.path.realpath(path) if name else False


def _what_to_evaluate(here: Here, found: FoundCheckpoint) -> list[object]:
    """Data folder, specimens and labels; nothing where no labelled specimen is left to evaluate on."""
    usable: Mapping[str, list[int]] = here.ultrabones.usable
    learnt = set(found.splits.get("train") or ())
    for labels in ("partial", "full"):
        there = usable.get(labels) or []
        if set(TEST_SPECIMENS) <= set(there) - learnt:
            chosen = list(TEST_SPECIMENS)
        else:
            validated = [number for number in there if number in (found.splits.get("val") or ())]
            chosen = validated or [number for number in there if number not in learnt]
        if chosen:
            return ["--root", here.ultrabones.root, "--specimens", *chosen, *_labels(labels)]
    return _as_validated(here, found)


def _as_validated(here: Here, found: FoundCheckpoint) -> list[object]:
    """The data that the network's own training validated on, where they are in no usual place."""
    run = next((run for run in here.runs if run.checkpoint == found.path), None)
    saved = read_settings(run.path) if run else {}
    specimens = found.splits.get("val") or ()
    if not specimens or not Path(str(saved.get("root") or "")).is_dir():
        return []
    return ["--root", saved["root"], "--specimens", *specimens, *_labels(str(saved.get("labels") or "partial"))]


def _labels(name: str) -> list[object]:
    return [] if name == "partial" else ["--labels", name]


def _out(here: Here, kind: str, checkpoint: Path) -> list[object]:
    """``--out`` where the usual folder is not the one that is looked at, or holds another evaluation."""
    usual = here.runs_root / Path(*kind.split())
    if any(run.path == usual for run in here.runs):
        name = checkpoint.parent.name if checkpoint.stem == "best" else checkpoint.stem
        return ["--out", usual.with_name(f"{usual.name}-{name}")]
    return [] if here.runs_root == _DEFAULT_RUNS else ["--out", usual]


def _report(here: Here, kind: str) -> Iterator[Proposal]:
    """Of the newest evaluation, unless its report is there and newer."""
    run = next((run for run in here.runs if run.kind == kind and run.state == FINISHED), None)
    if run is None:
        return
    report, result = run.path / REPORT, run.path / EVALUATION
    if not report.is_file() or report.stat().st_mtime < result.stat().st_mtime:
        yield Proposal(spell("medcli", "report", run.path), "show the result on one page", "report")
