"""Find the CT bone meshes of a specimen."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from medcli.core.errors import DataError
from medcli.ultrabones.dataset.folder_layout import specimen_folder

MESH_FOLDER = "CT_bone_segmentations"
BONES = ("fibula", "foot", "tibia")
HIP_BONES = ("left_femur", "right_femur", "pelvis")
"""Those of UltraBonesHip."""
MERGED = ("CT_bone_model_merged", "CT_bone_model")
"""Names of the mesh of all bones: current release, first release."""


def find_meshes(record_dir: Path | str, specimen: int, meshes: Path | None = None, merged: bool = False) -> list[Path]:
    """STL files of a specimen's bones.

    Args:
        record_dir: a record of the specimen.
        specimen: its number.
        meshes: where to look instead of the specimen's own folder: a folder with a folder for each specimen
            (``specimen01``, or named as the specimen's folder in the data), or with one specimen's meshes.
        merged: take the merged mesh of all bones instead of one mesh a bone.

    Returns:
        fibula, foot and tibia, both femurs and pelvis, where present; else the merged mesh; else, in a folder given as
        ``meshes``, every STL.

    Raises:
        DataError: no mesh; says where it was looked for.
    """
    folders = list(_mesh_folders(record_dir, specimen, meshes))
    for folder in folders:
        files = {path.stem.lower(): path for path in sorted(folder.glob("*")) if path.suffix.lower() == ".stl"}
        single = [files[bone] for bone in (*BONES, *HIP_BONES) if bone in files]
        whole = [files[name.lower()] for name in MERGED if name.lower() in files][:1]
        others = list(files.values()) if meshes is not None else []
        found = whole if merged else single or whole or others
        if found:
            return found
    wanted = f"{MERGED[0]}.stl" if merged else "fibula.stl, foot.stl or tibia.stl"
    looked = ", ".join(str(folder) for folder in folders) or str(record_dir)
    raise DataError(
        f"no bone mesh of specimen {specimen}: expected {wanted} in {looked}", "name the folder of meshes with --meshes"
    )


def absent_bones(names: Iterable[str]) -> list[str]:
    """The bones without a mesh of their own in an incomplete set; none where no bone has one, as with a merged mesh.

    Args:
        names: of the meshes, without ``.stl``.
    """
    given = {name.lower() for name in names}
    sets = [bones for bones in (BONES, HIP_BONES) if given & set(bones)]
    return [bone for bone in sets[0] if bone not in given] if sets else []


def _mesh_folders(record_dir: Path | str, specimen: int, meshes: Path | None) -> Iterator[Path]:
    own = specimen_folder(record_dir)
    if meshes is None:
        if own is not None:
            yield from (own / MESH_FOLDER, own)
        return
    if not meshes.is_dir():
        raise DataError(f"no folder of meshes {meshes}", "name an existing folder with --meshes")
    names = dict.fromkeys([own.name if own is not None else "", f"specimen{specimen:02d}"])
    for folder in [*(meshes / name for name in names if name), meshes]:
        yield from (each for each in (folder / MESH_FOLDER, folder) if each.is_dir())
