"""Model cards as HTML pages and as Markdown for docs/cards, all from the manifest."""

from collections.abc import Sequence
from pathlib import Path

from fastapi.responses import HTMLResponse
from jinja2 import Environment
from pydantic import JsonValue

from app.web.pages.templating import templates
from app.web.problems import OK
from specialists.cards.card import Card, cards_of
from specialists.manifest import Manifest, Metric, Transfer

INDEX = "README.md"
Cells = list[dict[str, str]]


def card_page(card: Card) -> HTMLResponse:
    """Return the card as an HTML page."""
    return _page("card.html", card=card)


def list_page(manifest: Manifest) -> HTMLResponse:
    """Return an HTML page of all specialists, each with a link to its card."""
    return _page("specialists.html", cards=cards_of(manifest))


def markdown_of(card: Card) -> str:
    """Return the card as Markdown."""
    return _TEMPLATES.get_template("card.md").render(card=card).strip() + "\n"


def index_of(cards: Sequence[Card]) -> str:
    """Return a Markdown table of the cards, each with a link to its file."""
    return _TEMPLATES.get_template("cards.md").render(cards=cards).strip() + "\n"


def write_cards(manifest: Manifest, folder: Path) -> list[Path]:
    """Write `<id>.md` for every specialist and an index, and return the paths of these files.

    Other Markdown files in the folder are removed.

    Raises:
        OSError: the folder cannot be created or written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    cards = cards_of(manifest)
    texts = {f"{card.id}.md": markdown_of(card) for card in cards} | {INDEX: index_of(cards)}
    for path in folder.glob("*.md"):
        if path.name not in texts:
            path.unlink()
    for name, text in texts.items():
        (folder / name).write_text(text, encoding="utf-8")
    return [folder / name for name in texts]


def interval(metric: Metric | Transfer) -> str:
    """Return the 95 % interval of a figure as text; empty if there is none."""
    if metric.low is None or metric.high is None:
        return ""
    return f"{metric.low:.3f} to {metric.high:.3f}"


def by_source(items: Sequence[Transfer]) -> Cells:
    """Return figures on left-out sources as rows of named cells, with a column per source."""
    rows: dict[str, dict[str, str]] = {}
    for item in items:
        seen = "" if item.backbone_saw else ", not seen by the backbone either"
        note = "" if item.note is None else f" ({item.note})"
        ends = interval(item)
        value = f"{item.value:.3f}" + (f" ({ends})" if ends else "") + f", n {item.n}"
        rows.setdefault(item.name, {"figure": item.name})[item.left_out + seen + note] = value
    return list(rows.values())


def table_of(value: JsonValue) -> Cells:
    """Return a field of a manifest entry as rows of named cells, whatever it holds."""
    rows = value if isinstance(value, list) else [value]
    return [
        {str(k).replace("_", " "): _text(v) for k, v in row.items()}
        if isinstance(row, dict)
        else {"value": _text(row)}
        for row in rows
    ]


def _text(value: JsonValue) -> str:
    match value:
        case float():
            return f"{value:.4g}"
        case dict():
            return "; ".join(f"{k}: {_text(v)}" for k, v in value.items())
        case list():
            return ", ".join(_text(part) for part in value)
        case None:
            return ""
        case _:
            return str(value)


def _columns(rows: Cells) -> list[str]:
    return list(dict.fromkeys(name for row in rows for name in row))


def _templates() -> Environment:
    environment = templates()
    environment.filters |= {
        "interval": interval,
        "by_source": by_source,
        "table": table_of,
        "columns": _columns,
        "words": lambda name: str(name).replace("_", " "),
        "cell": lambda text: str(text).replace("|", "\\|").replace("\n", " "),
    }
    return environment


_TEMPLATES = _templates()


def _page(name: str, **values: object) -> HTMLResponse:
    text = _TEMPLATES.get_template(name).render({"page": "specialists", **values})
    return HTMLResponse(text, status_code=OK)
