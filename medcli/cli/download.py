"""``medcli download``."""

from __future__ import annotations

import sys
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from medcli.cli.shared import options
from medcli.cli.shared.multi_value_options import App
from medcli.cli.shared.output import Output
from medcli.core.errors import quantity
from medcli.ultrabones.dataset.publication import Anatomy, ExamplePart, FileKind, Place
from medcli.ultrabones.dataset.published_networks import DEFAULT_NETWORK, PUBLISHED_NETWORKS, UNKNOWN_TRAINING
from medcli.veriserum.dataset.publication import Part

if TYPE_CHECKING:
    from medcli.transfer.request import TransferOptions
    from medcli.transfer.results import Downloaded, Planned, Verified

app = App()

Workers = Annotated[
    int, typer.Option("--workers", min=1, max=64, help="Parallel connections.", envvar="MEDCLI_DOWNLOAD_WORKERS")
]
Timeout = Annotated[
    float, typer.Option("--timeout", min=0.1, help="Seconds without a byte after which a connection is given up.")
]
Retries = Annotated[
    int,
    typer.Option(
        "--retries",
        min=0,
        max=100,
        help="Further tries in a row that bring nothing or under 6,000 bytes a minute.",
    ),
]
Verify = Annotated[bool, typer.Option("--verify", help="Check the folder against its manifest; uses no network.")]
Revision = Annotated[str, typer.Option("--revision", help="Branch, tag or commit on the Hub.")]
ExampleParts = Annotated[
    list[ExamplePart] | None, typer.Option("--only", metavar="PART", help="Only the record, or only the images.")
]


def _names(kinds: type[Enum]) -> str:
    return ", ".join(str(item.value) for item in kinds)


Anatomies = Annotated[
    list[Anatomy] | None, typer.Option("--anatomies", metavar="NAME", help=f"Only these bones: {_names(Anatomy)}.")
]
Kinds = Annotated[
    list[FileKind] | None,
    typer.Option("--only", metavar="KIND", help=f"Only these kinds of files: {_names(FileKind)}."),
]
Parts = Annotated[list[Part] | None, typer.Option("--only", metavar="PART", help=f"Only these parts: {_names(Part)}.")]


@app.command("ultrabones")
def ultrabones(
    output: Output,
    dest: Annotated[
        Path, typer.Option("--dest", help="Folder to fill.", envvar="MEDCLI_ULTRABONES_ROOT")
    ] = options.ULTRABONES_ROOT,
    specimens: options.Specimens = None,
    anatomies: Anatomies = None,
    records: options.Records = None,
    only: Kinds = None,
    source: Annotated[
        Place, typer.Option("--source", help="auto is azure when a connection string is set, else hub.")
    ] = Place.AUTO,
    connection_string_file: Annotated[
        Path | None,
        typer.Option(
            "--connection-string-file",
            help="File with the Azure connection string.  [default: $MEDCLI_ULTRABONES_CONNECTION_STRING]",
        ),
    ] = None,
    container: Annotated[
        str | None, typer.Option("--container", help="Azure container.  [default: the one that contains the data]")
    ] = None,
    revision: Revision = "main",
    workers: Workers = 8,
    timeout: Timeout = 30.0,
    retries: Retries = 5,
    dry_run: options.DryRun = False,
    verify: Verify = False,
) -> None:
    """Download UltraBones100k, or a part of it.

    About 42 GB in all; licence CC BY 4.0. The same command again brings only what is missing.

    \b
    See how much it is, then bring the test specimens:
      medcli download ultrabones --dry-run
      medcli download ultrabones --specimens 2 7 8
    """
    if verify:
        _verify(output, dest, workers)
        return
    from medcli.ultrabones.download.connection import UltrabonesOrigin, check_download

    origin = UltrabonesOrigin(source, connection_string_file, container, revision)
    check_download(dest, origin, dry_run)
    from medcli.ultrabones.download.download import UltrabonesSelection, download_ultrabones

    selection = UltrabonesSelection(specimens or (), anatomies or (), records or (), only or ())
    transfer = _transfer_options(workers, timeout, retries)
    _finish(output, download_ultrabones(dest, selection, origin, transfer, dry_run, output.progress()))


@app.command("weights")
def weights(
    output: Output,
    dest: Annotated[
        Path, typer.Option("--dest", help="Folder to fill.", envvar="MEDCLI_WEIGHTS_ROOT")
    ] = options.WEIGHTS_ROOT,
    name: Annotated[str, options.choice("--name", PUBLISHED_NETWORKS, "all")] = DEFAULT_NETWORK,
    revision: Annotated[
        str | None,
        typer.Option("--revision", help="Branch, tag or commit of its repository.  [default: the default branch]"),
    ] = None,
    timeout: Timeout = 30.0,
    retries: Retries = 5,
    dry_run: options.DryRun = False,
    verify: Verify = False,
) -> None:
    """Download the published segmentation networks.

    They are converted to medcli's format, without executing anything that is in them.

    \b
    The network of the published result, which never saw specimens 2 7 8:
      medcli download weights --name epoch_100
      medcli benchmark seg --checkpoint data/weights/epoch_100.safetensors
    """
    if verify:
        _verify(output, dest, 1)
        return
    from medcli.ultrabones.download.published_weights import Weights, download_weights

    transfer = _transfer_options(1, timeout, retries)
    done = download_weights(dest, name, revision, transfer, dry_run, output.progress())
    if not isinstance(done, Weights):
        _finish(output, done)
        return
    output.finish(done, lambda result: _show_weights(output, result))


@app.command("examples")
def examples(
    output: Output,
    dest: Annotated[
        Path, typer.Option("--dest", help="Folder to fill.", envvar="MEDCLI_EXAMPLES_ROOT")
    ] = options.EXAMPLES_ROOT,
    only: ExampleParts = None,
    workers: Workers = 8,
    timeout: Timeout = 30.0,
    retries: Retries = 5,
    dry_run: options.DryRun = False,
    verify: Verify = False,
) -> None:
    """Download the public example frames of UltraBones100k.

    One tracked sweep along a fibula (about 1,110 frames) with its CT mesh, split by time into specimens 90 and 91, and
    135 single images of all specimens; licence CC BY 4.0. To train on it, label it first.

    \b
      medcli download examples
      medcli label ultrabones --root data/examples
    """
    if verify:
        _verify(output, dest, workers)
        return
    from medcli.ultrabones.download.examples import download_examples

    transfer = _transfer_options(workers, timeout, retries)
    _finish(output, download_examples(dest, only or (), transfer, dry_run, output.progress()))


@app.command("veriserum")
def veriserum(
    output: Output,
    dest: Annotated[
        Path, typer.Option("--dest", help="Folder to fill.", envvar="MEDCLI_VERISERUM_ROOT")
    ] = options.VERISERUM_ROOT,
    only: Parts = None,
    ids: options.Ids = None,
    base_url: Annotated[
        str | None,
        typer.Option(
            "--base-url",
            help="Address of the repository.  [default: the ETH Research Collection]",
            envvar="MEDCLI_VERISERUM_URL",
        ),
    ] = None,
    item: Annotated[
        str | None,
        typer.Option(
            "--item", help="Its item: UUID, handle or DOI.  [default: Veriserum's]", envvar="MEDCLI_VERISERUM_ITEM"
        ),
    ] = None,
    accept_license: Annotated[
        bool, typer.Option("--accept-license", help="Accept the licence: non-commercial use only.")
    ] = False,
    workers: Workers = 8,
    timeout: Timeout = 30.0,
    retries: Retries = 5,
    dry_run: options.DryRun = False,
    verify: Verify = False,
) -> None:
    """Download Veriserum, or a part of it.

    Licence: In Copyright - Non-Commercial Use Permitted; it must be accepted once.

    \b
    The tables, and the first thousand pairs of images:
      medcli download veriserum --only csv --accept-license
      medcli download veriserum --only images --ids 1-1000
    """
    if verify:
        _verify(output, dest, workers)
        return
    from medcli.veriserum.dataset.download_selection import (
        VeriserumOrigin,
        VeriserumSelection,
        check_veriserum_download,
        is_licence_accepted,
    )
    from medcli.veriserum.dataset.publication import ABOUT, BASE_URL, ITEM

    accepted = accept_license or dry_run or is_licence_accepted(dest) or _ask_for_licence(ABOUT.licence)
    selection = VeriserumSelection(only or (), options.id_filter(ids) or ())
    origin = VeriserumOrigin(base_url or BASE_URL, item or ITEM)
    check_veriserum_download(dest, selection, origin, accepted, dry_run)
    from medcli.veriserum.download import download_veriserum

    transfer = _transfer_options(workers, timeout, retries)
    _finish(output, download_veriserum(dest, selection, origin, accepted, transfer, dry_run, output.progress()))


def _transfer_options(workers: int, timeout: float, retries: int) -> TransferOptions:
    from medcli.transfer.request import TransferOptions
    from medcli.transfer.retry_policy import RetryPolicy

    return TransferOptions(workers, RetryPolicy(tries=retries + 1, stall_s=timeout, connect_s=min(15.0, timeout)))


def _ask_for_licence(licence: str) -> bool:
    """Ask at a terminal; elsewhere the answer is no, and the error explains how to accept."""
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        return False
    typer.echo(f"Licence of Veriserum: {licence}", err=True)
    return typer.confirm("Do you accept it?", err=True)


def _verify(output: Output, dest: Path, workers: int) -> None:
    from medcli.transfer.verification import verify_folder

    output.finish(verify_folder(dest, workers, output.progress()), lambda result: _show_verified(output, result))


def _finish(output: Output, result: Any) -> None:
    from medcli.transfer.results import Planned

    show = _show_planned if isinstance(result, Planned) else _show_downloaded
    output.finish(result, lambda shown: show(output, shown))


def _show_planned(output: Output, plan: Planned) -> None:
    from medcli.transfer.plan import gigabytes

    rows = [
        (row.group, row.kind, row.files, gigabytes(row.bytes), row.missing_files, gigabytes(row.missing_bytes))
        for row in plan.rows
    ]
    header = ("", "kind", "files", "size", "missing", "size")
    if not any(row.group for row in plan.rows):
        rows, header = [row[1:] for row in rows], header[1:]  # type: ignore[misc,assignment]
    output.table(header, rows)
    output.line()
    output.pairs(
        {
            "from": ", ".join(plan.sources),
            "to": plan.dest,
            "files": f"{plan.files:,} ({gigabytes(plan.bytes)}), of these missing {plan.missing_files:,}",
            "to fetch": gigabytes(plan.network_bytes),
            "disk": f"{gigabytes(plan.disk_bytes)} needed and {gigabytes(plan.reserve_bytes)} left free, "
            f"{gigabytes(plan.free_bytes)} free now",
            "licence": plan.licence,
        }
    )


def _show_downloaded(output: Output, done: Downloaded) -> None:
    from medcli.transfer.plan import gigabytes

    here = done.files - sum(failure.files for failure in done.failures)
    verified = f"{here - done.size_only_files:,} by checksum"
    if done.size_only_files:
        verified += f", {done.size_only_files:,} by size only (the source gives no checksum)"
    output.pairs(
        {
            "from": ", ".join(done.sources),
            "to": done.dest,
            "files": f"{here:,} of {done.files:,} ({gigabytes(done.bytes)})",
            "reused": f"{done.reused_files:,} ({gigabytes(done.reused_bytes)})",
            "fetched": f"{done.fetched_files:,} ({gigabytes(done.moved_bytes)} moved)",
            "verified": verified,
            "licence": done.licence,
            "cite": done.citation,
        }
    )


def _show_weights(output: Output, result: Any) -> None:
    _show_downloaded(output, result.download)
    for network in result.networks:
        output.line()
        train = network.train_specimens
        trained = f"specimens {' '.join(map(str, train))}" if train else UNKNOWN_TRAINING
        output.pairs({"checkpoint": network.checkpoint, "trained on": trained})


def _show_verified(output: Output, found: Verified) -> None:
    from medcli.transfer.plan import gigabytes

    output.line(
        f"{found.dest}: {found.files - len(found.failures):,} of {quantity(found.files, 'file')} "
        f"({gigabytes(found.bytes)}) "
        "are as recorded"
    )
