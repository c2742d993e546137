"""What one must know of a segmentation network besides its weights; stands in the header of each checkpoint."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from medcli import __version__
from medcli.core.errors import DataError
from medcli.core.json_text import to_json
from medcli.ultrabones.dataset.constants import IMAGE_MEAN, IMAGE_STD, INPUT_SIZE
from medcli.ultrabones.segmentation.network import ARCH, ENCODER

_FAMILY = "medcli.segmenter."
SCHEMA = f"{_FAMILY}v1"
CITATION = "Wu et al., Computers in Biology and Medicine 194 (2025) 110435"
LICENCE = "CC BY 4.0 (UltraBones100k)"


@dataclass(frozen=True)
class Metadata:
    """What one must know of a segmentation network besides its weights.

    Attributes:
        arch, encoder: names as :func:`medcli.ultrabones.segmentation.network.build_model` takes them.
        mean, std: normalisation of grey / 255.
        input_size: rows and columns of the input, pixels.
        threshold: a pixel is bone where its probability is above it.
        settings: the options of the training that made it.
        splits: specimens of ``train`` and ``val`` and what was noticed about them.
        metrics: what validation said of these weights.
        source: where the weights come from.
    """

    arch: str = ARCH
    encoder: str = ENCODER
    mean: float = IMAGE_MEAN
    std: float = IMAGE_STD
    input_size: int = INPUT_SIZE
    threshold: float = 0.5
    settings: Mapping[str, Any] = field(default_factory=dict)
    splits: Mapping[str, Any] = field(default_factory=dict)
    metrics: Mapping[str, Any] = field(default_factory=dict)
    source: str = "medcli train seg"
    licence: str = LICENCE
    citation: str = CITATION
    medcli_version: str = __version__
    schema: str = SCHEMA

    def to_json(self) -> str:
        """The description as JSON; numbers that are not finite become null."""
        return to_json(self)

    @classmethod
    def from_json(cls, text: str, name: Path | str) -> Metadata:
        """Read a description back; fields of a later version are left out.

        Raises:
            DataError: it is no description, or of a schema that this version does not know.
        """
        try:
            values = json.loads(text)
            schema = values["schema"]
        except (ValueError, KeyError, TypeError) as error:
            raise DataError(f"{name} does not describe a segmentation network") from error
        if not str(schema).startswith(_FAMILY):
            raise DataError(f"{name} holds another kind of network ({schema}), expected one of medcli train seg")
        if schema != SCHEMA:
            raise DataError(f"{name} is of schema {schema}, expected {SCHEMA}", "a newer medcli may read it")
        known = {entry.name for entry in dataclasses.fields(cls)}
        return cls(**{key: value for key, value in values.items() if key in known})
