"""Parsing of multipart/form-data as senders write it, beyond what Starlette's parser reads.

RFC 7578 makes `filename` optional and forbids `filename*`, which some clients send alone; Starlette
takes both for text, reads an unknown charset as Latin-1, and fails in codecs that are not text.
"""

import re

from python_multipart.multipart import parse_options_header
from starlette.datastructures import FormData
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import Request

from app.errors import RequestRejected

FILES_MAX = 8
"""Files of a request that takes one: enough to say that there are several."""

FIELDS_MAX = 32
_FORM = b"multipart/form-data"
_QUOTED = re.compile(rb'"(?:\\.|[^"\\])*"')
_EXTENDED = re.compile(rb";\s*filename\*[\d*]*\s*=", re.IGNORECASE)
_NAMED = b'; filename="image"'
"""What the parser knows a file by that has no plain name."""


class _Parser(MultiPartParser):
    """Starlette's parser, for which a part is a file too if it says so in another way.

    It keeps files in memory, where the limit of the body bounds them: a temporary file would leave
    the names in an upload on the disk.
    """

    spool_max_size = 0

    def __init__(self, request: Request, image: str, part_limit: int, files_max: int) -> None:
        super().__init__(
            request.headers,
            request.stream(),
            max_files=files_max,
            max_fields=FIELDS_MAX,
            max_part_size=part_limit,
        )
        self._image = image.encode()

    def on_headers_finished(self) -> None:
        """Name the file of a part that is one without a plain `filename`."""
        part = self._current_part
        disposition = part.content_disposition or b""
        _, options = parse_options_header(disposition)
        extended = _EXTENDED.search(_QUOTED.sub(b'""', disposition))
        kind = dict(part.item_headers).get(b"content-type", b"text/plain").strip().lower()
        binary = options.get(b"name") == self._image and not kind.startswith(b"text/")
        if b"filename" not in options and (extended or binary):
            part.content_disposition = disposition.rstrip(b"; \t") + _NAMED
        super().on_headers_finished()


async def parse_multipart(
    request: Request, image: str, part_limit: int, files_max: int = FILES_MAX
) -> FormData:
    """Parse the body into its parts; a body of no stated type has none.

    Args:
        request: whose body has not been read.
        image: name of the part that holds a file.
        part_limit: most bytes of a text field.
        files_max: most files.

    Raises:
        RequestRejected: the form cannot be read, or its charset does not exist or does not fit.
    """
    kind, options = parse_options_header(request.headers.get("content-type"))
    if kind != _FORM:
        return FormData()
    charset = options.get(b"charset", b"utf-8").decode("latin-1")
    _check_charset(charset)
    try:
        form = await _Parser(request, image, part_limit, files_max).parse()
    except MultiPartException as error:
        raise RequestRejected(f"The multipart form cannot be read: {error.message}") from error
    except UnicodeError as error:
        raise RequestRejected(_unfit(charset)) from error
    return form


def _check_charset(charset: str) -> None:
    """Check that the names of fields can be read in that charset.

    Raises:
        RequestRejected: there is no such charset, or it writes even ASCII otherwise.
    """
    try:
        name = b"image".decode(charset)
    except (LookupError, ValueError):  # unknown, no text, or a zero byte in its name
        name = ""
    if name != "image":
        raise RequestRejected(_unfit(charset))


def _unfit(charset: str) -> str:
    return (
        f"The form cannot be read in the charset {charset[:40]!r} that its Content-Type states; "
        "send it in UTF-8."
    )
