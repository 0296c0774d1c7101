"""The Jinja environment of every page: an unknown name is an error, HTML is escaped."""

from pathlib import Path

from fastapi.responses import HTMLResponse
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

FOLDER = Path(__file__).parent / "templates"


def templates() -> Environment:
    """Return a new environment for the page templates, to which a page adds its own filters."""
    environment = Environment(
        loader=FileSystemLoader(FOLDER),
        autoescape=lambda name: name is not None and name.endswith(".html"),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["coded"] = coded
    return environment


def coded(text: str) -> Markup:
    """Return a sentence as HTML: text between backticks as code, everything else escaped."""
    parts = text.split("`")
    return Markup("").join(
        Markup("<code>{}</code>").format(part) if index % 2 else part
        for index, part in enumerate(parts)
    )


def html_page(name: str, status: int, **values: object) -> HTMLResponse:
    """Return a page of the viewer; its template knows itself as `page`."""
    text = _PAGES.get_template(name).render({"page": name.removesuffix(".html"), **values})
    return HTMLResponse(text, status_code=status)


_PAGES = templates()
