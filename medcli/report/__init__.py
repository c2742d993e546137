"""One self-contained HTML page for the output of any command: ``medcli report RUN``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from medcli.report.write import ReportResult, write_report

__all__ = ["ReportResult", "write_report"]


def __getattr__(name: str) -> Any:
    if name in __all__:  # imported lazily, so that ``medcli --help`` loads no plotting
        from medcli.report import write

        return getattr(write, name)
    raise AttributeError(f"module {__name__} has no attribute {name}")
