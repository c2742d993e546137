"""Download the published segmentation networks and convert them to medcli's own, safe format."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from medcli.core.errors import DataError, UsageError, quantity
from medcli.core.files import check_output_folder
from medcli.core.progress import SILENT, Progress
from medcli.sources.github import GitHubFiles
from medcli.sources.hub import HubRepository
from medcli.transfer.download import carry_out
from medcli.transfer.http import Http
from medcli.transfer.plan import Wanted
from medcli.transfer.protocol import RemoteSource, unreachable
from medcli.transfer.request import DownloadRequest, TransferOptions
from medcli.transfer.results import Downloaded, FileFailure, Planned, joined
from medcli.ultrabones.dataset import publication
from medcli.ultrabones.dataset.published_networks import DEFAULT_NETWORK, PUBLISHED_NETWORKS, PublishedNetwork

ALL = "all"
_POINTER_BYTES = 1000  # a Git LFS pointer has 130; no network is that small


@dataclass(frozen=True)
class WeightsFile:
    """One published network on this machine.

    Attributes:
        published: the file as published: a pickle, which is never loaded as one.
        checkpoint: the same weights in medcli's format.
        train_specimens: what it was trained on; None where the authors do not say.
    """

    name: str
    published: Path
    checkpoint: Path
    train_specimens: tuple[int, ...] | None


@dataclass(frozen=True)
class Weights:
    """Where the networks are.

    Attributes:
        published, checkpoint: of the first of them.
        networks: all of them.
        download: how the files came.
    """

    published: Path
    checkpoint: Path
    networks: list[WeightsFile]
    download: Downloaded
    failures: list[FileFailure] = field(default_factory=list)
    schema: str = "medcli.download-weights.v1"


def download_weights(
    root: Path,
    name: str = DEFAULT_NETWORK,
    revision: str | None = None,
    options: TransferOptions | None = None,
    dry_run: bool = False,
    progress: Progress = SILENT,
) -> Weights | Planned:
    """Bring published networks to ``root``, verified, and convert them, one after the other.

    Args:
        name: one of :data:`~medcli.ultrabones.dataset.published_networks.PUBLISHED_NETWORKS`, or ``all``.
        revision: branch, tag or commit of the network's repository; None takes its default branch.

    Raises:
        UsageError: no such network, or one ``revision`` for the repositories of several.
        DataError: a repository cannot be reached or has no such file, or the file is not such a checkpoint; networks
            that came before it stay.
    """
    networks = check_weights_request(root, name, revision, dry_run)
    request = DownloadRequest(root, publication.ABOUT_WEIGHTS, options or TransferOptions(), dry_run, progress)
    plans: list[Planned] = []
    files: list[WeightsFile] = []
    downloads: list[Downloaded] = []
    for network in networks:
        done = carry_out([_find(network, revision, request.client())], request)
        if isinstance(done, Planned):
            plans.append(done)
        else:
            downloads.append(done)
            files.append(_convert(network, root, done))
    if plans:
        return joined(plans)
    download = joined(downloads)
    return Weights(files[0].published, files[0].checkpoint, files, download, download.failures)


def check_weights_request(
    root: Path, name: str, revision: str | None, dry_run: bool = False
) -> Sequence[PublishedNetwork]:
    """The networks that ``name`` means, after the checks that need no network.

    Raises:
        UsageError, MedcliError: see :func:`download_weights`; or ``root`` cannot be the destination.
    """
    if name not in (*PUBLISHED_NETWORKS, ALL):
        raise UsageError(f"no published network '{name}'", f"one of {', '.join((*PUBLISHED_NETWORKS, ALL))}")
    if name == ALL and revision:
        raise UsageError("--revision is of one repository, and the networks are in several", "name one with --name")
    check_output_folder(root, "--dest", may_write=not dry_run)
    return list(PUBLISHED_NETWORKS.values()) if name == ALL else [PUBLISHED_NETWORKS[name]]


def _find(network: PublishedNetwork, revision: str | None, http: Http) -> tuple[RemoteSource, list[Wanted]]:
    """The repository of a network, and its file in it.

    Raises:
        DataError: the repository cannot be reached or has no such file.
    """
    source: HubRepository | GitHubFiles
    with unreachable("check --revision"):
        if network.host == "hub":
            source = HubRepository(network.repository, "model", revision or "main", http)
        else:
            source = GitHubFiles(network.repository, revision or "HEAD", network.path.rpartition("/")[0], http)
        entries = [entry for entry in source.list() if entry.name == network.path]
    others = [one.name for one in PUBLISHED_NETWORKS.values() if one != network]
    hint = f"name another --revision, or another network: --name {' or '.join(others)}"
    if not entries:
        raise DataError(f"{source.address} has no {network.path}", hint)
    if entries[0].size < _POINTER_BYTES:
        raise DataError(
            f"{network.path} in {source.address} has only {quantity(entries[0].size, 'byte')}: no network", hint
        )
    return source, [Wanted(network.file, entries[0], None, "weights", "models")]


def _convert(network: PublishedNetwork, root: Path, done: Downloaded) -> WeightsFile:
    published = root / network.file
    checkpoint = published.with_suffix(".safetensors")
    if not done.failures and (done.fetched_files or not checkpoint.is_file()):
        from medcli.ultrabones.segmentation.checkpoint import convert_checkpoint

        convert_checkpoint(published, checkpoint, overwrite=True)
    return WeightsFile(network.name, published, checkpoint, network.train)
