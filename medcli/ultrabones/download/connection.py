"""Where UltraBones100k is downloaded from, and with which right: known before any network library is loaded."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from medcli.core.errors import DataError, UsageError
from medcli.core.files import check_output_folder
from medcli.core.refusals import refusals
from medcli.core.secrets import hide_values, hide_values_in
from medcli.sources.azure_connection import Connection, parse_connection
from medcli.transfer.destination import check_licence
from medcli.ultrabones.dataset import publication
from medcli.ultrabones.dataset.publication import Place


@dataclass(frozen=True)
class UltrabonesOrigin:
    """Where from, and with which right. ``connection_file`` and the environment variable hold the connection string."""

    place: Place = Place.AUTO
    connection_file: Path | None = None
    container: str | None = None
    revision: str = "main"


def check_download(root: Path, origin: UltrabonesOrigin, dry_run: bool) -> Connection | None:
    """What can be checked without the network; the connection string to use, or None for the Hub.

    Raises:
        MedcliError: ``root`` cannot be the destination; or see :func:`find_connection`; or both.
    """
    with refusals() as check:
        check(check_output_folder, root, "--dest", may_write=not dry_run)
        return check(find_connection, origin)


def check_hip_download(root: Path, licence_accepted: bool, dry_run: bool) -> None:
    """What of a download of UltraBonesHip can be checked without the network.

    Raises:
        UsageError: the licence was not accepted.
        MedcliError: ``root`` cannot be the destination.
    """
    with refusals() as check:
        if not (dry_run or licence_accepted):
            check(check_licence, root, publication.ABOUT_HIP)
        check(check_output_folder, root, "--dest", may_write=not dry_run)


def find_connection(origin: UltrabonesOrigin) -> Connection | None:
    """The connection string to use, or None for the Hub.

    Raises:
        DataError: it cannot be read, is incomplete, expired, or does not allow reading and listing.
        UsageError: Azure was asked for, and no connection string is configured.
    """
    if origin.place is Place.HUB:
        return None
    text = os.environ.get(publication.CONNECTION_VARIABLE, "")
    if origin.connection_file:
        try:
            text = origin.connection_file.read_text(encoding="utf-8-sig")
        except (OSError, UnicodeDecodeError) as error:
            raise DataError(
                f"cannot read the connection string in {origin.connection_file}: {type(error).__name__}"
            ) from None
    hide_values(text)
    hide_values_in([text])
    if not text.strip():
        if origin.place is Place.AZURE or origin.connection_file:
            raise UsageError(
                "downloading from Azure needs the connection string that the dataset's page publishes",
                "put it into a file and name that with --connection-string-file, or set "
                f"{publication.CONNECTION_VARIABLE}",
            )
        return None
    connection = parse_connection(text)
    connection.check_usable()
    return connection
