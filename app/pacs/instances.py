"""Which DICOM instances of a report to send, their bytes, and whether the report may be sent."""

from sqlalchemy import select

from app.errors import LinkClosed, NotFound, PushRefused
from app.pacs.outbox import Item, NewItem, PushForm, PushRequest
from app.pacs.patient_links import LinkKeys, Links, source_of
from app.storage.analysis import Analysis
from app.storage.store import Store
from app.storage.tables import ReportRow
from reports.errors import NoBiometry
from reports.forms.biometry import biometry_of, has_biometry
from reports.forms.dicom.source import Source, own_source, sop_uid
from reports.forms.render import ReportForm, Subject, render
from reports.model import MaskEvidence, Report
from reports.release import may_leave, worth_filing
from reports.upgrade import read_report

_RENDERED = {
    PushForm.IMAGE: ReportForm.IMAGE,
    PushForm.SR: ReportForm.SR,
    PushForm.SEG: ReportForm.SEG,
    PushForm.BIOMETRY: ReportForm.BIOMETRY,
}


class Filing:
    """The reports of a store as DICOM instances.

    They are filed beside their originals where the links are kept and `keys` open them.
    `research_accepted` states whether the deployment accepts reports made with weights for research
    only (see `reports.release`).
    """

    def __init__(self, store: Store, keys: LinkKeys | None, *, research_accepted: bool) -> None:
        self._store = store
        self._links = Links(store)
        self._keys = keys
        self._research_accepted = research_accepted

    def instances(self, push_request: PushRequest) -> tuple[NewItem, ...]:
        """Return the instances to send of an analysis's newest report.

        Raises:
            NotFound: there is no such analysis, or no report yet.
            PushRefused: the report may not leave, is refused and not forced, or has no such form.
            LinkClosed: the link is kept, and cannot be opened here.
        """
        analysis = self._store.analysis(push_request.analysis_id)
        report = self._store.report(push_request.analysis_id)
        if report is None:
            raise NotFound("There is no report to send yet.")
        self._check(report)
        if not push_request.force and (reason := worth_filing(report)) is not None:
            raise PushRefused(reason)
        original = None if push_request.unlinked else self._original(analysis, report)
        started_at = self._store.studies.started_at(analysis)
        source = original or own_source(report, started_at=started_at)
        return tuple(
            NewItem(
                analysis_id=analysis.id,
                version=report.version,
                form=form,
                sop_instance_uid=_sop_uid(form, report, source),
                linked=source.original,
            )
            for form in _forms(push_request, report, source)
        )

    def made(self, item: Item) -> bytes:
        """Return an instance as a file, the same each time.

        Raises:
            NotFound: the report no longer exists.
            PushRefused: it may no longer leave.
            LinkClosed: the link cannot be opened here.
        """
        analysis = self._store.analysis(item.analysis_id)
        report = self._version(item)
        self._check(report)
        source = self._original(analysis, report) if item.linked else None
        if item.linked and source is None:
            raise LinkClosed(
                "The link to the original was erased; the report cannot be filed there."
            )
        return render(
            _RENDERED[item.form],
            Subject(
                report=report,
                png=self._store.png(analysis.image_key),
                started_at=self._store.studies.started_at(analysis),
                source=source,
            ),
        )

    def _check(self, report: Report) -> None:
        """Return if the report may leave.

        Raises:
            PushRefused: it may not; the message states why and what would allow it.
        """
        reason = may_leave(report, research_accepted=self._research_accepted)
        if reason is not None:
            raise PushRefused(reason)

    def _version(self, item: Item) -> Report:
        with self._store.read() as session:
            body = session.scalar(
                select(ReportRow.body).where(
                    ReportRow.analysis_id == item.analysis_id, ReportRow.version == item.version
                )
            )
        if body is None:
            raise NotFound("The report is not there any more.")
        return read_report(body)

    def _original(self, analysis: Analysis, report: Report) -> Source | None:
        """Return the original instance if its link is kept, otherwise None.

        Raises:
            LinkClosed: the link is kept, and cannot be opened here.
        """
        sealed = self._links.sealed(analysis.id)
        if sealed is None:
            return None
        if self._keys is None:
            raise LinkClosed(
                "The link to the original is kept, and USTRI_LINK_KEY_FILE is not set: set it, "
                "or ask for an unlinked push to file the report with our own picture."
            )
        return source_of(self._keys.open(sealed, report.image.sha256), report.image)


def _forms(push_request: PushRequest, report: Report, source: Source) -> list[PushForm]:
    """Return the forms to send, the image first.

    The image is always sent where the others refer to it.

    Raises:
        PushRefused: a requested form does not exist for this report.
    """
    outlined = any(isinstance(item, MaskEvidence) for item in report.evidence)
    if PushForm.SEG in push_request.forms and not outlined:
        raise PushRefused("The report holds no outline, so that there is no SEG of it.")
    if PushForm.BIOMETRY in push_request.forms:
        try:
            biometry_of(report)
        except NoBiometry as error:
            raise PushRefused(str(error)) from error
    if PushForm.IMAGE in push_request.forms and source.original:
        raise PushRefused(
            "The report is filed beside the original image; "
            "ask for an unlinked push to send our picture."
        )
    exist = {PushForm.SR: True, PushForm.SEG: outlined, PushForm.BIOMETRY: has_biometry(report)}
    wanted = set(push_request.forms) or {form for form, there in exist.items() if there}
    if not source.original:
        wanted.add(PushForm.IMAGE)
    return [form for form in PushForm if form in wanted]


def _sop_uid(form: PushForm, report: Report, source: Source) -> str:
    if form is PushForm.IMAGE:
        return source.instance_uid
    return sop_uid(form.value, report.report_id, source)
