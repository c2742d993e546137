"""Prints how much of the package the tests ran: ``python tests/print_coverage.py`` after tests with ``--cov``."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path

ENOUGH = 90.0
"""Percent of a file's lines; of a file with fewer, the lines that no test ran are printed."""


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "coverage.json"
        subprocess.run([sys.executable, "-m", "coverage", "json", "--quiet", "-o", str(file)], check=True)
        found = json.loads(file.read_text("utf-8"))
    for path, of_file in sorted(found["files"].items()):
        share = of_file["summary"]["percent_covered"]
        if share < ENOUGH:
            print(f"{share:5.1f} %  {path}: {spans(of_file['missing_lines'])}")
    total = found["totals"]
    print(f"{total['percent_covered']:5.1f} %  of {total['num_statements']} statements in {len(found['files'])} files")


def spans(lines: list[int]) -> str:
    """``3-5, 9`` of 3, 4, 5 and 9."""
    starts = [line for line in lines if line - 1 not in lines]
    ends = [line for line in lines if line + 1 not in lines]
    return ", ".join(str(a) if a == b else f"{a}-{b}" for a, b in zip(starts, ends, strict=True))


if __name__ == "__main__":
    main()
