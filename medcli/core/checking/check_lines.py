"""The findings of ``medcli check``: one line a check, for both datasets."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np

CheckState = Literal["ok", "warning", "wrong", "unknown"]
SAMPLE = 200
"""Frames or pairs that are looked into unless all are."""
_MOST_EXAMPLES = 5


@dataclass(frozen=True)
class CheckLine:
    """One check.

    Attributes:
        check: its name.
        state: ``ok``; ``warning``: usable, but to be known; ``wrong``; ``unknown``: the data do not say.
        figure: what was found, in numbers.
        advice: what to do, empty where there is nothing to do.
        examples: the first few places, with the reason.
        places: all of them.
    """

    check: str
    state: CheckState
    figure: str
    advice: str = ""
    examples: tuple[str, ...] = ()
    places: tuple[str, ...] = ()


@dataclass(frozen=True)
class DataCheck:
    """The answer of ``medcli check``.

    Attributes:
        dataset: its name.
        root: the folder.
        items: frames or pairs in it.
        looked_into: of these, how many were decoded and compared.
        seed: of the sample.
        lines: one a check.
        figure: the contact sheet, None if none was asked for.
        failures: the first places of what is wrong, ``check: place``, and how many more there are.
    """

    dataset: str
    root: Path
    items: int
    looked_into: int
    seed: int
    lines: tuple[CheckLine, ...]
    figure: Path | None = None
    failures: tuple[str, ...] = ()
    schema: str = "medcli.check.v1"


@dataclass
class Checklist:
    """Collects lines.

    Attributes:
        root: the data folder; places name files below it by their path from there, if it is given.
        lines: one a check.
    """

    root: Path | None = None
    lines: list[CheckLine] = field(default_factory=list)

    def add(
        self, check: str, figure: str, wrong: Iterable[str] = (), warn: Iterable[str] = (), advice: str = ""
    ) -> None:
        """Add a line whose state follows from what was found.

        Args:
            check: its name.
            figure: what was found.
            wrong, warn: places where something is wrong, or should be known, each with its reason.
            advice: what to do; dropped where nothing was found.
        """
        above = f"{self.root.absolute()}{os.sep}" if self.root else ""
        wrong, warn = ([place.replace(above, "") for place in places] for places in (wrong, warn))
        state: CheckState = "wrong" if wrong else "warning" if warn else "ok"
        places = tuple(wrong or warn)
        advice = advice if state != "ok" else ""
        self.lines.append(CheckLine(check, state, figure, advice, places[:_MOST_EXAMPLES], places))

    def unknown(self, check: str, figure: str, advice: str = "") -> None:
        """Add a line for what the data do not say."""
        self.lines.append(CheckLine(check, "unknown", figure, advice))

    def failures(self) -> tuple[str, ...]:
        """The first places of what is wrong, and how many more there are."""
        found = []
        for line in self.lines:
            if line.state == "wrong":
                more = len(line.places) - len(line.examples)
                found += [f"{line.check}: {text}" for text in line.examples]
                found += [f"{line.check}: and {more:,} more; --json lists all"] if more else []
        return tuple(found)


def draw_sample(count: int, wanted: int | None, seed: int) -> list[int]:
    """Ascending numbers below ``count``: ``wanted`` of them drawn with ``seed``; None: all."""
    if wanted is None or wanted >= count:
        return list(range(count))
    return sorted(np.random.default_rng(seed).choice(count, wanted, replace=False).tolist())


def some_of(number: int, total: object) -> str:
    """``none of 76``, ``2 of 76`` or ``all of 76``; ``total`` with a unit, too: ``2 of 76 pairs``."""
    word = "none" if number == 0 else "all" if str(total).split()[0] == f"{number:,}" else f"{number:,}"
    return f"{word} of {total:,}" if isinstance(total, int) else f"{word} of {total}"


def count_of(values: Sequence[object]) -> str:
    """How often each value occurs, most frequent first: ``950 x 811 (48), 884 x 829 (2)``."""
    counts = {value: values.count(value) for value in dict.fromkeys(values)}
    return ", ".join(f"{value} ({n:,})" for value, n in sorted(counts.items(), key=lambda pair: -pair[1])[:4])
