"""Specialists that replay recorded answers at once, to measure what the service itself carries.

Run as `python -m app.bench.replay RECORDS`: a worker whose settings come from the environment. It
is used by `ustri bench`.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

from pydantic import TypeAdapter

from app.settings import Settings
from app.worker.process import work
from planner.case import Record
from reports.model import Box
from specialists.deadline import Deadline
from specialists.errors import Declined, Unavailable
from specialists.image import Image
from specialists.manifest import Manifest, read_manifest
from specialists.result import Result

_RECORDS = TypeAdapter(tuple[Record, ...])


def write_records(records: Sequence[Record], path: Path) -> None:
    """Write the steps of an analysis to that file, as JSON.

    Raises:
        OSError: the file cannot be written.
    """
    path.write_bytes(_RECORDS.dump_json(tuple(records)))


class Replay:
    """Tools that answer as they did in one recorded analysis, whatever the image."""

    def __init__(self, manifest: Manifest, records: Sequence[Record]) -> None:
        self.manifest = manifest
        self.runtime = "replay"
        self._answers = {
            record.step.action: record.result for record in records if record.result is not None
        }
        self._declined = {
            record.step.action: record.declined for record in records if record.declined is not None
        }

    def run(self, specialist_id: str, image: Image, roi: Box | None = None) -> Result:
        """Return what that specialist answered in the recording.

        Raises:
            Declined: it declined.
            Unavailable: the recording holds no answer of it.
        """
        if specialist_id in self._declined:
            raise Declined(self._declined[specialist_id])
        if specialist_id not in self._answers:
            raise Unavailable(f"No answer of {specialist_id} was recorded.")
        return self._answers[specialist_id]

    def screen(self, specialist_id: str, images: Sequence[Image]) -> tuple[Result | None, ...]:
        """Return the recorded answer for each image, as `run` does."""
        return tuple(self.run(specialist_id, image) for image in images)

    def with_deadline(self, deadline: Deadline) -> "Replay":
        """Return these tools, which take no time."""
        return self


def main() -> None:
    """Run a worker with the recorded answers until SIGTERM."""
    settings = Settings()
    records = _RECORDS.validate_json(Path(sys.argv[1]).read_bytes())
    work(settings, Replay(read_manifest(settings.specialists_dir), records))


if __name__ == "__main__":
    main()
