"""Commands for the user to type: what ``medcli info`` proposes, as text that a shell takes as it is."""

from __future__ import annotations

import os
import shlex
import subprocess
from dataclasses import dataclass


@dataclass(frozen=True)
class Proposal:
    """What to do next.

    Attributes:
        command: can be typed as it is in the folder in which it was proposed.
        why: what it does, in a few words.
        step: the verb, for those who choose among proposals.
    """

    command: str
    why: str
    step: str = ""


def spell(*words: object) -> str:
    """Words as one command line; those with spaces are quoted as the system's shell wants it."""
    texts = [str(word) for word in words]
    return subprocess.list2cmdline(texts) if os.name == "nt" else shlex.join(texts)
