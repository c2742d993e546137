"""``croissant.json`` of a data folder (``medcli convert croissant``): what is in it, as data catalogues read it.

Source: the Croissant format specification 1.0 (MLCommons). Files that a program reads by their columns are listed with
their SHA-256; images are sets of files by pattern. ``croissant_frames.csv`` beside it is the index of the frames of
UltraBones100k, with paths below the folder.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medcli import __version__
from medcli.core.errors import DataError, UsageError
from medcli.core.files import (
    check_output_folder,
    check_replaceable,
    make_output_folder,
    write_json,
    write_text,
)
from medcli.core.json_text import read_object
from medcli.core.run_provenance import DatasetCitation, is_synthetic, synthetic_like
from medcli.core.secrets import redact
from medcli.core.tables import csv_text, header_of, read_table_text
from medcli.interchange.notes import sha256_of

FILE = "croissant.json"
FRAMES = "croissant_frames.csv"
_CONFORMS = "http://mlcommons.org/croissant/1.0"
_TERMS = (
    *("citeAs", "column", "equivalentProperty", "extract", "field", "fileObject", "fileProperty", "fileSet", "format"),
    *("includes", "isLiveDataset", "jsonPath", "key", "md5", "parentField", "path", "recordSet", "references", "regex"),
    *("repeated", "replace", "samplingRate", "separator", "source", "subField", "transform"),
)
_CONTEXT = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "cr": "http://mlcommons.org/croissant/",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "dct": "http://purl.org/dc/terms/",
    "sc": "https://schema.org/",
    **{name: f"cr:{name}" for name in _TERMS},
    "conformsTo": "dct:conformsTo",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "examples": {"@id": "cr:examples", "@type": "@json"},
}
"""Terms of the specification, Appendix 1."""
_LICENCES = {
    "CC BY 4.0": "https://creativecommons.org/licenses/by/4.0/",
    "CC BY-NC 4.0": "https://creativecommons.org/licenses/by-nc/4.0/",
    "In Copyright": "https://rightsstatements.org/page/InC-NC/1.0/",
}
_PAGES = {
    "UltraBones100k": "https://huggingface.co/datasets/luohwu/UltraBones100k",
    "UltraBonesHip": "https://huggingface.co/datasets/luohwu/UltraBonesHip",
    "Veriserum": "https://doi.org/10.3929/ethz-b-000701146",
}
_PUBLISHED = "2025"
_INDEX = ("specimen", "donor", "anatomy", "record", "timestamp", "image", "label", "label_full", "tracked")
_WHOLE = ("specimen", "record", "timestamp", "id", "measurement_id", "anatomy_id", "obsolete")
_NUMBERS = ("tx", "ty", "tz", "rz", "rx", "ry", "sid_bs", "sid_fs")


@dataclass(frozen=True)
class CroissantResult:
    """The answer of ``medcli convert croissant``.

    Attributes:
        dataset: which; ``licence``: of its data.
        files: listed with their checksum; ``sets``: sets of files; ``records``: of each set of records.
    """

    root: Path
    path: Path
    dataset: str
    licence: str
    files: int
    sets: tuple[str, ...]
    records: dict[str, int]
    schema: str = "medcli.convert-croissant.v1"


def croissant_path(root: Path, out: Path | None, overwrite: bool) -> Path:
    """Where the file is written.

    Raises:
        UsageError: it is there already, is no description that may be replaced, or is on another drive.
        MedcliError: it cannot be written.
    """
    path = out or root / FILE
    check_replaceable(path, overwrite)
    if path.exists() and "croissant" not in str(read_object(path).get("conformsTo", "")).lower():
        raise UsageError(f"{path} is no description in Croissant, so it is not replaced", "choose another --out")
    check_output_folder(path.parent)
    try:
        _below(str(root), path)
    except ValueError:  # D:\ and E:\ of Windows
        raise UsageError(
            f"{path} would be on another drive than {root}, and no relative path leads from one to the other",
            "name an --out on the drive of the data",
        ) from None
    return path


def describe_folder(root: Path, out: Path | None = None, overwrite: bool = False) -> CroissantResult:
    """Describe a data folder of UltraBones100k or Veriserum.

    Args:
        out: the file; None: ``croissant.json`` in the folder. Paths in it are relative to its own folder.

    Raises:
        DataError: the folder is neither.
        UsageError: the file exists and may not be replaced.
    """
    from medcli.ultrabones.dataset.folder_layout import find_records

    path = croissant_path(root, out, overwrite)
    if not root.is_dir():
        raise DataError(f"there is no folder {root}", "name the data folder")
    is_ultrasound = next(iter(find_records(root)), None) is not None
    if is_ultrasound:
        _check_index(path.with_name(FRAMES), overwrite)
    found = _ultrasound(root, path) if is_ultrasound else _fluoroscopy(root, path)
    content = _content(root, found)
    make_output_folder(path.parent)
    for file, text in found.texts.items():
        write_text(file, text, is_redacted=True)
    write_json(path, content)
    return CroissantResult(
        root=root,
        path=path,
        dataset=found.about.dataset,
        licence=found.about.licence,
        files=sum(one["@type"] == "cr:FileObject" for one in found.distribution),
        sets=tuple(one["@id"] for one in found.distribution if one["@type"] == "cr:FileSet"),
        records=found.counts,
    )


def _check_index(path: Path, overwrite: bool) -> None:
    check_replaceable(path, overwrite)
    if path.exists() and tuple(header_of(read_table_text(path, "index of frames"))) != _INDEX:
        raise UsageError(
            f"{path} is not the index that medcli convert croissant writes, so it is not replaced",
            "move it elsewhere, or choose a file in another folder with --out",
        )


@dataclass(frozen=True)
class _Found:
    about: DatasetCitation
    title: str
    distribution: list[dict[str, Any]]
    records: list[dict[str, Any]]
    counts: dict[str, int]
    texts: dict[Path, str]


def _content(root: Path, found: _Found) -> dict[str, Any]:
    about = found.about
    licence = next((address for name, address in _LICENCES.items() if name in about.licence), about.licence)
    return {
        "@context": _CONTEXT,
        "@type": "sc:Dataset",
        "name": about.dataset.replace(" ", "-"),
        "description": f"{found.title}, as found in a data folder; described by medcli {__version__}.",
        "conformsTo": _CONFORMS,
        **({"license": licence} if licence and about.citation else {}),
        **({"citeAs": about.citation} if about.citation else {}),
        **({"url": _PAGES[about.dataset], "datePublished": _PUBLISHED} if about.dataset in _PAGES else {}),
        "distribution": found.distribution,
        "recordSet": found.records,
    }


def _ultrasound(root: Path, path: Path) -> _Found:
    from medcli.interchange.labelled_frames import about_converted
    from medcli.ultrabones.dataset.frame_index import index_frames

    frames = index_frames(root)
    records = [Path(one) for one in dict.fromkeys(frames["record_dir"].tolist())]
    rows = []
    for row in frames.to_dict("records"):
        paths = {name: _below(row[name], path) for name in ("image", "label", "label_full") if row[name]}
        cells = {name: row[name] for name in _INDEX[:5]}
        rows.append({**dict.fromkeys(_INDEX, ""), **cells, **paths, "tracked": int(row["tracking"] >= 0)})
    index = path.with_name(FRAMES)
    text = redact(csv_text(rows, _INDEX))
    folders = sorted({Path(one).parent.name for one in (*frames["label"], *frames["label_full"]) if one})
    tables = [file for record in records for file in sorted(record.glob("*.csv"))]
    meshes = sorted({mesh for record in records for mesh in _meshes_near(record)})
    prefix = _below(str(root), path)
    distribution = [
        _file(FRAMES, FRAMES, "text/csv", hashlib.sha256(text.encode()).hexdigest()),
        *(_file(_below(str(file), path), _below(str(file), path), "text/csv", sha256_of(file)) for file in tables),
        *(_file(_below(str(file), path), _below(str(file), path), "model/stl", sha256_of(file)) for file in meshes),
        *(_set(name, f"{prefix}/**/{name}/*.png", "image/png") for name in ("UltrasoundImages", *folders)),
    ]
    return _Found(
        about=about_converted(records),
        title="Tracked B-mode ultrasound with labels of bone surfaces",
        distribution=distribution,
        records=[_records("frames", FRAMES, _INDEX, "One row a frame; paths are relative to this file.")],
        counts={"frames": len(rows)},
        texts={index: text},
    )


def _meshes_near(record: Path) -> Iterator[Path]:
    from medcli.ultrabones.dataset.folder_layout import specimen_folder
    from medcli.ultrabones.dataset.mesh_files import MESH_FOLDER

    if (specimen := specimen_folder(record)) is not None:
        yield from (specimen / MESH_FOLDER).glob("*.stl")


def _fluoroscopy(root: Path, path: Path) -> _Found:
    from medcli.veriserum.dataset.folder_index import DISTORTIONS, POSES, SOURCES, scan
    from medcli.veriserum.dataset.publication import ABOUT

    contents = scan(root)
    kinds = {"poses": POSES, "distortion_calibrations": DISTORTIONS, "source_calibrations": SOURCES}
    tables = {
        name: file
        for name, kind in kinds.items()
        for file in contents.csv_files
        if file.name.lower().startswith(kind.csv_prefix)
    }
    if not tables and not contents.images and not contents.calibrated:
        raise DataError(
            f"{root} is no data folder: neither records of UltraBones100k nor images or tables of Veriserum in it",
            "name the data folder",
        )
    distribution = [_file(name, _below(str(file), path), "text/csv", sha256_of(file)) for name, file in tables.items()]
    distribution += [
        _file(file.stem, _below(str(file), path), "model/stl", sha256_of(file)) for file in contents.surfaces.values()
    ]
    prefix = _below(str(root), path)
    for plane in ("bs", "fs"):
        for name, images in ((plane, contents.images), (f"calibrated_{plane}", contents.calibrated)):
            if first := next((one[plane] for one in images.values() if plane in one), ""):
                suffix = Path(first).suffix
                kind = "image/png" if suffix == ".png" else "image/jpeg"
                distribution.append(_set(f"images_{name}", f"{prefix}/**/{name}_*{suffix}", kind))
    records, counts = [], {}
    for name, file in tables.items():
        text = read_table_text(file, "table")
        columns = [column.strip() for column in header_of(text)]
        records.append(_records(name, name, columns, f"The rows of {file.name}."))
        counts[name] = sum(1 for line in text.splitlines() if line.strip()) - 1
    about = synthetic_like(ABOUT.dataset) if is_synthetic(root) else ABOUT
    return _Found(about, "Dual-plane X-ray images of knee implants with their poses", distribution, records, counts, {})


def _below(file: str, path: Path) -> str:
    """A path as the description says it: relative to the folder of the description, with slashes."""
    return Path(os.path.relpath(file, path.parent)).as_posix()


def _file(identity: str, address: str, kind: str, sha256: str) -> dict[str, Any]:
    return {
        "@type": "cr:FileObject",
        "@id": identity,
        "name": Path(address).name,
        "contentUrl": address,
        "encodingFormat": kind,
        "sha256": sha256,
    }


def _set(identity: str, pattern: str, kind: str) -> dict[str, Any]:
    return {
        "@type": "cr:FileSet",
        "@id": identity,
        "name": identity,
        "encodingFormat": kind,
        "includes": pattern.removeprefix("./"),
    }


def _records(name: str, file: str, columns: Sequence[str], description: str) -> dict[str, Any]:
    return {
        "@type": "cr:RecordSet",
        "@id": f"{name}-records",
        "name": f"{name}-records",
        "description": description,
        "field": [
            {
                "@type": "cr:Field",
                "@id": f"{name}-records/{column}",
                "name": column,
                "dataType": _type_of(column),
                "source": {"fileObject": {"@id": file}, "extract": {"column": column}},
            }
            for column in columns
        ],
    }


def _type_of(column: str) -> str:
    if column in _WHOLE:
        return "sc:Integer"
    if column in _NUMBERS or column.startswith("principalp_"):
        return "sc:Float"
    return "sc:Boolean" if column == "tracked" else "sc:Text"
