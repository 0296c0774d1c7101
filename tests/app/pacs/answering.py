"""A DICOMweb server that gives the answer that a test wants, and store responses for it."""

import io
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pydicom

from reports.forms.dicom.image import to_image
from reports.forms.dicom.sr import to_sr
from tests.builders import a_worded_report
from tests.reports.report_forms import frame_png

JSON = "application/dicom+json"


@dataclass
class Answering:
    """A server that gives one answer to everything, and keeps what it was sent."""

    status: int = 200
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    requests: list[tuple[str, dict[str, str], bytes]] = field(default_factory=list)
    held: list[str] | None = None
    """The UIDs that it names to who asks whether it holds them; None: it cannot be asked."""

    asked: Callable[[], object] = lambda: None


@contextmanager
def answered() -> Iterator[tuple[Answering, str]]:
    """Run such a server; its answer can be changed meanwhile, and its address is beside it."""
    answer = Answering()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            length = int(self.headers.get("Content-Length", "0"))
            body = self.rfile.read(length)
            answer.requests.append((self.path, dict(self.headers), body))
            answer.asked()
            self.send_response(answer.status)
            for name, value in answer.headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(answer.body)))
            self.end_headers()
            self.wfile.write(answer.body)

        def do_GET(self) -> None:
            uid = parse_qs(urlsplit(self.path).query)["SOPInstanceUID"][0]
            if answer.held is None:
                self.send_error(501)
                return
            found = [{"00080018": {"vr": "UI", "Value": [uid]}}] if uid in answer.held else []
            self.send_response(200)
            self.end_headers()
            self.wfile.write(json.dumps(found).encode())

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield answer, f"http://127.0.0.1:{server.server_port}/dicom-web"
    server.shutdown()
    thread.join()
    server.server_close()


def two() -> tuple[list[bytes], list[str]]:
    """A picture and its SR, and their UIDs."""
    report = a_worded_report()
    files = [to_image(report, frame_png()), to_sr(report)]
    return files, [str(pydicom.dcmread(io.BytesIO(each)).SOPInstanceUID) for each in files]


def a_store_answer(stored: list[str], failed: dict[str, int]) -> bytes:
    def uid(value: str) -> dict[str, Any]:
        return {"00081155": {"vr": "UI", "Value": [value]}}

    answer: dict[str, Any] = {}
    if stored:
        answer["00081199"] = {"vr": "SQ", "Value": [uid(each) for each in stored]}
    if failed:
        items = [
            uid(each) | {"00081197": {"vr": "US", "Value": [reason]}}
            for each, reason in failed.items()
        ]
        answer["00081198"] = {"vr": "SQ", "Value": items}
    return json.dumps(answer).encode()
