"""Forms as senders write them: each is read, or refused for the true reason."""

import httpx
import pytest

from tests.app.conftest import a_png

EXTENDED = "filename*=UTF-8''scan.png"
CONTINUED = 'filename*0="sc"; filename*1="an.png"'


def a_part(disposition: str, content: bytes, kind: str | None = None) -> bytes:
    header = f"Content-Disposition: form-data; {disposition}"
    if kind is not None:
        header += f"\r\nContent-Type: {kind}"
    return b"--b\r\n" + header.encode() + b"\r\n\r\n" + content + b"\r\n"


async def sent(
    client: httpx.AsyncClient, *parts: bytes, charset: str | None = None
) -> httpx.Response:
    kind = "multipart/form-data; boundary=b"
    if charset is not None:
        kind += f"; charset={charset}"
    body = b"".join(parts) + b"--b--\r\n"
    return await client.post("/analyze", content=body, headers={"Content-Type": kind})


IMAGE = a_part('name="image"; filename="scan.png"', a_png(), "image/png")


@pytest.mark.parametrize(
    ("disposition", "kind"),
    [
        (f'name="image"; {EXTENDED}', "image/png"),
        (f'name="image";{EXTENDED.upper()}', None),
        (f'{EXTENDED}; name="image"', "image/png"),
        (f'name="image"; {CONTINUED}', None),
        ('name="image"; filename*=UTF-8\'\'a%3Bb.png; filename="a;b.png"', None),
        ('name="image"; filename=""', "image/png"),
        ('name="image"', "image/png"),
        ('name="image"', "application/octet-stream"),
        ('name="image"', "application/dicom"),
    ],
)
async def test_a_file_is_a_file_however_it_is_named(
    client: httpx.AsyncClient, disposition: str, kind: str | None
) -> None:
    answer = await sent(
        client, a_part(disposition, a_png(), kind), a_part('name="exam"', b"breast")
    )
    assert answer.status_code == 200, answer.text


@pytest.mark.parametrize("disposition", ['name="image"', 'name="image"; x="; filename*=a"'])
@pytest.mark.parametrize("kind", [None, "text/plain"])
async def test_text_is_no_file(
    client: httpx.AsyncClient, disposition: str, kind: str | None
) -> None:
    answer = await sent(client, a_part(disposition, b"scan", kind))
    assert answer.status_code == 422
    assert "The field image is text" in answer.json()["detail"]


@pytest.mark.parametrize(
    "charset",
    ["utf-8", '"UTF-8"', "us-ascii", "iso-8859-1", "windows-1252", "shift_jis", "gb18030"],
)
async def test_a_form_is_read_in_a_charset_that_exists(
    client: httpx.AsyncClient, charset: str
) -> None:
    answer = await sent(client, IMAGE, a_part('name="question"', b"mass?"), charset=charset)
    assert answer.status_code == 200, answer.text


@pytest.mark.parametrize(
    "charset",
    [
        *("utf-9", '""', "none", "hex", "rot13", "zlib", "undefined", "punycode", "utf-16"),
        *("cp037", "../etc", "x" * 5000, '"a\0b"'),
    ],
)
async def test_a_charset_that_cannot_be_read_is_named(
    client: httpx.AsyncClient, charset: str
) -> None:
    answer = await sent(client, IMAGE, a_part('name="question"', b"mass?"), charset=charset)
    assert answer.status_code == 422, answer.text
    assert "charset" in answer.json()["detail"]


@pytest.mark.parametrize(
    ("charset", "value", "words"),
    [
        ("utf-7", b"+2AA-", "half a character"),
        ("unicode_escape", rb"\udfff", "half a character"),
        ("raw_unicode_escape", rb"a \ud800", "half a character"),
        ("utf-8", b"a\0b", "zero byte"),
    ],
)
@pytest.mark.parametrize("name", ["question", "exam", "external_id", "frame", "deadline_s"])
async def test_text_that_no_database_stores_is_refused_by_its_reason(
    client: httpx.AsyncClient, charset: str, value: bytes, words: str, name: str
) -> None:
    answer = await sent(client, IMAGE, a_part(f'name="{name}"', value), charset=charset)
    assert answer.status_code == 422, answer.text
    assert words in answer.json()["detail"]
