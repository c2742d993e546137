"""A command that runs others of this command line, in this process: ``medcli demo``, ``medcli runs repeat``."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from medcli.cli.shared import options
from medcli.cli.shared.output import Output
from medcli.core.progress import Progress


class CommandRunner(Output):
    """Runs commands of this command line; keeps what they answer, instead of printing it."""

    def __init__(self, ctx: Any, output: Output) -> None:
        super().__init__(True, output.quiet, output.verbose)
        self.ctx, self.bars, self.answer = ctx, output.progress(), None

    def run(self, words: Sequence[str | Path]) -> Any:
        """The dataclass that the command of these words answers."""
        command = self.ctx.find_root().command
        with options.printed_by(self), command.make_context("medcli", list(map(str, words))) as ctx:
            command.invoke(ctx)
        return self.answer

    def progress(self) -> Progress:
        return self.bars

    def finish(self, result: Any, show: Callable[[Any], None] | None = None) -> None:
        self.answer = result
