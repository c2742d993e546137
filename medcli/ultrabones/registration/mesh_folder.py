"""The meshes in a folder that a cloud is registered to."""

from __future__ import annotations

from pathlib import Path

from medcli.core.errors import DataError
from medcli.ultrabones.dataset.mesh_files import MERGED, MESH_FOLDER


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
