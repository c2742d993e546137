"""Folders that masks are written to: each notes which network filled it, and masks of other programs are not lost."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medcli.core.errors import UsageError, quantity
from medcli.core.files import make_output_folder, write_json
from medcli.core.json_text import read_object
from medcli.training.description import list_of
from medcli.transfer.checksum import of_file
from medcli.ultrabones.segmentation.prediction_inputs import MASK_ENDING

if TYPE_CHECKING:
    from medcli.ultrabones.segmentation.frame_segmenter import FrameSegmenter

logger = logging.getLogger(__name__)

MANIFEST = "predictions.json"
_DECIDING = ("checkpoint_sha256", "threshold", "tta")
"""What of a manifest decides whether masks are the same."""


def prediction_manifest(checkpoint: Path, segmenter: FrameSegmenter, threshold: float) -> dict[str, Any]:
    """The manifest of masks that a network makes at a threshold."""
    return {
        "schema": "medcli.predictions.v1",
        "checkpoint": str(checkpoint),
        "checkpoint_sha256": of_file(checkpoint, "sha256").removeprefix("sha256:"),
        "threshold": threshold,
        "precision": segmenter.precision,
        "network": f"{segmenter.metadata.arch} on {segmenter.metadata.encoder}",
        "training_specimens": segmenter.metadata.train_specimens,
        **({"tta": True} if segmenter.flips else {}),
    }


def mask_origin(folder: Path) -> list[tuple[int, ...] | None] | None:
    """Training specimens of each network that made masks in a folder (None: unknown); None for other folders."""
    made = read_object(folder / MANIFEST)
    if not made:
        return None
    others = made.get("also")
    notes = [made, *(others if isinstance(others, list) else [])]
    known = [note.get("training_specimens") if isinstance(note, dict) else None for note in notes]
    return [tuple(train) if isinstance(train, list) and list_of(int, train) else None for train in known]


def prepare_folders(
    folders: Sequence[Path], manifest: dict[str, Any], skip_existing: bool = False, overwrite: bool = False
) -> None:
    """Make the folders of the masks and note in each which network fills it.

    Args:
        folders: made if absent.
        manifest: see :func:`prediction_manifest`.
        skip_existing: masks that are there stay, regardless of who wrote them.
        overwrite: masks of another program are replaced.

    Raises:
        UsageError: a folder holds masks that another program wrote. Nothing is changed.
    """
    if not overwrite and not skip_existing:
        foreign = [folder for folder in folders if _holds_foreign_masks(folder)]
        if foreign:
            raise UsageError(
                f"{quantity(len(foreign), 'folder holds', 'folders hold')} masks that medcli did not write, "
                f"first {foreign[0]}",
                "choose another folder (--out DIR), keep them (--skip-existing) or replace them (--overwrite)",
            )
    for folder in folders:
        make_output_folder(folder)
        _write_manifest(folder / MANIFEST, manifest, skip_existing)


def _holds_foreign_masks(folder: Path) -> bool:
    return not (folder / MANIFEST).is_file() and next(folder.glob(f"*{MASK_ENDING}"), None) is not None


def _write_manifest(path: Path, manifest: dict[str, Any], keeps_masks: bool) -> None:
    """Note what fills a folder. Where masks stay, the note of what made them stays, and what differs is added."""
    if keeps_masks and next(path.parent.glob(f"*{MASK_ENDING}"), None) is not None:
        before = read_object(path)
        if not before:
            _warn_of_kept_masks(path.parent, "by another program")
            return  # the masks are not ours; without a manifest that stays known
        others = list(before.pop("also", []))
        differing = [key for one in (before, *others) for key in _DECIDING if one.get(key) != manifest.get(key)]
        if differing:
            _warn_of_kept_masks(path.parent, f"with another {differing[0].replace('_sha256', '')}")
            known = any(all(one.get(key) == manifest.get(key) for key in _DECIDING) for one in (before, *others))
            manifest = {**before, "also": others if known else [*others, manifest]}
    write_json(path, manifest)


def _warn_of_kept_masks(folder: Path, made: str) -> None:
    logger.warning("masks kept in %s were made %s; leave out --skip-existing to write them again", folder, made)
