"""What a conversion needs and leaves, checked before anything is loaded: its target, libraries, names, credentials."""

from __future__ import annotations

import os
import re
import unicodedata
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from medcli.core.errors import DataError, MedcliError, UsageError
from medcli.core.files import write_json
from medcli.core.folders.whole_folder import check_folder_target
from medcli.core.json_text import read_object, to_plain
from medcli.core.secrets import hide_values
from medcli.core.shell import install_extra

NOTES = {"convert": "converted.json", "import": "imported.json"}
"""In a folder that ``medcli convert`` or ``medcli import`` made: from what, how, and which files."""
RAW_VARIABLE = "nnUNet_raw"
TOKEN_VARIABLE = "HF_TOKEN"
_NAME = re.compile(r"[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9][\w.-]{0,95}")
_PASSING = (".DS_Store", "Thumbs.db", "desktop.ini")
_MOST_NAMED = 3


def check_made_folder(out: Path, overwrite: bool, command: str) -> None:
    """Make sure that a folder can be made, or replaced if it holds what ``command`` made and nothing else.

    Args:
        command: such as ``medcli convert coco`` or ``medcli import jtml``.

    Raises:
        UsageError: it holds something that may not be replaced: of another command, or added or changed since; or it
            lies in a folder that ``medcli convert`` made, which it would change.
        MedcliError: it cannot be written to.
    """
    note_name = _note_of(command)
    elsewhere = "choose another folder with --out"
    if around := next((folder for folder in out.parents if (folder / NOTES["convert"]).is_file()), None):
        maker = read_object(around / NOTES["convert"]).get("made_by", "medcli convert")
        raise UsageError(f"{around} was made by {maker}, so {command} writes nothing into it", elsewhere)
    check_folder_target(out, overwrite, command.rpartition(" ")[0], note_name)
    if not out.is_dir() or not any(out.iterdir()):
        return
    note = read_object(out / note_name)
    if (maker := str(note.get("made_by", command))) != command:
        raise UsageError(f"{out} was made by {maker}, so {command} does not replace it", elsewhere)
    listed = note.get("files")
    files: dict[str, Any] = listed if isinstance(listed, dict) else {}
    there = _files_in(out, note_name)
    if foreign := [f"{name} is not of {command}" for name in there if name not in files]:
        raise _kept(out, command, foreign)
    if changed := [f"{name} was changed" for name in there if _digest(out / name) != files[name]]:
        raise _kept(out, command, changed)


def write_made_note(part: Path, result: Any, command: str) -> None:
    """Write the note of a folder: what became of it, which command made it, and the SHA-256 of each file, by which
    :func:`check_made_folder` knows what was added or changed since. The last file of the folder."""
    note_name = _note_of(command)
    files = {name: _digest(part / name) for name in _files_in(part, note_name)}
    write_json(part / note_name, {**to_plain(result), "made_by": command, "files": files})


def _note_of(command: str) -> str:
    return NOTES[command.split()[1]]


def _files_in(folder: Path, note_name: str) -> list[str]:
    """Files below ``folder`` but the note, with slashes, without what systems and trainings leave in passing."""
    found = (path for path in folder.rglob("*") if path.is_symlink() or not path.is_dir())
    names = (path.relative_to(folder) for path in found if path.name not in _PASSING and path.suffix != ".cache")
    return sorted(name.as_posix() for name in names if name.as_posix() != note_name)


def _digest(file: Path) -> str:
    if file.is_symlink() or not file.is_file():
        return ""
    return sha256_of(file)


def sha256_of(file: Path) -> str:
    """The SHA-256 of a file, in hexadecimal digits.

    Raises:
        DataError: it cannot be read.
    """
    from medcli.transfer.checksum import of_file  # it loads OpenSSL

    try:
        return of_file(file, "sha256").removeprefix("sha256:")
    except OSError as error:
        raise DataError(f"cannot read {file}: {error.strerror or error}") from error


def _kept(out: Path, command: str, reasons: list[str]) -> UsageError:
    shown = ", ".join(reasons[:_MOST_NAMED]) + (
        f" and {len(reasons) - _MOST_NAMED:,} more" if reasons[_MOST_NAMED:] else ""
    )
    return UsageError(
        f"{out} holds more than what {command} made, so it is not replaced: {shown}",
        "move these files elsewhere, or choose another folder with --out",
    )


def check_converter(module: str, package: str) -> None:
    """Make sure that a library of the extra ``interchange`` is installed.

    Raises:
        MedcliError: it is not.
    """
    if find_spec(module) is None:
        raise MedcliError(f"this conversion needs {package}, which is not installed", install_extra("interchange"))


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
