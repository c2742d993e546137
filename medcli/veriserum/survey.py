"""What a Veriserum folder holds (for ``medcli info``)."""

from __future__ import annotations

from pathlib import Path

from medcli.inventory import DataFolder


def survey(root: Path) -> DataFolder:
    """Count what is in ``root``; never fails on bad data, says it instead."""
    return DataFolder("Veriserum", root)
