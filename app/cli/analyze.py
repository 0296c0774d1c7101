"""`ustri analyze`: one image, in this process, to its report."""

from pathlib import Path
from typing import Annotated

import typer

from app.cli.terminal import DataDir, Exit, errors_as_exits, settings_with
from reports.canonical import to_json
from reports.forms.text import to_text
from reports.model import ExamCode, Laterality, Outcome, Scope

ANALYZE_EXAMPLE = (
    "[bold]Examples[/]\n\nustri analyze scan.png --exam breast --out report/\n\n"
    "ustri analyze scan.png --question 'How big is the mass?' --laterality left\n\n"
    "ustri analyze scan.png --json | jq .outcome"
)

Exam = Annotated[ExamCode | None, typer.Option(help="The exam; else the router says.")]
QuestionText = Annotated[
    str | None, typer.Option(help="A question in your words, which is answered first.")
]
OfScope = Annotated[
    Scope, typer.Option(help="Report all that the exam requires, or what the question asks only.")
]
Frame = Annotated[
    int | None, typer.Option(min=0, help="The frame of a multi-frame DICOM file, from 0.")
]
Label = Annotated[str | None, typer.Option(help="What you call this analysis.")]
Study = Annotated[
    str | None, typer.Option(help="What you call the study that the image belongs to.")
]
Side = Annotated[
    Laterality | None, typer.Option(help="The side of the body.", case_sensitive=False)
]
Site = Annotated[str | None, typer.Option(help="Where the image was taken.")]
Indication = Annotated[str | None, typer.Option(help="Why it was taken.")]
Age = Annotated[str | None, typer.Option(help="On the day of the image, such as 19w6d or 19+6.")]
Operator = Annotated[str | None, typer.Option(help="Who took the image.")]
Folder = Annotated[
    Path | None, typer.Option("--out", help="Folder for the report in every form, and evidence/.")
]


def analyze(
    image: Annotated[Path, typer.Argument(help="A PNG, JPEG or DICOM ultrasound image.")],
    exam: Exam = None,
    question: QuestionText = None,
    scope: OfScope = Scope.PROTOCOL,
    frame: Frame = None,
    label: Label = None,
    study: Study = None,
    laterality: Side = None,
    site: Site = None,
    indication: Indication = None,
    gestational_age: Age = None,
    operator: Operator = None,
    folder: Folder = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")] = False,
    data_dir: DataDir = None,
) -> None:
    """Report on one image in this process; nothing is stored."""
    sent = {
        "label": label,
        "study": study,
        "laterality": laterality,
        "site": site,
        "indication": indication,
        "gestational_age": gestational_age,
        "operator": operator,
    }
    with errors_as_exits():
        from app import standalone
        from app.storage.details import read_details
        from planner.case import Request

        request = Request(
            exam=exam,
            question=(question or "").strip() or None,
            scope=scope,
            frame=frame,
            details=read_details({name: text for name, text in sent.items() if text}),
        )
        reported = standalone.analyze(image.read_bytes(), request, settings_with(data_dir))
        if folder is not None:
            for line in standalone.write_all(reported, folder):
                typer.echo(line, err=True)
        report = reported.report
        typer.echo(to_json(report).decode() if as_json else to_text(report))
    if report.outcome is Outcome.REFUSED:
        raise typer.Exit(Exit.REFUSED)
