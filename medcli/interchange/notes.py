"""What every conversion leaves and needs: its note, and names that other programs take."""

from __future__ import annotations

import re
import unicodedata
from importlib.util import find_spec
from pathlib import Path

from medcli.core.errors import MedcliError, UsageError
from medcli.core.folders.whole_folder import check_folder_target

CONVERT_NOTE = "converted.json"
"""In a folder that ``medcli convert`` made: from what, and how."""
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
