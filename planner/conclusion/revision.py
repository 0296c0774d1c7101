"""A new version of a report, concluded from recorded results after a reader changed something."""

from planner.case import STOP, Case
from planner.conclusion.report import Identity, conclude
from planner.errors import NotRevisable
from reports.canonical import content_sha256
from reports.model import Outcome, Report, Scope


def revise(case: Case, earlier: Report, identity: Identity) -> Report:
    """Return the report of `case`, whose records are those of `earlier`; no network runs.

    What the reader changed is in the case: its image's spacing, or its records. What made the
    results stays what it was: models, planner and their licences. The text of a question is not
    kept, so that the new version refers to the answer in the earlier one.

    Raises:
        NotRevisable: the earlier report is refused or answers a question alone, or a specialist
            that answered is not known here any more.
        HashMissing: the manifest states no SHA-256 for a model that was used.
    """
    if earlier.outcome is Outcome.REFUSED:
        raise NotRevisable("The report is refused and holds nothing that could be measured anew.")
    if earlier.request.scope is Scope.QUESTION:
        raise NotRevisable(
            "The report answers a question alone, whose words are not kept; send the image again."
        )
    ran = {record.step.action for record in case.records} - {STOP}
    if gone := ran - set(case.manifest.specialists):
        raise NotRevisable(f"{min(gone)} answered and is not known here any more; analyse again.")
    made = conclude(case, identity)
    provenance = earlier.provenance.model_copy(update={"code_version": identity.code_version})
    given = earlier.request.question_given
    report = made.model_copy(
        update={
            "request": earlier.request,
            "asked": _question_answered(earlier) if given else None,
            "study": made.study or earlier.study,
            "provenance": provenance,
        }
    )
    hashed = provenance.model_copy(update={"content_sha256": content_sha256(report)})
    return report.model_copy(update={"provenance": hashed})


def _question_answered(earlier: Report) -> str:
    """Return where the question of the request is answered."""
    return (
        f"The question was answered in version {earlier.version}; its words are not kept, "
        "so that this version reports the whole protocol."
    )
