"""Whether the images and tables that a command needs are there, from names and headers alone: before pandas is loaded.

Each check raises the error that the command would raise later, and stops at the first file that it can use.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from medcli.core.errors import DataError, UsageError, answers
from medcli.core.files import read_whole
from medcli.core.json_text import parse_json
from medcli.veriserum.dataset import folder_index
from medcli.veriserum.dataset.detector import PLANES
from medcli.veriserum.dataset.folder_index import Contents, TableKind
from medcli.veriserum.dataset.study import CALIBRATED_FOLDER, no_calibrated_images


def check_table(root: Path, kind: TableKind, file: Path | None = None) -> None:
    """Make sure that a table, ``file`` or one below ``root``, is there and has its columns.

    Raises:
        DataError: there is none, or it is not this table.
    """
    if file is not None:
        folder_index.check_table_file(file, kind)
        return
    folder_index.check_root(root)
    for contents in _folders(root):
        named = [path for path in contents.csv_files if path.name.lower().startswith(kind.csv_prefix)]
        found = named[0] if len(named) == 1 else None if named else folder_index.locate(contents, kind)
        if found:
            folder_index.check_table_file(found, kind)
        if named or found:
            return
    raise folder_index.no_table(root, kind)


def check_native_images(root: Path) -> None:
    """Make sure that there is an image as recorded below ``root``.

    Raises:
        DataError: there is no such folder, or no image in it.
    """
    folder_index.check_root(root)
    if not any(_is_image(name, calibrated=False) for _, names in _walk(root) for name in names):
        raise no_native_image(root)


def no_native_image(root: Path) -> DataError:
    """The error for a folder without images as recorded."""
    return DataError(
        f"no image in {root}: expected bs_000001.jpg, fs_000001.jpg, … there or in a folder below",
        "name the dataset's folder with --root",
    )


def check_calibrated_images(folder: Path | None) -> None:
    """Make sure that a folder of calibrated images, if one is given, contains some.

    Raises:
        DataError: it does not exist or contains none.
    """
    if folder and not any(_is_image(name, calibrated=True) for _, names in _walk(folder) for name in names):
        raise no_calibrated_images(folder)


def check_pair_input(path: Path, is_root: bool = False) -> None:
    """Make sure that an input is a folder or an image of a pair; ``is_root``: it is the data folder.

    Raises:
        UsageError, DataError: see :func:`check_pair_image`, or there is no data folder.
    """
    if is_root:
        folder_index.check_root(path)
    elif not path.is_dir():
        check_pair_image(path)


def check_pair_image(path: Path) -> tuple[bool, str, int]:
    """Whether an image of a pair is calibrated, its plane and its id, from its name.

    Raises:
        UsageError: it has another name.
        DataError: there is no such file.
    """
    parsed = folder_index.parse_name(path.name)
    if parsed is None:
        raise UsageError(f"{path} is neither a folder nor named bs_NNNNNN or calibrated_bs_NNNNNN (or fs)")
    if not path.is_file():
        raise DataError(f"there is no file {path}")
    return parsed


def check_pair_images(root: Path, calibrated: Path | None) -> None:
    """Make sure that there are images of pairs: in the folder ``calibrated`` if given, else below ``root``.

    Raises:
        DataError: there are none.
    """
    if calibrated:
        check_calibrated_images(calibrated)
    elif not (root / CALIBRATED_FOLDER).is_dir():
        check_native_images(root)


def check_study(root: Path, calibrated: Path | None) -> None:
    """Make sure that there are images of pairs, or a pose table.

    Raises:
        DataError: there is neither.
    """
    try:
        check_pair_images(root, calibrated)
    except DataError as error:
        try:
            check_table(root, folder_index.POSES)
        except DataError:
            raise error from None


def check_inter_plane(path: Path | None) -> None:
    """Make sure that a file of the planes' geometry, if one is given, is JSON of its form.

    Raises:
        DataError: it cannot be read, or is of another form.
    """
    if path:
        read_inter_plane_file(path)


def read_inter_plane_file(path: Path) -> dict[str, Any]:
    """The planes in a file of the planes' geometry, see :func:`medcli.veriserum.geometry.biplane.read_inter_plane`.

    Raises:
        DataError: it cannot be read, or names other planes.
    """
    try:
        content = parse_json(read_whole(path))
        if not content or not set(content) <= set(PLANES):
            raise ValueError(f"its keys are {', '.join(content)}, not bs or fs")
    except (DataError, OSError, ValueError, TypeError, AttributeError) as error:
        raise no_inter_plane(path, error) from error
    return dict(content)


def no_inter_plane(path: Path, error: Exception) -> DataError:
    """The error for a file that is not the planes' geometry."""
    example = '{"fs": {"centre_mm": [360, 0, 250], "normal": [-0.939693, 0, 0.342020], "vertical": [0, 1, 0]}}'
    return DataError(f"{path} is not an inter-plane geometry: {error}", f"expected {example}")


def check_points(source: Path) -> None:
    """Make sure that there is a table of points.

    Raises:
        DataError: there is no such file.
    """
    if not source.exists():
        raise DataError(f"there is no file {source}", "name a table of points, CSV")


def _is_image(name: str, calibrated: bool) -> bool:
    parsed = folder_index.parse_name(name)
    return parsed is not None and parsed[0] == calibrated


def _folders(root: Path) -> Iterator[Contents]:
    """The files of each folder that may be tables."""
    for folder, names in _walk(root):
        contents = Contents(root)
        for name in names:
            folder_index.add_table(contents, folder, name)
        yield contents


def _walk(root: Path) -> Iterator[tuple[str, Iterator[str]]]:
    """Each folder at or below ``root`` with the names of its files; the nearest folders first, links are followed."""
    waiting, visited = [str(root)], set()
    while waiting:
        folder = waiting.pop(0)
        real = os.path.realpath(folder)
        if real in visited:
            continue
        visited.add(real)
        below: list[str] = []
        yield folder, _names(folder, below)
        waiting += sorted(below)


def _names(folder: str, below: list[str]) -> Iterator[str]:
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if not answers(entry.is_dir):
                    yield entry.name
                elif not entry.name.startswith("."):
                    below.append(entry.path)
    except OSError:
        return
