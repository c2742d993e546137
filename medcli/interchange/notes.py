"""What a conversion needs and leaves, checked before anything is loaded: its target, libraries, names, credentials."""

from __future__ import annotations

import os
import re
import unicodedata
from importlib.util import find_spec
from pathlib import Path

from medcli.core.errors import DataError, MedcliError, UsageError
from medcli.core.folders.whole_folder import check_folder_target
from medcli.core.secrets import hide_values

CONVERT_NOTE = "converted.json"
"""In a folder that ``medcli convert`` made: from what, and how."""
RAW_VARIABLE = "nnUNet_raw"
TOKEN_VARIABLE = "HF_TOKEN"
_NAME = re.compile(r"[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9][\w.-]{0,95}")
_EXTRA = "pip install 'medcli[interchange]'"


def check_convert_target(out: Path, overwrite: bool) -> None:
    """Make sure that a folder can be made, or replaced if ``medcli convert`` made it.

    Raises:
        UsageError: it holds something that may not be replaced.
        MedcliError: it cannot be written to.
    """
    check_folder_target(out, overwrite, "medcli convert", CONVERT_NOTE)


def check_converter(module: str, package: str) -> None:
    """Make sure that a library of the extra ``interchange`` is installed.

    Raises:
        MedcliError: it is not.
    """
    if find_spec(module) is None:
        raise MedcliError(f"this conversion needs {package}, which is not installed", _EXTRA)


def plain_name(text: str) -> str:
    """``text`` in ASCII letters, digits, ``-`` and ``_``, for programs that take no others: ``Knöchel links`` is
    ``Knochel-links``."""
    plain = unicodedata.normalize("NFKD", text.replace("ß", "ss")).encode("ascii", "ignore").decode()
    return re.sub(r"[^A-Za-z0-9_]+", "-", plain).strip("-")


def check_plain_name(text: str, option: str) -> None:
    """Make sure that a name that was given is one that other programs take.

    Raises:
        UsageError: it has blanks, accents or other signs; proposes a name.
    """
    if not text or plain_name(text) != text:
        better = plain_name(text)
        raise UsageError(
            f"{option} {text!r} has signs that other programs do not take: letters without accents, digits, - and _ "
            "are allowed",
            f"such as {option} {better}" if better else None,
        )


def nnunet_folder(out: Path | None, number: int, name: str) -> Path:
    """The dataset's folder in ``out``; None: in the folder of the variable ``nnUNet_raw``.

    Raises:
        UsageError: neither is given, or the name or number is none that nnU-Net takes.
    """
    check_plain_name(name, "--name")
    if not 1 <= number <= 999:
        raise UsageError(f"--dataset-id is {number}, nnU-Net numbers datasets from 1 to 999")
    base = out or (Path(os.environ[RAW_VARIABLE]) if os.environ.get(RAW_VARIABLE) else None)
    if base is None:
        raise UsageError(
            f"no folder for the dataset: neither --out nor the variable {RAW_VARIABLE} is given", "--out nnUNet_raw"
        )
    return base / f"Dataset{number:03d}_{name}"


def check_coco_packages() -> None:
    """Make sure that pycocotools is installed.

    Raises:
        MedcliError: it is not.
    """
    check_converter("pycocotools", "pycocotools")


def check_slicer_packages() -> None:
    """Make sure that SimpleITK is installed.

    Raises:
        MedcliError: it is not.
    """
    check_converter("SimpleITK", "SimpleITK")


def check_repository(name: str) -> None:
    """Make sure that a name is ``owner/name``.

    Raises:
        UsageError: it is not.
    """
    if not _NAME.fullmatch(name) or ".." in name or "--" in name:
        raise UsageError(
            f"{name!r} is no name of a repository on the Hub: expected owner/name of letters, digits, -, _ and .",
            "--repository my-name/bone-segmentation",
        )


def token_of_environment() -> str:
    """The token to send with.

    Raises:
        UsageError: the variable is not set.
    """
    token = os.environ.get(TOKEN_VARIABLE, "").strip()
    if not token:
        raise UsageError(
            f"{TOKEN_VARIABLE} is not set: a token that may write to the repository is needed to send",
            "make one at https://huggingface.co/settings/tokens; without --push nothing is sent",
        )
    hide_values(token)
    return token


def check_motion_run(run: Path) -> None:
    """Make sure that a run of ``medcli kinematics``, or a table, is there.

    Raises:
        DataError: it is not.
    """
    if not run.exists():
        raise DataError(f"there is no {run}", "make it: medcli kinematics veriserum")
