"""``medcli download``."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import Annotated, Any

import typer

from medcli.cli.shared import options
from medcli.cli.shared.download_output import (
    AcceptLicense,
    Retries,
    Revision,
    Timeout,
    Verify,
    Workers,
    ask_for_licence,
    finish_download,
    folder_to_fill,
    show_downloaded,
    transfer_options,
    verify_download,
)
from medcli.cli.shared.multi_value_options import App
from medcli.cli.shared.output import Output
from medcli.ultrabones.dataset.publication import Anatomy, ExamplePart, FileKind, Place
from medcli.ultrabones.dataset.published_networks import DEFAULT_NETWORK, PUBLISHED_NETWORKS, UNKNOWN_TRAINING
from medcli.veriserum.dataset.publication import Part

app = App()

ExampleParts = Annotated[
    list[ExamplePart] | None, typer.Option(metavar="PART", help="Only the record, or only the images.")
]


def _names(kinds: type[Enum]) -> str:
    return ", ".join(str(item.value) for item in kinds)


Anatomies = Annotated[list[Anatomy] | None, typer.Option(metavar="NAME", help=f"Only these bones: {_names(Anatomy)}.")]
Kinds = Annotated[
    list[FileKind] | None,
    typer.Option(metavar="KIND", help=f"Only these kinds of files: {_names(FileKind)}."),
]
Parts = Annotated[list[Part] | None, typer.Option(metavar="PART", help=f"Only these parts: {_names(Part)}.")]


@app.command("ultrabones")
def ultrabones(
    output: Output,
    dest: Annotated[Path, folder_to_fill("MEDCLI_ULTRABONES_ROOT")] = options.ULTRABONES_ROOT,
    specimens: options.Specimens = None,
    anatomies: Anatomies = None,
    records: options.Records = None,
    only: Kinds = None,
    source: Annotated[
        Place, typer.Option(help="auto is azure when a connection string is set, else hub.")
    ] = Place.AUTO,
    connection_string_file: Annotated[
        Path | None,
        typer.Option(help="File with the Azure connection string.  [default: $MEDCLI_ULTRABONES_CONNECTION_STRING]"),
    ] = None,
    container: Annotated[
        str | None, typer.Option(help="Azure container.  [default: the one that contains the data]")
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
        verify_download(output, dest, workers)
        return
    from medcli.ultrabones.download.connection import UltrabonesOrigin, check_download

    origin = UltrabonesOrigin(source, connection_string_file, container, revision)
    check_download(dest, origin, dry_run)
    from medcli.ultrabones.download.download import UltrabonesSelection, download_ultrabones

    selection = UltrabonesSelection(specimens or (), anatomies or (), records or (), only or ())
    transfer = transfer_options(workers, timeout, retries)
    finish_download(output, download_ultrabones(dest, selection, origin, transfer, dry_run, output.progress()))


@app.command("ultrabones-hip")
def ultrabones_hip(
    output: Output,
    dest: Annotated[Path, folder_to_fill("MEDCLI_ULTRABONES_HIP_ROOT")] = options.ULTRABONES_HIP_ROOT,
    specimens: options.Specimens = None,
    records: options.Records = None,
    only: Kinds = None,
    revision: Revision = "main",
    accept_license: AcceptLicense = False,
    workers: Workers = 8,
    timeout: Timeout = 30.0,
    retries: Retries = 5,
    dry_run: options.DryRun = False,
    verify: Verify = False,
) -> None:
    """Download UltraBonesHip (femurs and pelves), or a part of it.

    About 34 GB in all; licence CC BY-NC 4.0: it must be accepted once. Files are taken out of the published archive one
    by one. label, reconstruct and predict read them with --root data/ultrabones-hip.

    \b
    See how much it is, then bring one specimen:
      medcli download ultrabones-hip --dry-run
      medcli download ultrabones-hip --specimens 2 --accept-license
    """
    if verify:
        verify_download(output, dest, workers)
        return
    from medcli.transfer.destination import is_licence_accepted
    from medcli.ultrabones.dataset.publication import ABOUT_HIP
    from medcli.ultrabones.download.connection import check_hip_download

    accepted = accept_license or dry_run or is_licence_accepted(dest)
    accepted = accepted or ask_for_licence(ABOUT_HIP.dataset, ABOUT_HIP.licence)
    check_hip_download(dest, accepted, dry_run)
    from medcli.ultrabones.download.download import UltrabonesSelection, download_ultrabones_hip

    selection = UltrabonesSelection(specimens or (), (), records or (), only or ())
    transfer = transfer_options(workers, timeout, retries)
    finish_download(
        output, download_ultrabones_hip(dest, selection, accepted, revision, transfer, dry_run, output.progress())
    )


@app.command("weights")
def weights(
    output: Output,
    dest: Annotated[Path, folder_to_fill("MEDCLI_WEIGHTS_ROOT")] = options.WEIGHTS_ROOT,
    name: Annotated[str, options.choice(PUBLISHED_NETWORKS, "all")] = DEFAULT_NETWORK,
    revision: Annotated[
        str | None,
        typer.Option(help="Branch, tag or commit of its repository.  [default: the default branch]"),
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
        verify_download(output, dest, 1)
        return
    from medcli.ultrabones.download.published_weights import Weights, download_weights

    transfer = transfer_options(1, timeout, retries)
    done = download_weights(dest, name, revision, transfer, dry_run, output.progress())
    if not isinstance(done, Weights):
        finish_download(output, done)
        return
    output.finish(done, lambda result: _show_weights(output, result))


@app.command("examples")
def examples(
    output: Output,
    dest: Annotated[Path, folder_to_fill("MEDCLI_EXAMPLES_ROOT")] = options.EXAMPLES_ROOT,
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
        verify_download(output, dest, workers)
        return
    from medcli.ultrabones.download.examples import download_examples

    transfer = transfer_options(workers, timeout, retries)
    finish_download(output, download_examples(dest, only or (), transfer, dry_run, output.progress()))


@app.command("veriserum")
def veriserum(
    output: Output,
    dest: Annotated[Path, folder_to_fill("MEDCLI_VERISERUM_ROOT")] = options.VERISERUM_ROOT,
    only: Parts = None,
    ids: options.Ids = None,
    base_url: Annotated[
        str | None,
        typer.Option(
            help="Address of the repository.  [default: the ETH Research Collection]", envvar="MEDCLI_VERISERUM_URL"
        ),
    ] = None,
    item: Annotated[
        str | None,
        typer.Option(help="Its item: UUID, handle or DOI.  [default: Veriserum's]", envvar="MEDCLI_VERISERUM_ITEM"),
    ] = None,
    accept_license: AcceptLicense = False,
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
        verify_download(output, dest, workers)
        return
    from medcli.transfer.destination import is_licence_accepted
    from medcli.veriserum.dataset.download_selection import (
        VeriserumOrigin,
        VeriserumSelection,
        check_veriserum_download,
    )
    from medcli.veriserum.dataset.publication import ABOUT, BASE_URL, ITEM

    accepted = accept_license or dry_run or is_licence_accepted(dest) or ask_for_licence(ABOUT.dataset, ABOUT.licence)
    selection = VeriserumSelection(only or (), options.id_filter(ids) or ())
    origin = VeriserumOrigin(base_url or BASE_URL, item or ITEM)
    check_veriserum_download(dest, selection, origin, accepted, dry_run)
    from medcli.veriserum.download import download_veriserum

    transfer = transfer_options(workers, timeout, retries)
    finish_download(output, download_veriserum(dest, selection, origin, accepted, transfer, dry_run, output.progress()))


def _show_weights(output: Output, result: Any) -> None:
    show_downloaded(output, result.download)
    for network in result.networks:
        output.line()
        train = network.train_specimens
        trained = f"specimens {' '.join(map(str, train))}" if train else UNKNOWN_TRAINING
        output.pairs({"checkpoint": network.checkpoint, "trained on": trained})
