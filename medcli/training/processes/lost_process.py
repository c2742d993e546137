"""Several processes train together and one of them ends: what the others say, instead of what their library does."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from medcli.core.errors import MedcliError

_LIBRARIES = ("gloo", "NCCL", "nccl")


@contextmanager
def lost_process_named(processes: int, out: Path) -> Iterator[None]:
    """Turn the errors of a broken connection to another process of the training into one line.

    Args:
        processes: of the run; one alone has no connection to lose.
        out: the run's folder.

    Raises:
        MedcliError: another process ended.
    """
    try:
        yield
    except RuntimeError as error:
        if processes < 2 or not _is_lost_connection(error):
            raise
        raise MedcliError(
            "another process of this training ended or cannot be reached any more",
            f"the epochs done are in {out}: run the same command again to resume; its own output says why it ended",
        ) from error


def _is_lost_connection(error: RuntimeError) -> bool:
    from torch import distributed

    return isinstance(error, distributed.DistError) or any(name in str(error) for name in _LIBRARIES)
