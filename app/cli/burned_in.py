"""`ustri evaluate text`: how much burned-in text is found, and what goes that is none."""

import json
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from app.cli.terminal import errors_as_exits, out, settings_with

if TYPE_CHECKING:
    from app.bench.burned_in.drawn import Share
    from app.bench.burned_in.loss import Loss

TEXT_EXAMPLE = (
    "[bold]Examples[/]\n\nustri evaluate text\n\n"
    "ustri evaluate text data/Segmentation/Four/camus/IMAGES --look ~/looked-at"
)


def text(
    folders: Annotated[
        list[Path] | None,
        typer.Argument(metavar="FOLDER...", help="Of PNG and JPEG files; else text is drawn."),
    ] = None,
    images: Annotated[int, typer.Option(min=1, help="Most images of a folder.")] = 40,
    seeds: Annotated[int, typer.Option(min=1, help="Drawn screens of each kind.")] = 1,
    look: Annotated[
        Path | None,
        typer.Option(help="Folder for touched images, before and after; outside any git checkout."),
    ] = None,
    to: Annotated[
        Path | None, typer.Option("--json", help="Also write the figures to this file.")
    ] = None,
) -> None:
    """Measure how much drawn text is found, or what blackening takes from folders of images.

    Without a folder, a name, a date, an age, an id and a diagnosis are drawn into phantoms at
    several sizes, contrasts and places, in grey and in colour. Images of a folder are sampled
    evenly; where they are free of text, whatever is blackened is tissue.
    """
    with errors_as_exits():
        from app.images.burned_in.finder import text_finder

        find_text = text_finder(True)
        if find_text is None:
            raise TypeError("text that is wanted has a finder")
        if folders:
            from app.bench.burned_in.loss import loss_of, sample_of
            from specialists.training.evaluation.page import check_outside_git

            if look is not None:
                check_outside_git(look)
                look.mkdir(parents=True, exist_ok=True)
            limit_pixels = settings_with().limit_pixels
            losses = [
                loss_of(find_text, folder, sample_of(folder, images), limit_pixels, look)
                for folder in folders
            ]
            rows, table = [asdict(loss) for loss in losses], _lost(losses)
        else:
            from app.bench.burned_in.drawn import judged, kinds

            shares = [judged(find_text, kind, seed) for seed in range(seeds) for kind in kinds()]
            rows, table = [asdict(share) for share in shares], _found(shares)
        if to is not None:
            to.write_text(json.dumps(rows, indent=1), encoding="utf-8")
    out.print(table)


def _lost(losses: "Iterable[Loss]") -> Table:
    table = Table("folder", "images", "touched", "places", "% of pixels", box=None)
    for loss in losses:
        counts = (str(count) for count in (loss.images, loss.touched, loss.places))
        table.add_row(loss.folder, *counts, f"{100 * loss.share:.3f}")
    return table


def _found(shares: "list[Share]") -> Table:
    """Return the texts that are gone, in percent, by place, ink and size."""
    from app.bench.burned_in.drawn import SIZES_PX

    heads = [f"{size} px" for size in SIZES_PX]
    table = Table("place", "ink", *heads, "% of tissue", box=None)
    for place, ink in dict.fromkeys((share.kind.place, share.kind.ink) for share in shares):
        kind = [s for s in shares if (s.kind.place, s.kind.ink) == (place, ink)]
        gone = (_gone([s for s in kind if s.kind.size_px == size]) for size in SIZES_PX)
        tissue = sum(s.tissue for s in kind) / len(kind)
        table.add_row(place, ink, *gone, f"{100 * tissue:.3f}")
    return table


def _gone(shares: "list[Share]") -> str:
    gone, texts = sum(share.gone for share in shares), sum(share.texts for share in shares)
    return f"{gone} of {texts}"
