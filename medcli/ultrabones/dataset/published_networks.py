"""What networks were trained on: those that the authors publish, where each is, and what is said of the others."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from medcli.core.errors import MedcliError
from medcli.ultrabones.dataset.constants import PUBLISHED_SPECIMENS, TRAIN_SPECIMENS

UNKNOWN_TRAINING = "training specimens unknown: results on any specimen may include training data"
"""Said of a network wherever it is used or shown, as long as nobody knows what it was trained on."""
UNTRAINED = "medcli checkpoint new, untrained"
"""The source, in its description, of a network that was never trained."""
DEFAULT_NETWORK = "epoch_30_leave_12_out"
_TRAINED_ON = re.compile(r"train_on((?:_\d{1,2})+)")


@dataclass(frozen=True)
class PublishedNetwork:
    """One of the published networks, each a whole pickled network of segmentation_models_pytorch.

    Attributes:
        name: of ``medcli download weights --name``, and of its file without the ending.
        host: where its repository is.
        repository: ``owner/name``.
        path: of the file in the repository.
        train: specimens trained on; None where the authors do not say.
        about: a few words for the help.
    """

    name: str
    host: Literal["hub", "github"]
    repository: str
    path: str
    train: tuple[int, ...] | None
    about: str

    @property
    def file(self) -> str:
        """Name of the file on this machine."""
        return f"{self.name}.pth"


PUBLISHED_NETWORKS = {
    network.name: network
    for network in (
        PublishedNetwork(
            "epoch_30_leave_12_out",
            "hub",
            "luohwu/UltraBones100k_segmentation",
            "epoch_30_leave_12_out.pth",
            train=None,  # the name suggests all but specimen 12; nothing that the authors publish says so
            about="from the Hub, trained on specimens that the authors do not name",
        ),
        PublishedNetwork(
            "epoch_100",
            "github",  # the early-access repository; its README names path and training specimens
            "luohwu/a7v9x0qp4zmnzx78q",
            "AI_ultrasound_segmentation/models/train_on_1_3_4_5_6_9_10_11_12_13_14/epoch_100.pth",
            train=TRAIN_SPECIMENS,
            about="of the published result, trained on 1 3-6 9-14",
        ),
    )
}
"""By name, in the order in which ``--name all`` downloads them."""


@dataclass(frozen=True)
class TrainingOrigin:
    """What is known about a published checkpoint from its place on this machine.

    Attributes:
        train: specimens trained on; None if unknown.
        evidence: where that, or the file, is from.
    """

    train: tuple[int, ...] | None
    evidence: str


def training_origin(path: Path) -> TrainingOrigin | None:
    """What is known about a checkpoint of the authors; None if it is not recognised.

    Recognised is a file that ``medcli download weights`` brought and nobody changed since, by its size and checksum in
    the manifest beside it, and a file in a folder that is named as the authors name theirs
    (``train_on_1_3_4_5_6_9_10_11_12_13_14``). The file's own name alone says nothing.
    """
    return _downloaded(path) or _of_folder(path)


def _downloaded(path: Path) -> TrainingOrigin | None:
    from medcli.transfer.destination import damage_of, read_manifest

    try:
        record = read_manifest(path.parent).records.get(path.name)
    except (MedcliError, OSError):
        return None
    for network in PUBLISHED_NETWORKS.values():
        if record and network.file == path.name and f"/{network.repository}@" in record.source:
            is_same = damage_of(path.parent, path.name, record.size, record.checksum) is None
            return TrainingOrigin(network.train, f"published at {record.source}") if is_same else None
    return None


def _of_folder(path: Path) -> TrainingOrigin | None:
    name = path.absolute().parent.name
    match = _TRAINED_ON.fullmatch(name)
    train = tuple(int(number) for number in match[1].split("_")[1:]) if match else ()
    if not train or not set(train) <= set(PUBLISHED_SPECIMENS):
        return None
    return TrainingOrigin(train, f"training specimens from the name of its folder, {name}")
