"""The files of a registration: the meshes in a folder that a cloud is registered to, and what is written."""

from __future__ import annotations

from pathlib import Path

from medcli.core.errors import DataError, UsageError
from medcli.ultrabones.dataset.mesh_files import MERGED, MESH_FOLDER


def written_files(out: Path) -> tuple[Path, ...]:
    """The JSON file, the matrix, the registered cloud and the figure."""
    return tuple(out.with_suffix(suffix) for suffix in (".json", ".txt", ".ply", ".png"))


def check_outputs(out: Path, cloud: Path, init: Path | None = None) -> None:
    """Make sure that nothing written is what is read.

    Raises:
        UsageError: it is.
    """
    for source in (cloud, *([init] if init else [])):
        if same := next((path for path in written_files(out) if path.resolve() == source.resolve()), None):
            raise UsageError(f"--out {out} would replace the input {source} by {same.name}", "name another --out")


def meshes_in(folder: Path) -> list[Path]:
    """Every STL of a folder, or of its ``CT_bone_segmentations``; without the merged mesh where single bones are there.

    Raises:
        DataError: no folder, or no mesh in it.
    """
    if folder.is_file() and folder.suffix.lower() == ".stl":
        return [folder]
    if not folder.is_dir():
        raise DataError(f"no folder of meshes {folder}", "name an existing folder with --meshes")
    for place in (folder / MESH_FOLDER, folder):
        files = [path for path in sorted(place.glob("*")) if path.suffix.lower() == ".stl" and path.is_file()]
        single = [path for path in files if path.stem.lower() not in {name.lower() for name in MERGED}]
        if found := single or files:
            return found
    raise DataError(f"no mesh in {folder}: expected STL files such as fibula.stl", "name their folder with --meshes")
