"""The contents of a data folder, as reported for both datasets."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from medcli.core.shell import Proposal, spell


@dataclass
class DataFolder:
    """What a data folder holds.

    Attributes:
        name: the dataset.
        root: the folder.
        found: what is there, in words or counts.
        problems: what is missing or wrong, one line each.
        proposals: the commands that complete it or come next.
        usable: UltraBones100k: specimens with labelled and tracked frames, by kind of label.
    """

    name: str
    root: Path
    found: dict[str, int | str] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    proposals: list[Proposal] = field(default_factory=list)
    usable: dict[str, list[int]] = field(default_factory=dict)

    def propose(self, step: str, why: str, *words: object) -> None:
        """Add ``medcli STEP WORDS`` to the proposals."""
        self.proposals.append(Proposal(spell("medcli", step, *words), why, step))

    def as_lines(self) -> Iterator[str]:
        """Name, what is there, what is wrong."""
        yield f"{self.name} in {self.root}"
        yield from (f"  {name}: {value}" for name, value in self.found.items())
        yield from (f"  problem: {problem}" for problem in self.problems)
