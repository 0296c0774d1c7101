"""A real Orthanc with its DICOMweb plugin, on a free port, with its files in a temporary folder."""

import json
import socket
import time
from dataclasses import dataclass, field
from pathlib import Path
from subprocess import Popen

import httpx

from tests.processes import end, start
from tests.tools import missing

PROGRAM = Path("/usr/sbin/Orthanc")
PLUGIN = Path("/usr/share/orthanc/plugins/libOrthancDicomWeb.so")
USER, PASSWORD = "ustri", "a-password"


def a_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        number: int = listener.getsockname()[1]
    return number


@dataclass
class Orthanc:
    """A server that can be stopped and started again over the same files."""

    folder: Path
    port: int = field(default_factory=a_port)
    process: Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/dicom-web"

    @property
    def rest(self) -> httpx.Client:
        return httpx.Client(
            base_url=f"http://127.0.0.1:{self.port}", auth=(USER, PASSWORD), timeout=30
        )

    def start(self) -> None:
        if not (PROGRAM.exists() and PLUGIN.exists()):
            missing("Orthanc is not installed (apt-get install orthanc orthanc-dicomweb).")
        self.folder.mkdir(parents=True, exist_ok=True)
        settings = {
            "StorageDirectory": str(self.folder / "db"),
            "IndexDirectory": str(self.folder / "db"),
            "HttpPort": self.port,
            "RemoteAccessAllowed": False,
            "DicomServerEnabled": False,
            "AuthenticationEnabled": True,
            "RegisteredUsers": {USER: PASSWORD},
            "Plugins": [str(PLUGIN)],
            "DicomWeb": {"Enable": True, "Root": "/dicom-web/"},
        }
        path = self.folder / "orthanc.json"
        path.write_text(json.dumps(settings), encoding="utf-8")
        with (self.folder / "log.txt").open("ab") as log:
            self.process = start([PROGRAM, path], stdout=log, stderr=log)
        until = time.monotonic() + 60
        while not self._answers():
            if self.process.poll() is not None or time.monotonic() > until:
                self.stop()
                raise TimeoutError((self.folder / "log.txt").read_text(encoding="utf-8"))
            time.sleep(0.05)

    def stop(self) -> None:
        """Kill it at once; ending it takes 2.4 s.

        What it has acknowledged is in its files either way.
        """
        if self.process is not None:
            end(self.process)
            self.process = None

    def _answers(self) -> bool:
        try:
            with self.rest as client:
                return client.get("/system").status_code == 200
        except httpx.TransportError:
            return False

    def instances(self) -> list[bytes]:
        """Every stored instance as a file."""
        with self.rest as client:
            ids = client.get("/instances").json()
            return [client.get(f"/instances/{each}/file").content for each in ids]

    def store(self, data: bytes) -> None:
        with self.rest as client:
            client.post("/instances", content=data).raise_for_status()
