"""A checkpoint with its model card on the Hugging Face Hub (``medcli publish checkpoint``).

Nothing is sent unless it is asked for. The token is that of the variable ``HF_TOKEN``, and of no file. Uploads are made
by huggingface_hub; what is there already is listed by :mod:`medcli.sources.hub`, which sends the token to the Hub only.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from medcli.core.errors import MedcliError, UsageError
from medcli.core.files import read_whole
from medcli.core.secrets import redact
from medcli.interchange.model_card import (
    EVALUATION,
    CardedCheckpoint,
    missing_sources,
    read_carded,
    read_evaluations,
    write_card,
)
from medcli.interchange.notes import TOKEN_VARIABLE, check_repository, token_of_environment
from medcli.sources.hub import HubRepository
from medcli.transfer.http import Http
from medcli.transfer.protocol import Fault, Missing
from medcli.transfer.retry_policy import RetryPolicy

CARD = "README.md"
FILE = "model.safetensors"


@dataclass(frozen=True)
class PublishedCheckpoint:
    """The answer of ``medcli publish checkpoint``.

    Attributes:
        files: name in the repository -> bytes.
        trained_on, licence: as the card says.
        protocols: of the evaluations in the card.
        card: its text.
        sent: whether it was sent; else this is what would be.
        address: of the repository; ``commit``: that was made.
    """

    checkpoint: Path
    repository: str
    private: bool
    files: dict[str, int]
    trained_on: str
    licence: str
    protocols: tuple[str, ...]
    card: str
    sent: bool
    address: str
    commit: str = ""
    warnings: tuple[str, ...] = field(default=())
    schema: str = "medcli.publish-checkpoint.v1"


def publish_checkpoint(
    checkpoint: Path,
    repository: str,
    evaluation: Path | None = None,
    private: bool = False,
    push: bool = False,
    overwrite: bool = False,
    quiet: bool = False,
) -> PublishedCheckpoint:
    """Write the card of a checkpoint, and send both if ``push``.

    Args:
        repository: ``owner/name``, made if it is not there.
        evaluation: folder of ``medcli evaluate``, whose figures the card shows.
        private: whether a repository that is made is private.
        overwrite: replace a checkpoint that is there.
        quiet: no progress of the upload.

    Raises:
        DataError: the file is no checkpoint that says what it was trained on, or the evaluation is of another one.
        UsageError: no token, or the repository has another checkpoint already.
        MedcliError: the Hub refuses.
    """
    check_repository(repository)
    carded = read_carded(checkpoint)
    results = read_evaluations(evaluation, carded)
    card = redact(write_card(carded, repository, results, FILE))
    files: dict[str, Path | bytes] = {CARD: card.encode(), FILE: checkpoint}
    if evaluation is not None:
        files[EVALUATION] = read_whole(evaluation / EVALUATION if evaluation.is_dir() else evaluation)
    sizes = {name: len(one) if isinstance(one, bytes) else one.stat().st_size for name, one in files.items()}
    address, commit = f"{_endpoint()}/{repository}", ""
    if push:
        token = token_of_environment()
        is_there = _check_content(repository, overwrite)
        commit = _send(repository, files, None if is_there else private, token, _message(carded), quiet)
    return PublishedCheckpoint(
        checkpoint=checkpoint,
        repository=repository,
        private=private,
        files=sizes,
        trained_on=carded.trained_on,
        licence=carded.licence,
        protocols=tuple(results),
        card=card,
        sent=push,
        address=address,
        commit=commit,
        warnings=_warnings(carded, results, missing_sources(evaluation, results)),
    )


def _warnings(carded: CardedCheckpoint, results: Mapping[str, Any], missing: Sequence[str]) -> tuple[str, ...]:
    lines = []
    if "unknown" in carded.trained_on:
        lines.append(
            "nobody can tell what it was trained on: state it with medcli checkpoint convert --train-specimens"
        )
    if not results:
        lines.append("the card has no figures: name an evaluation with --evaluation")
    for source in missing:
        lines.append(
            f"the evaluation is of {source}, which is not there: only its name says that it is this checkpoint"
        )
    if "Non-Commercial" in carded.licence:
        lines.append("it was trained on data for non-commercial use: the card says so, check that you may publish it")
    return tuple(lines)


def _endpoint() -> str:
    return (os.environ.get("HF_ENDPOINT") or "https://huggingface.co").rstrip("/")


def _message(carded: CardedCheckpoint) -> str:
    return f"{carded.kind} network, trained on {carded.trained_on}"[:200]


def _check_content(repository: str, overwrite: bool) -> bool:
    """Whether a repository is there; one with a checkpoint is refused."""
    try:
        there = {entry.name for entry in HubRepository(repository, "model", "main", Http(RetryPolicy(tries=2))).list()}
    except Missing:
        return False
    except Fault as error:
        raise MedcliError(f"cannot see what is in {repository}: {error}", "check the name, and HF_TOKEN") from None
    if FILE in there and not overwrite:
        raise UsageError(
            f"{repository} has a {FILE} already", "use --overwrite to replace it: the Hub keeps the old one"
        )
    return True


def _send(
    repository: str, files: Mapping[str, Path | bytes], private: bool | None, token: str, message: str, quiet: bool
) -> str:
    """The commit that was made: all files in one, so that no reader finds half of them.

    Args:
        private: of the repository, which is made; None: it is there.
    """
    from huggingface_hub import CommitOperationAdd, HfApi
    from huggingface_hub.errors import HfHubHTTPError
    from huggingface_hub.utils import disable_progress_bars

    if quiet:
        disable_progress_bars()
    api = HfApi(endpoint=_endpoint(), token=token)
    try:
        if private is not None:
            api.create_repo(repository, private=private)
        operations = [
            CommitOperationAdd(name, str(one) if isinstance(one, Path) else one) for name, one in files.items()
        ]
        made = api.create_commit(repository, operations, commit_message=message)
    except HfHubHTTPError as error:
        status = getattr(error.response, "status_code", None)
        hint = f"{TOKEN_VARIABLE} may not write there" if status in (401, 403) else "try again"
        raise MedcliError(f"the Hub refused {repository}: status {status}", hint) from None
    except Exception as error:  # of whichever library this version of huggingface_hub sends with
        if not type(error).__module__.startswith(("httpx", "httpcore", "requests", "urllib3")):
            raise
        raise MedcliError(f"the Hub cannot be reached: {type(error).__name__} {error}", "try again") from None
    return str(made.oid)
