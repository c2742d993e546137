"""What the download commands share: options, the question for a licence, and what they print."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from medcli.cli.shared.output import Output
from medcli.core.errors import quantity

if TYPE_CHECKING:
    from medcli.transfer.request import TransferOptions
    from medcli.transfer.results import Downloaded, Planned, Verified


def folder_to_fill(variable: str) -> Any:
    """The option ``--dest`` of a dataset; ``variable`` of the environment names its folder for all commands."""
    return typer.Option(help="Folder to fill.", envvar=variable)


Workers = Annotated[int, typer.Option(min=1, max=64, help="Parallel connections.", envvar="MEDCLI_DOWNLOAD_WORKERS")]
Timeout = Annotated[float, typer.Option(min=0.1, help="Seconds without a byte after which a connection is given up.")]
Retries = Annotated[
    int,
    typer.Option(min=0, max=100, help="Further tries in a row that bring nothing or under 6,000 bytes a minute."),
]
Verify = Annotated[bool, typer.Option(help="Check the folder against its manifest; uses no network.")]
Revision = Annotated[str, typer.Option(help="Branch, tag or commit on the Hub.")]
AcceptLicense = Annotated[bool, typer.Option(help="Accept the licence: non-commercial use only.")]


def transfer_options(workers: int, timeout: float, retries: int) -> TransferOptions:
    from medcli.transfer.request import TransferOptions
    from medcli.transfer.retry_policy import RetryPolicy

    return TransferOptions(workers, RetryPolicy(tries=retries + 1, stall_s=timeout, connect_s=min(15.0, timeout)))


def ask_for_licence(dataset: str, licence: str) -> bool:
    """Ask at a terminal; elsewhere the answer is no, and the error explains how to accept."""
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        return False
    typer.echo(f"Licence of {dataset}: {licence}", err=True)
    return typer.confirm("Do you accept it?", err=True)


def verify_download(output: Output, dest: Path, workers: int) -> None:
    from medcli.transfer.verification import verify_folder

    output.finish(verify_folder(dest, workers, output.progress()), lambda result: _show_verified(output, result))


def finish_download(output: Output, result: Any) -> None:
    from medcli.transfer.results import Planned

    show = _show_planned if isinstance(result, Planned) else show_downloaded
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


def show_downloaded(output: Output, done: Downloaded) -> None:
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


def _show_verified(output: Output, found: Verified) -> None:
    from medcli.transfer.plan import gigabytes

    output.line(
        f"{found.dest}: {found.files - len(found.failures):,} of {quantity(found.files, 'file')} "
        f"({gigabytes(found.bytes)}) "
        "are as recorded"
    )
