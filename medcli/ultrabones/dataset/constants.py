"""What is known of UltraBones100k beforehand: specimens, donors, published splits and image constants.

Source: Wu et al., Computers in Biology and Medicine 194 (2025) 110435, and the dataset's public repository.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

PIXEL_SPACING_MM = 0.05392
"""Edge of a native pixel in both directions, millimetres."""
FRAME_WIDTH, FRAME_HEIGHT = 950, 811
"""Native frame size in pixels; a few frames of specimen 10 are 884 x 829."""
INPUT_SIZE = 256
"""Width and height of what the published network sees and of the published evaluation, pixels."""
PAPER_SCALE_MM = (FRAME_WIDTH + FRAME_HEIGHT) / INPUT_SIZE / 2 * 0.054
"""Published millimetres per pixel at 256 x 256, 0.1857: the mean of both axes, with 0.054 for 0.05392."""
LABEL_RADIUS_PX = 3
"""The published label holds the pixels within this distance of a label pixel, at 256 x 256."""
IMAGE_MEAN = 0.17475835978984833
"""Published mean of grey / 255 over the training frames."""
IMAGE_STD = 0.16475939750671387
"""Published standard deviation of grey / 255 over the training frames."""
CALIBRATION_TRANSLATION_MM = (26.44694442, -0.52572229, 128.00100047)
CALIBRATION_ANGLES_DEG = (92.48865621, -0.46874914, 179.2277322)
"""Image to probe marker as published: pixel (column c, row r) lies at spacing · (c + ½, r + ½) in the image plane."""

_FOLDER_CODES = {
    0: "F230837",
    1: "F231091",
    2: "F231218",
    3: "S231783",
    4: "F231091",
    5: "S232132L",
    6: "S231987",
    7: "S232132R",
    8: "S231989L",
    9: "S231989R",
    10: "S232098L",
    11: "S232110",
    12: "S240174",
    13: "S232110L",
    14: "S240280",
}
_CODE = re.compile(r"^([A-Za-z]\d{6})[LR]?$")

TRAIN_SPECIMENS = (1, 3, 4, 5, 6, 9, 10, 11, 12, 13, 14)
TEST_SPECIMENS = (2, 7, 8)
PUBLISHED_SPECIMENS = tuple(range(1, 15))
"""Specimens of the published splits; number 0 is known but belongs to none of them."""

PUBLISHED_RECORDS: dict[int, dict[str, tuple[int, ...]]] = {
    1: {"fibula": (1, 2, 3, 4), "foot": (5, 6), "tibia": (10, 11)},
    2: {"fibula": (1, 2, 3, 4), "foot": (5, 6, 7), "tibia": (8, 9, 10)},
    3: {"fibula": (1, 2, 3), "foot": (8, 10, 11), "tibia": (4, 5, 6, 7)},
    4: {"fibula": (8, 9, 10), "foot": (5, 6, 7), "tibia": (1, 2, 3, 4)},
    5: {"fibula": (1, 2, 3), "foot": (4, 5, 7), "tibia": (8, 9, 10)},
    6: {"fibula": (8, 9, 10), "foot": (5, 6, 7), "tibia": (1, 2, 3)},
    7: {"fibula": (8, 9, 10), "foot": (4, 6, 7), "tibia": (1, 2, 3)},
    8: {"fibula": (1, 2, 3), "foot": (4, 5, 6), "tibia": (7, 8, 9)},
    9: {"fibula": (2, 3), "foot": (4, 5, 6), "tibia": (7, 8, 9)},
    10: {"fibula": (1, 2, 3), "foot": (5, 6), "tibia": (7, 8, 9)},
    11: {"fibula": (7, 8, 9), "foot": (4, 5, 6), "tibia": (1, 2, 3)},
    12: {"fibula": (1, 2, 3), "foot": (4, 5, 6), "tibia": (7, 8, 9)},
    13: {"fibula": (1, 2, 3), "foot": (4, 5, 6, 7), "tibia": (8, 9, 10)},
    14: {"fibula": (9, 10, 11, 12), "foot": (5, 6, 7, 8), "tibia": (2, 3, 4)},
}
"""Numbers of the records of each specimen and anatomy: ``anatomy_maps/anatomy_map_UltraBones100k.yaml`` of the
repository luohwu/UltraBones100k, commit edfcb97."""


@dataclass(frozen=True)
class Specimen:
    """One leg.

    Attributes:
        number: 0 to 14.
        code: the code in the first release's folder names, such as ``S232132L``.
        donor: the code without the side (``L``, ``R``); two legs of one donor share it.
    """

    number: int
    code: str
    donor: str

    @property
    def first_release_folder(self) -> str:
        """Folder name in the first release, such as ``cadaver01_F231091`` (number 0 is written with a dash)."""
        return f"cadaver{self.number:02d}{'-' if self.number == 0 else '_'}{self.code}"


def donor_in(code: str) -> str:
    """Donor of a folder code, ``S232132`` of ``S232132L``; another text is its own donor."""
    match = _CODE.match(code)
    return match[1].upper() if match else code


SPECIMENS = {number: Specimen(number, code, donor_in(code)) for number, code in _FOLDER_CODES.items()}


def donor_of(specimen: int) -> str:
    """Donor of a known specimen, empty for an unknown number."""
    return SPECIMENS[specimen].donor if specimen in SPECIMENS else ""
