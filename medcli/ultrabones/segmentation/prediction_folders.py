"""Folders that masks are written to: each notes which network filled it, and no mask of another origin is lost."""

from __future__ import annotations

import glob
import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medcli.core.errors import UsageError, quantity
from medcli.core.files import make_output_folder, remove_leftovers, write_json
from medcli.core.json_text import read_object
from medcli.core.made_with import differences, reject_other_options
from medcli.core.system.open_files import remove_file
from medcli.training.description import list_of
from medcli.transfer.checksum import of_file
from medcli.ultrabones.segmentation.prediction_inputs import (
    MASK_ENDING,
    OVERLAY_FOLDER,
    InputSource,
    prediction_overlay_path,
)

if TYPE_CHECKING:
    from medcli.ultrabones.segmentation.frame_segmenter import FrameSegmenter

logger = logging.getLogger(__name__)

MANIFEST = "predictions.json"


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
    known = [note.get("training_specimens") for note in _notes_of(made)]
    return [tuple(train) if isinstance(train, list) and list_of(int, train) else None for train in known]


@dataclass(frozen=True)
class KeptMasks:
    """Which masks of an earlier run stay: finished ones, made of the files as they are now.

    A mask is finished work of the folder's manifest if it is as new as that (which is written when network or options
    change, and not again) and as its input. Where an overlay is asked for, it must be there too.

    Attributes:
        every: keep each mask that is there, whoever made it and of whatever file.
        none: keep no mask.
        overlay: overlays are written too.
    """

    every: bool = False
    none: bool = False
    overlay: bool = False

    def __call__(self, source: InputSource, mask: Path) -> bool:
        if self.none or not mask.is_file():
            return False
        if self.every:
            return True
        if self.overlay and not prediction_overlay_path(mask).is_file():
            return False
        try:
            made, noted, given = (path.stat() for path in (mask, source.folder / MANIFEST, source.path))
        except OSError:
            return False
        # A file put in place of another keeps its own, older time of change; that of its entry is new.
        return made.st_mtime_ns >= max(noted.st_mtime_ns, given.st_mtime_ns, given.st_ctime_ns)


def prepare_folders(
    sources: Sequence[InputSource], manifest: dict[str, Any], skip_existing: bool = False, overwrite: bool = False
) -> list[Path]:
    """Make the folders of the masks, note in each which network fills it, and return them in order.

    Args:
        sources: the files to predict on.
        manifest: see :func:`prediction_manifest`.
        skip_existing: masks that are there stay, regardless of who wrote them.
        overwrite: masks of another program, network or threshold are replaced, and ambiguous ones removed.

    Raises:
        UsageError: a folder holds masks of another program, network or threshold, or a mask whose name was that of one
            file and would now be that of two. Nothing is changed.
    """
    folders = sorted({source.folder for source in sources})
    ambiguous = [] if skip_existing else sorted({mask for source in sources for mask in _ambiguous_masks(source)})
    if not overwrite and not skip_existing:
        _refuse_foreign_masks(folders)
        for folder in folders:
            _refuse_other_masks(folder, manifest)
        if ambiguous:
            raise UsageError(
                f"{ambiguous[0]} is the mask of one of several files of that name"
                + (f", and {len(ambiguous) - 1:,} more are such" if ambiguous[1:] else ""),
                "remove it, choose another folder (--out DIR), or give --overwrite, which makes all masks again",
            )
    for mask in ambiguous:
        remove_mask(mask)
    written = {path for source in sources for path in (source.mask_of(None), source.folder / source.stem)}
    inner = {source.folder / source.stem for source in sources if source.kind != "still"}  # frames of movies
    for folder in (*folders, *inner):
        for place in (folder, folder / OVERLAY_FOLDER):
            if place.is_dir():
                remove_leftovers(place)
    for folder in folders:
        make_output_folder(folder)
        stays = any(skip_existing or not {mask, mask.parent} & written for mask in _masks_of(folder))
        _write_manifest(folder / MANIFEST, manifest, skip_existing, stays)
    return folders


def remove_mask(mask: Path) -> None:
    """Remove a mask and its overlay, where they are there."""
    remove_file(mask)
    remove_file(prediction_overlay_path(mask))


def remove_masks_of(source: InputSource) -> None:
    """Remove the masks of all frames of a file."""
    for mask in _masks_of_file(source):
        remove_mask(mask)


def _ambiguous_masks(source: InputSource) -> Iterator[Path]:
    """Masks under the name that a file had before another with the same stem lay beside it."""
    if source.stem != source.path.stem:
        yield from _masks_of_file(replace(source, stem=source.path.stem))


def _masks_of_file(source: InputSource) -> Iterator[Path]:
    yield from (mask for mask in [source.mask_of(None)] if mask.is_file())
    yield from (source.folder / source.stem).glob(f"{glob.escape(source.stem)}_*{MASK_ENDING}")


def _refuse_foreign_masks(folders: Sequence[Path]) -> None:
    foreign = [folder for folder in folders if not (folder / MANIFEST).is_file() and any(_masks_of(folder))]
    if foreign:
        raise UsageError(
            f"{quantity(len(foreign), 'folder holds', 'folders hold')} masks that medcli did not write, "
            f"first {foreign[0]}",
            "choose another folder (--out DIR), keep them (--skip-existing) or replace them (--overwrite)",
        )


def _refuse_other_masks(folder: Path, manifest: dict[str, Any]) -> None:
    before = read_object(folder / MANIFEST)
    for one in _notes_of(before):
        if differing := _differing(one, manifest):
            if any(_masks_of(folder)):
                reject_other_options(
                    folder,
                    list(differing.values()),
                    "choose another folder (--out DIR), keep every mask that is there (--skip-existing) "
                    "or replace them (--overwrite)",
                )
            return


def _notes_of(manifest: dict[str, Any]) -> list[dict[str, Any]]:
    """A folder's manifest, and those of further networks that it names; none if there is none."""
    also = manifest.get("also")
    further = [note for note in also if isinstance(note, dict)] if isinstance(also, list) else []
    return [manifest, *further] if manifest else []


def _differing(before: dict[str, Any], now: dict[str, Any]) -> dict[str, str]:
    """What of the deciding options differs, and how, in words."""
    found = {}
    if before.get("checkpoint_sha256") != now.get("checkpoint_sha256"):
        name, other = before.get("checkpoint"), now.get("checkpoint")
        changed = f"the content of {name} was another"
        found["checkpoint"] = changed if name == other else f"--checkpoint was {name}, is {other}"
    for name in ("threshold", "precision", "tta"):
        known, value = (one.get(name, False if name == "tta" else now.get(name)) for one in (before, now))
        if words := differences({name: known}, {name: value}):
            found[name] = words[0]
    return found


def _masks_of(folder: Path) -> Iterator[Path]:
    """Masks in a folder, and in those of its movies; a folder with a manifest of its own is not one of them."""
    yield from folder.glob(f"*{MASK_ENDING}")
    for mask in folder.glob(f"*/*{MASK_ENDING}"):
        if not (mask.parent / MANIFEST).is_file():
            yield mask


def _write_manifest(path: Path, manifest: dict[str, Any], skip_existing: bool, stays: bool) -> None:
    """Note what fills a folder, unless it says so. Where masks stay, what made them stays noted."""
    before = read_object(path)
    notes = _notes_of(before)
    differing = [found for one in notes if (found := _differing(one, manifest))]
    if stays and skip_existing and (differing or not notes):
        how = f"with another {next(iter(differing[0]))}" if differing else "by another program"
        _warn_of_kept_masks(path.parent, how)
        if not notes:
            return  # the masks are not ours; without a manifest that stays known
    if stays and not notes:
        manifest = {**manifest, "also": [{"checkpoint": "another program"}]}
    elif stays and len(differing) < len(notes):
        return  # named already
    elif stays:
        manifest = {**before, "also": [*notes[1:], manifest]}
    if differing or not notes:
        write_json(path, manifest)


def _warn_of_kept_masks(folder: Path, made: str) -> None:
    logger.warning("masks kept in %s were made %s; leave out --skip-existing to have them checked", folder, made)
