"""One page for a rover's map, charts and tables: self-contained, no script, no network, light and dark ground."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from markupsafe import Markup

from control.files import write_atomically

Legend = Sequence[tuple[str, str]]  # CSS class, word


@dataclass(frozen=True)
class Page:
    """What a page shows. `charts`: title and (name, picture, legend)s; `tables`: title, heads, rows."""

    title: str
    map: Markup
    legend: Legend
    badge: tuple[str, str] | None = None
    sentences: Sequence[str] = ()
    tiles: Sequence[tuple[str, str]] = ()
    charts: Sequence[tuple[str, Sequence[tuple[str, Markup, Legend]]]] = ()
    tables: Sequence[tuple[str, Sequence[str], Sequence[Sequence[Any]]]] = ()
    notes: Sequence[str] = field(default=())


def write_page(page: Page, path: Path) -> Path:
    """Write a page, whole or not at all. FileError if it cannot be written."""
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=jinja2.StrictUndefined
    )
    write_atomically(path, environment.get_template("page.html.j2").render(p=page).encode())
    return path


def hours(seconds: float) -> str:
    """A time as hours and minutes."""
    minutes = round(seconds / 60)
    return f"{minutes // 60} h {minutes % 60:02d} min" if minutes >= 60 else f"{minutes} min"
