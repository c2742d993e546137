"""A Veriserum folder: its images, tables, implants and trials."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from medcli.core.errors import DataError
from medcli.veriserum.dataset.folder_index import (
    POSES,
    Contents,
    Images,
    TableKind,
    locate,
    no_table,
    read_every_row,
    read_table,
    scan,
)
from medcli.veriserum.dataset.image_doubles import Doubles
from medcli.veriserum.dataset.remembered import Remembered

if TYPE_CHECKING:
    import pandas as pd

    from medcli.veriserum.dataset.implant_surfaces import Surfaces

CALIBRATED_FOLDER = "calibrated"


def no_calibrated_images(folder: Path) -> DataError:
    """The error for a folder of calibrated images that is missing or contains none."""
    fault = f"{folder} contains no calibrated_bs_NNNNNN.jpg" if folder.is_dir() else f"there is no folder {folder}"
    return DataError(fault, "make it: medcli calibrate veriserum")


@dataclass(eq=False)
class VeriserumStudy:
    """A folder's contents, listed on first use and read once.

    Attributes:
        root: the dataset's folder.
        calibrated: folder of calibrated images; None: ``root/calibrated``, if it exists.
        implants: folder of ``ana_NNNNNN.stl``; None: anywhere below ``root``.
        files: tables given by the user; the others are found below ``root``.
    """

    root: Path
    calibrated: Path | None = None
    implants: Path | None = None
    files: Mapping[TableKind, Path | None] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.root = Path(self.root)
        self._tables = Remembered(self._read)
        self._folder = self.calibrated or self.root / CALIBRATED_FOLDER
        self._is_beside = self._folder.resolve() == self.root.resolve()  # calibrated images are recognised by name

    @cached_property
    def contents(self) -> Contents:
        """Contents of ``root`` without the folder of calibrated images.

        Raises:
            DataError: ``root`` is not a folder.
        """
        return scan(self.root, leave_out=None if self._is_beside else self._folder)

    @property
    def calibrated_images(self) -> Images:
        """The calibrated images in their folder and below; none if there is no ``root/calibrated``.

        Raises:
            DataError: another folder was given, and it does not exist or contains none.
        """
        return self._calibrated_contents.calibrated

    @cached_property
    def doubles(self) -> Doubles:
        """Further files of the images and calibrated images, by the path of the one that is listed.

        Raises:
            DataError: as :attr:`contents` and :attr:`calibrated_images`.
        """
        return self.contents.doubles | self._calibrated_contents.doubles

    @cached_property
    def _calibrated_contents(self) -> Contents:
        if self._is_beside:
            return self.contents
        found = scan(self._folder) if self._folder.is_dir() else Contents(self._folder)
        if self.calibrated and not found.calibrated:
            raise no_calibrated_images(self._folder)
        return found

    @cached_property
    def surfaces(self) -> Surfaces:
        """The implants."""
        from medcli.veriserum.dataset.implant_surfaces import Surfaces

        folder, contents = (self.implants, scan(self.implants)) if self.implants else (self.root, self.contents)
        return Surfaces(folder, contents.surfaces)

    def table(self, kind: TableKind) -> pd.DataFrame:
        """A table by id, from the file given by the user or the one found.

        Raises:
            DataError: none was given or found, or it cannot be read.
        """
        return self._tables(kind)[0]

    def table_file(self, kind: TableKind) -> Path:
        """The file that :meth:`table` reads; raises as it does."""
        return self._tables(kind)[1]

    def poses_of(self, anatomies: Collection[int] | pd.Series | None = None) -> pd.DataFrame:
        """The pose table with one row an id, see :func:`medcli.veriserum.dataset.id_components.one_row_an_id`.

        Raises:
            DataError: as :meth:`table`.
        """
        from medcli.veriserum.dataset.id_components import one_row_an_id

        return one_row_an_id(self.every_pose, anatomies, str(self.table_file(POSES)))

    def components(self, ids: Iterable[int]) -> list[int]:
        """The ``anatomy_id`` of every pose of some ids, sorted.

        Raises:
            DataError: as :meth:`table`.
        """
        every = self.every_pose
        if "anatomy_id" not in every.columns:
            return []
        import pandas as pd

        numbers = pd.to_numeric(every["anatomy_id"][every.index.isin(list(ids))], errors="coerce")
        return sorted({int(number) for number in numbers.dropna()})

    @cached_property
    def every_pose(self) -> pd.DataFrame:
        """The pose table with every row of an id; raises as :meth:`table`."""
        return read_every_row(self.table_file(POSES), POSES)

    def _read(self, kind: TableKind) -> tuple[pd.DataFrame, Path]:
        path = self.files.get(kind) or locate(self.contents, kind)
        if path is None:
            raise no_table(self.root, kind)
        return read_table(path, kind), path
