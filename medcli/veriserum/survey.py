"""What a Veriserum folder holds (for ``medcli info``)."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from medcli.errors import DataError
from medcli.inventory import DataFolder
from medcli.veriserum import index


def survey(root: Path) -> DataFolder:
    """Count what is in ``root`` and say what is missing; bad data are a problem in the answer, not an error."""
    folder = DataFolder("Veriserum", root)
    if not root.is_dir():
        folder.problems.append("the folder is not there")
        folder.next_commands.append("medcli download veriserum")
        return folder
    contents = index.scan(root)
    planes = {plane: sum(plane in files for files in contents.images.values()) for plane in index.PLANES}
    folder.found["images"] = f"{planes['bs']:,} bs and {planes['fs']:,} fs of {len(contents.images):,} ids"
    for plane, count in index.missing_planes(contents).items():
        if count:
            folder.problems.append(f"{count:,} ids have no {plane} image")
    tables = {kind.title: _describe(contents, kind, folder) for kind in (index.POSES, index.DISTORTIONS, index.SOURCES)}
    poses = tables[index.POSES.title]
    if poses is not None and contents.images:
        without = len(set(contents.images) - set(poses.index))
        if without:
            folder.problems.append(f"{without:,} ids have images but no row in the pose table")
    _propose(folder, root, contents, all(table is not None for table in tables.values()))
    return folder


def _describe(contents: index.Contents, kind: index.TableKind, folder: DataFolder) -> pd.DataFrame | None:
    try:
        table, path = index.find_and_read(contents, kind, None)
    except DataError as error:
        folder.problems.append(error.message)
        return None
    note = f"{len(table):,} rows in {path.relative_to(contents.root)}"
    if kind is index.POSES and (obsolete := int(index.is_obsolete(table).sum())):
        note += f", {obsolete:,} of them obsolete"
    folder.found[kind.title] = note
    return table


def _propose(folder: DataFolder, root: Path, contents: index.Contents, has_tables: bool) -> None:
    if not contents.images or not has_tables:
        folder.next_commands.append(f"medcli download veriserum --dest {root}")
        return
    made = len(list((root / "calibrated").glob("calibrated_*"))) if (root / "calibrated").is_dir() else 0
    folder.found["calibrated images"] = f"{made:,}"
    if made < sum(map(len, contents.images.values())):
        folder.next_commands.append(f"medcli calibrate veriserum --root {root}")
