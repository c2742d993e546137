"""Say everything that is missing at once, before a command loads what it computes with.

A command makes its cheap checks in one block; whatever they raise is raised together at the end of the block::

    with refusals() as check:
        check(check_gpus, settings)
        newest = check(find_newest, runs, "seg")

A check reads names, headers and options only. It imports none of torch, numba, cv2, pandas and numpy: a refusal
takes as long as ``--help`` (``tests/benchmarks/bench_help.py``). What a check cannot see, the command itself finds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import ParamSpec, TypeVar

from medcli.core.errors import MedcliError, SeveralProblems

Arguments = ParamSpec("Arguments")
Answer = TypeVar("Answer")


class Refusals:
    """Calls checks, and keeps the errors that they raise."""

    def __init__(self) -> None:
        self.problems: list[MedcliError] = []

    def __call__(
        self, check: Callable[Arguments, Answer], *args: Arguments.args, **options: Arguments.kwargs
    ) -> Answer | None:
        """What ``check`` returns; None if it raised a :class:`MedcliError`, which is kept."""
        try:
            return check(*args, **options)
        except MedcliError as error:
            self.problems += error.problems
            return None

    @property
    def lines(self) -> tuple[str, ...]:
        """What was found, one line each: the message and what to do next."""
        return tuple(dict.fromkeys("; ".join(filter(None, (one.message, one.hint))) for one in self.problems))

    def raise_found(self) -> None:
        """Raise what was found: one problem as it is, several together.

        Raises:
            MedcliError: the only problem.
            SeveralProblems: all of them, each message once.
        """
        problems = list({problem.message: problem for problem in self.problems}.values())
        if len(problems) == 1:
            raise problems[0]
        if problems:
            raise SeveralProblems(problems)


@contextmanager
def refusals() -> Iterator[Refusals]:
    """Collect the problems of a block and raise them at its end, see :meth:`Refusals.raise_found`."""
    found = Refusals()
    yield found
    found.raise_found()
