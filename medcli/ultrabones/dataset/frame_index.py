"""Every frame of an UltraBones100k folder as one table, whatever the layout, without opening an image."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from medcli.ultrabones.dataset.folder_layout import list_timestamps
from medcli.ultrabones.dataset.record_frames import RecordFrames, no_frame, scan_records, sorted_records

COLUMNS = (
    "specimen",
    "donor",
    "anatomy",
    "record",
    "timestamp",
    "image",
    "label",
    "label_full",
    "record_dir",
    "tracking",
)


def index_frames(root: Path | str) -> pd.DataFrame:
    """All frames at or below ``root``: a data folder of any published layout, a specimen, or a record.

    Returns:
        one row a frame, sorted by specimen, anatomy, record, timestamp, with the columns :data:`COLUMNS`:
        ``specimen`` (int), ``donor`` (text, empty when unknown), ``anatomy`` (text, empty when the layout has none),
        ``record`` (int), ``timestamp`` (int, milliseconds), ``image`` (path), ``label`` (path of the partial label or
        empty), ``label_full`` (path or empty), ``record_dir`` (path), ``tracking`` (row of
        :func:`read_tracking`, -1 when absent).

    Raises:
        DataError: the folder is missing or holds no frame.
    """
    parts = list(scan_records(sorted_records(Path(root))))
    if not any(part.images for part in parts):
        raise no_frame(root)
    return _as_table(parts)


def mask_path(frames: Any, kind: str) -> Any:
    """Paths of the masks in folder ``kind`` (``Labels_pred``, ``LabelsManual``, …) of each frame's record.

    Args:
        frames: a table with ``record_dir`` and ``timestamp``, or one row of it.
        kind: name of a mask folder.

    Returns:
        for a table a Series of paths with the table's index, empty text where there is no mask; for a row one path.
    """
    if not isinstance(frames, pd.DataFrame):
        return _mask_of(*_list_masks(frames.record_dir, kind), int(frames.timestamp))
    folders = {record: _list_masks(record, kind) for record in frames["record_dir"].unique()}
    paths = [
        _mask_of(*folders[record], timestamp)
        for record, timestamp in zip(frames["record_dir"], frames["timestamp"].tolist(), strict=True)
    ]
    return pd.Series(paths, index=frames.index, dtype=object, name=kind)


def positions_by_record(frames: pd.DataFrame) -> dict[str, list[int]]:
    """``record_dir`` -> positions of its rows in the table, in its order.

    As ``groupby`` would give them, whose keys cannot be names that are not UTF-8 where pyarrow is installed.
    """
    found: dict[str, list[int]] = {}
    for position, record in enumerate(frames["record_dir"].tolist()):
        found.setdefault(record, []).append(position)
    return found


def _list_masks(record_dir: str, kind: str) -> tuple[str, dict[int, str]]:
    folder = str(Path(record_dir) / kind)
    return folder, list_timestamps(folder)[0]


def _mask_of(folder: str, names: dict[int, str], timestamp: int) -> str:
    name = names.get(timestamp)
    return folder + os.sep + name if name else ""


def _as_table(parts: list[RecordFrames]) -> pd.DataFrame:
    lengths = [len(part.timestamps) for part in parts]
    records = [part.record for part in parts]

    def of_record(values: list[Any], kind: type) -> Any:
        return np.repeat(np.array(values, dtype=kind), lengths)

    def of_frame(name: str, kind: type) -> Any:
        return np.array([value for part in parts for value in getattr(part, name)], dtype=kind)

    columns = {
        "specimen": of_record([record.specimen for record in records], np.int64),
        "donor": of_record([record.donor for record in records], object),
        "anatomy": of_record([record.anatomy for record in records], object),
        "record": of_record([record.record for record in records], np.int64),
        "timestamp": of_frame("timestamps", np.int64),
        "image": of_frame("images", object),
        "label": of_frame("labels", object),
        "label_full": of_frame("labels_full", object),
        "record_dir": of_record([record.path for record in records], object),
        "tracking": of_frame("tracking", np.int64),
    }
    # Text stays as Python has it: the strings of pyarrow, pandas' choice where it is installed, take no name of a file
    # that is not UTF-8.
    text = {name: pd.Series(values, dtype=object) for name, values in columns.items() if values.dtype == object}
    return pd.DataFrame(columns | text, columns=list(COLUMNS))
