"""Proposed next commands for the data, checkpoints and runs found; they work as printed."""

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
class Workspace:
    """The data, runs and checkpoints found.

    Attributes:
        ultrabones, veriserum: the data folders.
        runs_root: the folder of the runs.
        runs: the runs in it, newest first.
        checkpoints: published ones and those of the runs.
        demo: the demonstration; None if there is none.
        more: further data folders.
    """

    ultrabones: DataFolder
    veriserum: DataFolder
    runs_root: Path
    runs: Sequence[Run]
    checkpoints: Sequence[FoundCheckpoint]
    demo: Demo | None
    more: Sequence[DataFolder] = ()


def next_steps(workspace: Workspace) -> list[Proposal]:
    """Proposals, the most useful first: interrupted runs, then steps on existing data, then missing data."""
    interrupted = [
        Proposal(run.resume, f"resume {run.path} ({run.detail})", run.kind.split()[0])
        for run in workspace.runs
        if run.resume and run.state == INTERRUPTED
    ]
    data = (workspace.ultrabones, workspace.veriserum, *workspace.more)
    steps = [
        *_segmentation(workspace),
        *_poses(workspace),
        *(step for folder in data for step in _of_data(folder, workspace)),
    ]
    steps.sort(key=lambda step: _ORDER.index(step.step))
    absent = [step for folder in data if not folder.found for step in folder.proposals]
    if not workspace.ultrabones.found and not (workspace.ultrabones.root.parent / "examples").exists():
        why = "bring one real sweep and some images (370 MB)"
        absent.insert(0, Proposal("medcli download examples", why, "download"))
    demo = [Proposal("medcli demo", "run every step on small synthetic data", "demo")] if _is_empty(workspace) else []
    if workspace.demo and workspace.demo.resume:
        demo = [Proposal(workspace.demo.resume, "resume the demonstration", "demo")]
    return [*interrupted[:_MOST_RESUMED], *demo, *steps, *absent]


def _is_empty(workspace: Workspace) -> bool:
    made = workspace.demo and workspace.demo.finished
    return not (made or workspace.runs or workspace.ultrabones.found or workspace.veriserum.found or workspace.more)


def _of_data(folder: DataFolder, workspace: Workspace) -> Iterator[Proposal]:
    """The data folder's own proposals, except steps that were finished or interrupted."""
    if not folder.found:
        return
    done = {" ".join(run.kind.split()[:2]) for run in workspace.runs if run.state in (FINISHED, INTERRUPTED)}
    yield from (step for step in folder.proposals if " ".join(step.command.split()[1:3]) not in done)


def _segmentation(workspace: Workspace) -> Iterator[Proposal]:
    """Evaluate the newest network, then those published; report the newest evaluation."""
    yield from _report(workspace, EVALUATE_SEG)
    networks = [found for found in workspace.checkpoints if found.kind == SEGMENTATION]
    if workspace.ultrabones.usable and all(found.train_specimens is None for found in networks):
        why = "download the published network that was trained without specimens 2 7 8, to evaluate or apply it"
        yield Proposal("medcli download weights --name epoch_100", why, "download")
    for found in _candidates(workspace, TRAIN_SEG, SEGMENTATION):
        if _evaluation_of(workspace, EVALUATE_SEG, found.path):
            return
        words, is_validated = _what_to_evaluate(workspace, found)
        if words:
            seen = "that chose it in its training" if is_validated else "it was not trained on"
            out = _out(workspace, EVALUATE_SEG, found.path)
            yield Proposal(
                spell("medcli", "evaluate", "seg", "--checkpoint", found.path, *words, *out),
                f"evaluate the network on specimens {seen}",
                "evaluate",
            )
            return


def _poses(workspace: Workspace) -> Iterator[Proposal]:
    yield from _report(workspace, EVALUATE_POSE)
    for found in _candidates(workspace, TRAIN_POSE, POSE):
        if _evaluation_of(workspace, EVALUATE_POSE, found.path):
            return
        root = workspace.veriserum.root
        if not workspace.veriserum.found:
            continue
        words = ("medcli", "evaluate", "pose", "--root", root, "--checkpoint", found.path)
        command = spell(*words, *_out(workspace, EVALUATE_POSE, found.path))
        yield Proposal(command, "evaluate the network on pairs it was not trained on", "evaluate")
        return


def _candidates(workspace: Workspace, kind: str, network: str) -> Iterator[FoundCheckpoint]:
    """Usable checkpoints: of the newest finished run, then published ones."""
    known = {found.path: found for found in workspace.checkpoints if found.kind == network}
    own = [run.checkpoint for run in workspace.runs if run.kind == kind and run.state == FINISHED and run.checkpoint]
    of_runs = {run.checkpoint for run in workspace.runs}
    yield from (known[path] for path in own[:1] if path in known)
    yield from (found for path, found in known.items() if path not in of_runs)


def _evaluation_of(workspace: Workspace, kind: str, checkpoint: Path) -> Run | None:
    """The up-to-date evaluation of a checkpoint, if any."""
    for run in workspace.runs:
        if run.kind == kind and run.state == FINISHED and _same_file(run.source, checkpoint):
            return run if (run.path / EVALUATION).stat().st_mtime >= checkpoint.stat().st_mtime else None
    return None


def _same_file(name: str, path: Path) -> bool:
    return os.path.realpath(name) == os.path.realpath(path) if name else False


def _what_to_evaluate(workspace: Workspace, found: FoundCheckpoint) -> tuple[list[object], bool]:
    """Options for data folder, specimens and labels, and whether validation on these specimens chose the network: only
    where there are no others. Empty if no labelled specimen is left, or if nobody knows which those are."""
    if found.train_specimens is None:
        return [], False
    usable: Mapping[str, list[int]] = workspace.ultrabones.usable
    trained, validated = set(found.train_specimens), set(found.splits.get("val") or ())
    for labels in ("partial", "full"):
        left = [number for number in usable.get(labels) or [] if number not in trained]
        chosen = [number for number in left if number not in validated] or left
        if set(TEST_SPECIMENS) <= set(chosen):
            chosen = list(TEST_SPECIMENS)
        if chosen:
            words = ["--root", workspace.ultrabones.root, "--specimens", *chosen, *_labels(labels)]
            return words, not validated.isdisjoint(chosen)
    return _as_validated(workspace, found), True


def _as_validated(workspace: Workspace, found: FoundCheckpoint) -> list[object]:
    """The validation data of the network's training, for data outside the default folder."""
    run = next((run for run in workspace.runs if run.checkpoint == found.path), None)
    saved = read_settings(run.path) if run else {}
    specimens = found.splits.get("val") or ()
    if not specimens or not Path(str(saved.get("root") or "")).is_dir():
        return []
    return ["--root", saved["root"], "--specimens", *specimens, *_labels(str(saved.get("labels") or "partial"))]


def _labels(name: str) -> list[object]:
    return [] if name == "partial" else ["--labels", name]


def _out(workspace: Workspace, kind: str, checkpoint: Path) -> list[object]:
    """``--out`` if runs are not in the default folder, or the default name is taken by another evaluation."""
    default = workspace.runs_root / Path(*kind.split())
    if any(run.path == default for run in workspace.runs):
        name = checkpoint.parent.name if checkpoint.stem == "best" else checkpoint.stem
        return ["--out", default.with_name(f"{default.name}-{name}")]
    return [] if workspace.runs_root == _DEFAULT_RUNS else ["--out", default]


def _report(workspace: Workspace, kind: str) -> Iterator[Proposal]:
    """Report the newest evaluation, unless its report is up to date."""
    run = next((run for run in workspace.runs if run.kind == kind and run.state == FINISHED), None)
    if run is None:
        return
    report, result = run.path / REPORT, run.path / EVALUATION
    if not report.is_file() or report.stat().st_mtime < result.stat().st_mtime:
        yield Proposal(spell("medcli", "report", run.path), "show the results on one page", "report")
