"""Sequence files as the PLUS toolkit's manual describes them, byte for byte."""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np


def numbers(matrix: np.ndarray) -> str:
    return " ".join(repr(float(value)) for value in np.ravel(matrix))


def write_sequence(
    path: Path,
    frames: np.ndarray,
    fields: Sequence[Mapping[str, str]],
    compressed: bool = False,
    orientation: str = "MF",
    **header: str,
) -> Path:
    """Write frames (N, rows, columns[, channels]) uint8 with the fields of each frame.

    Args:
        header: further or other lines of the header; ``None`` as text leaves one out.
    """
    pixels = np.ascontiguousarray(frames).tobytes()
    data = zlib.compress(pixels) if compressed else pixels
    lines = {
        "ObjectType": "Image",
        "NDims": "3",
        "BinaryData": "True",
        "BinaryDataByteOrderMSB": "False",
        "CompressedData": str(compressed),
        **({"CompressedDataSize": str(len(data))} if compressed else {}),
        "TransformMatrix": "1 0 0 0 1 0 0 0 1",
        "Offset": "0 0 0",
        "CenterOfRotation": "0 0 0",
        "AnatomicalOrientation": "RAI",
        "ElementSpacing": "1 1 1",
        "DimSize": f"{frames.shape[2]} {frames.shape[1]} {frames.shape[0]}",
        **({"ElementNumberOfChannels": str(frames.shape[3])} if frames.ndim == 4 else {}),
        "ElementType": "MET_UCHAR",
        "UltrasoundImageOrientation": orientation,
        "UltrasoundImageType": "BRIGHTNESS",
    }
    for number, values in enumerate(fields):
        lines |= {f"Seq_Frame{number:04d}_{name}": value for name, value in values.items()}
    lines |= header
    raw = lines.pop("ElementDataFile", "LOCAL")
    text = "".join(f"{name} = {value}\n" for name, value in lines.items() if value != "None")
    head = (text + f"ElementDataFile = {raw}\n").encode("ascii")
    path.write_bytes(head + (data if raw == "LOCAL" else b""))
    if raw != "LOCAL":
        (path.parent / Path(raw).name).write_bytes(data)
    return path


def frame_fields(
    pose: np.ndarray, seconds: float, status: str = "OK", name: str = "ProbeToReference", image: str = "OK"
) -> dict[str, str]:
    """The fields that PLUS writes of one frame."""
    return {
        f"{name}Transform": numbers(pose),
        f"{name}TransformStatus": status,
        "Timestamp": repr(seconds),
        "UnfilteredTimestamp": repr(seconds),
        "FrameNumber": "7",
        "ImageStatus": image,
    }
