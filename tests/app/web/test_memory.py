"""What an upload said of its patient is not in the memory of the service once it is answered."""

import re
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from tests.app.deployment import Deployment, deployed
from tests.app.dicom_files import a_dicom
from tests.app.stacks import until

NAME = "Zzyzx^Quillfeather"
SIZES = ((768, 1024), (120, 160), (700, 1000), (300, 400))
"""Files of 20 kB to 800 kB, which lie in small and in large blocks of memory."""

_NOT_READABLE = ("[vvar]", "[vvar_vclock]", "[vsyscall]")


def children(pid: int) -> Iterator[int]:
    """Processes that this one started, with theirs."""
    for task in Path(f"/proc/{pid}/task").iterdir():
        for child in (task / "children").read_text(encoding="ascii").split():
            yield int(child)
            yield from children(int(child))


def found(pid: int, words: str) -> int:
    """How often these words stand in the memory of a process."""
    count = 0
    with Path(f"/proc/{pid}/mem").open("rb", buffering=0) as memory:
        for line in Path(f"/proc/{pid}/maps").read_text(encoding="utf-8").splitlines():
            place, access, *_, name = f"{line} ".split(" ", 5)
            if "r" in access and name.strip() not in _NOT_READABLE:
                start, end = (int(number, 16) for number in place.split("-"))
                memory.seek(start)
                try:
                    held = memory.read(end - start)
                except OSError:  # A mapping of a device, or gone meanwhile.
                    continue
                count += len(re.findall(re.escape(words.encode()), held))
    return count


def held(deployment: Deployment, words: str) -> dict[int, int]:
    """How often these words stand in the memory of the service and of its reader processes."""
    root = deployment.processes["web"].pid
    counts = {}
    for pid in (root, *children(root)):
        try:
            counts[pid] = found(pid, words)
        except (FileNotFoundError, ProcessLookupError):  # It has ended.
            continue
    return counts


@pytest.fixture(params=[False, True], ids=["without links", "with links"])
def service(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Deployment]:
    environment = {"USTRI_BLACKEN_TEXT": "false"}
    if request.param:
        key_file = tmp_path / "link.key"
        key_file.write_text("ab" * 32, encoding="ascii")
        key_file.chmod(0o600)
        environment["USTRI_LINK_KEY_FILE"] = str(key_file)
    with deployed(tmp_path, environment, delay_s=0.0) as deployment:
        process = deployment.start("web", "both")
        until(deployment.answers, "The service does not answer.")
        try:
            known = found(process.pid, str(tmp_path))
        except PermissionError:
            pytest.skip("the memory of another process may not be read here")
        assert known, "The search finds nothing at all."
        yield deployment


def test_the_last_upload_is_in_no_memory_of_the_service(service: Deployment) -> None:
    for number, size in enumerate(SIZES):
        echo = np.random.default_rng(number).rayleigh(60.0, size)
        name = f"{NAME}{number:02}"
        data = a_dicom(np.clip(echo, 0, 255).astype(np.uint8), PatientName=name)
        answer = service.client.post("/analyze", files={"image": ("x", data)})
        assert answer.status_code == 200, answer.text
        assert service.client.get("/").status_code == 200
        deadline = time.monotonic() + 5.0
        while any((counts := held(service, name)).values()) and time.monotonic() < deadline:
            time.sleep(0.1)
        assert len(counts) >= 2
        assert not any(counts.values()), (size, counts)
