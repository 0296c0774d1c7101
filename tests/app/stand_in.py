"""Specialists that answer from a table, at once, slowly or at a gate, and a server for them."""

import sys
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

from reports.model import Box, ExamCode
from specialists.errors import Declined
from specialists.image import Image
from specialists.manifest import Manifest, Threshold, read_manifest
from specialists.result import Result
from tests.builders import (
    a_classify_result,
    a_detect_result,
    a_segment_result,
    a_sha256,
    an_exam_result,
)
from tests.one_by_one import OneByOne

INSTALLED = ("exam_cls", "breast_lesion_det", "breast_lesion", "breast_2cls", "breast_3cls")


def a_manifest() -> Manifest:
    """The shipped manifest with the breast specialists and the router installed."""
    shipped = read_manifest()
    specialists = {
        name: entry.model_copy(
            update={
                "weights": f"{name}.safetensors" if name in INSTALLED else None,
                "sha256": a_sha256(name) if name in INSTALLED else None,
                "backbone_sha256": a_sha256("backbone"),
                "not_installed": None if name in INSTALLED else "No weights in this test.",
                "thresholds": {
                    "accept": Threshold(value=0.6, source="this test"),
                    "contradiction": Threshold(value=0.9, source="this test"),
                },
            }
            | ({"labels": tuple(exam.value for exam in ExamCode)} if name == "exam_cls" else {})
        )
        for name, entry in shipped.specialists.items()
    }
    models = {
        name: entry.model_copy(update={"weights": "b.safetensors", "sha256": a_sha256("backbone")})
        for name, entry in shipped.models.items()
    }
    return Manifest(models=models, specialists=specialists)


def breast_answers() -> dict[str, Result | Exception]:
    """One lesion, rather benign."""
    return {
        "exam_cls": an_exam_result(),
        "breast_lesion_det": a_detect_result(),
        "breast_lesion": a_segment_result(),
        "breast_2cls": a_classify_result(),
        "breast_3cls": a_classify_result(
            specialist="breast_3cls",
            sha256=a_sha256("breast_3cls"),
            scores={"normal": 0.05, "benign": 0.75, "malignant": 0.2},
        ),
    }


@dataclass(kw_only=True)
class StandInTools(OneByOne):
    """Specialists that wait for `gate`, take `delay_s`, note the call, and answer."""

    answers: dict[str, Result | Exception] = field(default_factory=breast_answers)
    manifest: Manifest = field(default_factory=a_manifest)
    runtime: str = "stand-in"
    delay_s: float = 0.0
    gate: threading.Event = field(default_factory=threading.Event)
    calls: list[str] = field(default_factory=list)
    regions: list[Box | None] = field(default_factory=list)
    diary: Path | None = None

    def __post_init__(self) -> None:
        self.gate.set()

    def run(self, specialist_id: str, image: Image, roi: Box | None = None) -> Result:
        self.calls.append(specialist_id)
        self.regions.append(roi)
        self.gate.wait(60)
        time.sleep(self.delay_s)
        if self.diary is not None:
            with self.diary.open("a", encoding="utf-8") as diary:
                diary.write(f"{specialist_id}\n")
        answer = self.answers[specialist_id]
        if isinstance(answer, Exception):
            raise answer
        return answer


DECLINED = Declined("The region is too small to read.")


def main() -> None:
    """Serve stand-ins that take their time: `stand_in.py DATA_DIR PORT DELAY_S`."""
    import uvicorn

    from app.application import create_app
    from app.settings import Settings

    data_dir, port, delay_s = Path(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])
    settings = Settings(data_dir=data_dir, port=port, lease_s=5.0)
    tools = StandInTools(delay_s=delay_s, diary=data_dir / "diary.txt")
    uvicorn.run(create_app(settings, tools), host="127.0.0.1", port=port, log_level="info")


if __name__ == "__main__":
    main()
