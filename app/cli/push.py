"""`ustri push`: send reports to a DICOMweb server through the outbox, and list the outbox.

The command also erases the link of an analysis to its original.
"""

from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from app.cli.terminal import DataDir, Exit, errors_as_exits, out, settings_with
from app.errors import RequestRejected, SettingsError
from app.pacs.instances import Filing
from app.pacs.outbox import Item, Outbox, PushForm, PushRequest, outbox_of
from app.pacs.patient_links import Links, link_keys_of
from app.pacs.sender import Sender
from app.pacs.server import Destination, check_client
from app.settings import Settings, address_of
from app.storage.store import Store
from app.storage.tables import PushState

PUSH_EXAMPLE = (
    "[bold]Examples[/]\n\n"
    "ustri push 4f1c… --dicomweb https://pacs.example/dicom-web --token-file token\n\n"
    "ustri push 4f1c… --form sr\n\nustri push --pending\n\nustri push --failed\n\n"
    "ustri push --list"
)


Analysis = Annotated[str | None, typer.Argument(metavar="[ID]", help="The analysis.")]
Address = Annotated[
    str | None, typer.Option(metavar="URL", help="The server; over USTRI_DICOMWEB_URL.")
]
Forms = Annotated[list[PushForm] | None, typer.Option(help="Send only this; may be given again.")]
TokenFile = Annotated[Path | None, typer.Option(help="File with the bearer token for --dicomweb.")]
User = Annotated[str | None, typer.Option(help="User name for --dicomweb.")]
PasswordFile = Annotated[Path | None, typer.Option(help="File with that user's password.")]
PlainHttp = Annotated[bool, typer.Option("--plain-http", help="Allow http:// beyond this machine.")]
Force = Annotated[bool, typer.Option("--force", help="Send a refused report too.")]
Unlinked = Annotated[
    bool, typer.Option("--unlinked", help="File with our picture although the link is kept.")
]
Wait = Annotated[float, typer.Option(min=0.0, help="Seconds to go on trying.")]
Pending = Annotated[bool, typer.Option("--pending", help="Send what waits in the outbox now.")]
Failed = Annotated[
    bool, typer.Option("--failed", help="Send again what was given up; of ID only, if named.")
]
Listed = Annotated[bool, typer.Option("--list", help="Show the outbox.")]
ForgetLink = Annotated[
    bool, typer.Option("--forget-link", help="Erase the link of ID to its original.")
]


def push(
    analysis: Analysis = None,
    dicomweb: Address = None,
    form: Forms = None,
    token_file: TokenFile = None,
    user: User = None,
    password_file: PasswordFile = None,
    plain_http: PlainHttp = False,
    force: Force = False,
    unlinked: Unlinked = False,
    wait: Wait = 20.0,
    pending: Pending = False,
    failed: Failed = False,
    listed: Listed = False,
    forget_link: ForgetLink = False,
    data_dir: DataDir = None,
) -> None:
    """Send a report as DICOM to a PACS (STOW-RS); what cannot be sent now waits in an outbox.

    Sent are the SR, a SEG where there are outlines, an SR of biometry where a fetal head was
    measured in millimetres, and our de-identified image. Where the link to the original is kept
    (USTRI_LINK_KEY_FILE), they are filed beside the original instead, under its patient and study.
    """
    with errors_as_exits():
        given = None
        if dicomweb is not None:
            given = _destination_given(dicomweb, plain_http, (token_file, user, password_file))
        elif token_file or user or password_file:
            raise RequestRejected("Credentials belong to an address: give --dicomweb too.")
        _one_of(analysis, pending=pending, failed=failed, listed=listed)
        settings = settings_with(data_dir)
        store = Store.open(settings)
        try:
            if listed:
                out.print(_table(outbox_of(settings, store).items(analysis)))
            elif forget_link:
                _forget(store, analysis)
            elif pending or failed:
                _drain(settings, store, given, analysis, failed=failed)
            elif analysis is not None:
                push_request = PushRequest(
                    analysis_id=analysis, forms=tuple(form or ()), force=force, unlinked=unlinked
                )
                _push(settings, store, given, push_request, wait)
        finally:
            store.close()


def _one_of(analysis: str | None, *, pending: bool, failed: bool, listed: bool) -> None:
    """Check that the command names what to do, and only one thing."""
    if (
        pending + failed + listed > 1
        or pending
        and analysis
        or not (analysis or pending or failed or listed)
    ):
        raise RequestRejected("Name an analysis, or give --pending, --failed or --list.")


def _destination_given(
    url: str, plain_http: bool, credentials: tuple[Path | None, str | None, Path | None]
) -> Destination:
    token_file, user, password_file = credentials
    if (user is None) != (password_file is None) or (user and token_file):
        raise RequestRejected("Give --token-file, or --user with --password-file.")
    try:
        address = address_of(url, plain_http)
    except ValueError as error:
        raise RequestRejected(str(error).replace("explicitly", "with --plain-http")) from error
    made = Destination(url=address, token_file=token_file, user=user, password_file=password_file)
    made.check()
    return made


def _destination(settings: Settings, given: Destination | None) -> Destination:
    """Return the destination of the command, or else that of the settings.

    The credentials of the settings are used where the command names the same address and no
    credentials.
    """
    configured = Destination.of(settings)
    if given is None and configured is None:
        raise SettingsError("Name a server: --dicomweb URL, or USTRI_DICOMWEB_URL.")
    if given is None or (configured and configured.url == given.url and _anonymous(given)):
        return configured or Destination(url="")
    return given


def _anonymous(destination: Destination) -> bool:
    return destination.token_file is None and destination.user is None


def _sender(settings: Settings, store: Store) -> tuple[Sender, Filing, Outbox]:
    check_client()
    outbox = outbox_of(settings, store)
    keys = link_keys_of(settings)
    filing = Filing(store, keys, research_accepted=settings.research_accepted)
    return Sender(outbox, filing), filing, outbox


def _push(
    settings: Settings,
    store: Store,
    given: Destination | None,
    push_request: PushRequest,
    wait_s: float,
) -> None:
    destination = _destination(settings, given)
    sender, filing, outbox = _sender(settings, store)
    outbox.end_dead()
    added = outbox.add(filing.instances(push_request), destination.url)
    asked = {item.id for item in added}
    items = sender.push(destination, push_request.analysis_id, wait_s)
    _end_with([item for item in items if item.id in asked])


def _drain(
    settings: Settings,
    store: Store,
    given: Destination | None,
    analysis: str | None,
    *,
    failed: bool,
) -> None:
    """Send what waits in the outbox: for the given destination, or else once for each.

    The settings' destination is used with their credentials, the given one with its own, and others
    with none. `failed` sends what was given up too.
    """
    sender, _, outbox = _sender(settings, store)
    outbox.end_dead()
    if failed:
        outbox.revive(analysis, None if given is None else given.url)
    waiting = outbox.waiting() if given is None else (given.url,)
    before = {item.id for url in waiting for item in outbox.items(analysis, url) if _is_open(item)}
    for url in waiting:
        destination = _destination(settings, given or Destination(url=url))
        sender.drain(destination, analysis, early=True)
    after = [item for url in waiting for item in outbox.items(analysis, url) if item.id in before]
    _end_with(after)


def _is_open(item: Item) -> bool:
    return item.state in (PushState.PENDING, PushState.SENDING)


def _end_with(items: list[Item]) -> None:
    """Print what became of each instance and end the command with the matching exit code."""
    out.print(_table(items) if items else "The outbox holds nothing to send.")
    if any(item.state is PushState.FAILED for item in items):
        out.print("What failed stays in the outbox: `ustri push --failed` sends it again.")
        raise typer.Exit(Exit.FAILED)
    if any(_is_open(item) for item in items):
        out.print("What is pending stays in the outbox: `ustri push --pending` tries again.")
        raise typer.Exit(Exit.INCOMPLETE)


def _forget(store: Store, analysis: str | None) -> None:
    if analysis is None:
        raise RequestRejected("Name the analysis whose link is to be erased.")
    gone = Links(store).forget(store.analysis(analysis).id)
    if gone:
        store.forget_erased()
    out.print("The link is erased." if gone else "No link of this analysis is kept.")


def _table(items: list[Item] | tuple[Item, ...]) -> Table:
    table = Table(box=None, pad_edge=False)
    for name in ("analysis", "form", "state", "tries", "to", "problem"):
        table.add_column(name, overflow="fold")
    for item in items:
        beside = " (beside the original)" if item.linked else ""
        row = (item.analysis_id, f"{item.form}{beside}", item.state.value, str(item.attempts))
        table.add_row(*row, item.destination, item.problem or "")
    return table
