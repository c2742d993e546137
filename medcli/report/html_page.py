"""Render sections as one self-contained HTML file, including style, script and images."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from medcli import __version__
from medcli.core.secrets import redact
from medcli.report.blocks import KeyFigures, Note, Section

GENERATOR = "medcli report"
_FOLDER = Path(__file__).parent / "page"


@dataclass(frozen=True)
class Page:
    """A report.

    Attributes:
        title: name of the run.
        lead: one or two sentences on it.
        facts: short remarks below the title: date, version, data.
        figures: the most important numbers.
        notes: highlighted remarks.
        sections: everything else.
    """

    title: str
    lead: str
    facts: Sequence[str]
    figures: KeyFigures | None
    notes: Sequence[Note]
    sections: Sequence[Section]


@dataclass(frozen=True)
class ContentsEntry:
    """A section with its position in the page."""

    section: Section
    anchor: str
    level: int
    entries: Sequence[ContentsEntry]


def render_page(page: Page) -> str:
    """The page as HTML."""
    environment = Environment(
        loader=PackageLoader("medcli.report", "page"),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_without_credentials,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    style, script = ((_FOLDER / name).read_text("utf-8") for name in ("page.css", "page.js"))
    entries = list(_entries(page.sections, 2, set()))
    text = environment.get_template("page.html.j2").render(
        page=page,
        entries=entries,
        style=style,
        script=script,
        policy=_policy(style, script),
        generator=f"{GENERATOR} {__version__}",
    )
    return text.strip() + "\n"


def _without_credentials(value: Any) -> Any:
    """Texts of the run, credentials hidden; images, and what was rendered already, as they are."""
    is_text = isinstance(value, str) and not isinstance(value, Markup) and not value.startswith("data:")
    return redact(value) if is_text else value


def is_report(path: Path) -> bool:
    """Whether a file was written by :func:`render_page`."""
    with path.open("rb") as file:
        return f'<meta name="generator" content="{GENERATOR} '.encode() in file.read(4096)


def _policy(style: str, script: str) -> str:
    """The content security policy: only embedded images, and the style and script with these hashes."""
    return (
        f"default-src 'none'; img-src data:; style-src '{_hash(style)}'; script-src '{_hash(script)}'; "
        "base-uri 'none'; form-action 'none'"
    )


def _hash(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode("utf-8")).digest()).decode("ascii")


def _entries(sections: Sequence[Section], level: int, taken: set[str]) -> Iterator[ContentsEntry]:
    for section in sections:
        anchor = _anchor(section.title, taken)
        yield ContentsEntry(section, anchor, level, list(_entries(section.sections, level + 1, taken)))


def _anchor(title: str, taken: set[str]) -> str:
    """A unique name for links to a section."""
    plain = re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-") or "section"
    name, number = plain, 1
    while name in taken:
        number += 1
        name = f"{plain}-{number}"
    taken.add(name)
    return name
