"""The peer: the service that a reader of the USTri paper would write in an afternoon.

The paper is arXiv:2604.16914. The peer is measured beside this service. It is FastAPI with one
endpoint on its default thread pool, and eager torch in fp32; every tool encodes the image for
itself. It reads the same weights and computes the same answers, but has no planner, store, queue,
report or shared pass.

Run as `python -m app.bench.baseline PORT SPECIALIST …`; only `ustri bench` uses it.
"""

import io
import sys
from collections.abc import Callable, Sequence
from typing import Annotated

import numpy as np
import PIL.Image
import torch
import uvicorn
from fastapi import FastAPI, File, UploadFile

from reports.model import Box
from specialists.decode import decode
from specialists.engine import box_mask, network_input
from specialists.image import Image, image_of
from specialists.letterbox import letterbox
from specialists.load import load_backbone, load_specialist
from specialists.manifest import Manifest, Roi, read_manifest
from specialists.result import DetectResult, Result

Tool = Callable[[Image, Box | None], Result]


def tool(manifest: Manifest, specialist_id: str) -> Tool:
    """Load one published model: its own copy of the backbone, its decoder and its head.

    Raises:
        WeightsError: its weights are missing, truncated or altered.
    """
    entry = manifest.specialist(specialist_id)
    model = manifest.models[entry.model]
    backbone = load_backbone(model)
    net = load_specialist(entry, model, backbone)

    def answer(image: Image, roi: Box | None) -> Result:
        height_px, width_px = image.pixels.shape
        box = letterbox(height_px, width_px, model.input_px)
        pixels, field = network_input(image, box)
        region = None
        if entry.roi is not Roi.NONE:
            region = torch.zeros_like(field)
            if roi is not None:
                (x_min, y_min), (x_max, y_max) = box.to_network(np.array(roi).reshape(2, 2))
                region = box_mask((x_min, y_min, x_max, y_max), model.input_px) * field
        with torch.inference_mode():
            return decode(
                entry, net(backbone((pixels - model.mean) / model.std), field, region), box
            )

    return answer


def create_peer(specialist_ids: Sequence[str]) -> FastAPI:
    """Build the peer with those specialists, which it runs one after the other."""
    manifest = read_manifest()
    tools = [tool(manifest, name) for name in specialist_ids]
    app = FastAPI()

    @app.get("/healthz")
    def alive() -> dict[str, str]:
        return {"status": "ok"}

    @app.post("/analyze")
    def analyze(image: Annotated[UploadFile, File()]) -> list[Result]:
        picture = PIL.Image.open(io.BytesIO(image.file.read())).convert("L")
        seen = image_of(np.asarray(picture))
        answers: list[Result] = []
        roi: Box | None = None
        for ask in tools:
            answers.append(ask(seen, roi))
            if isinstance(answers[-1], DetectResult):
                roi = answers[-1].box
        return answers

    return app


def main() -> None:
    """Serve on that port of this machine until SIGTERM."""
    port, *specialist_ids = sys.argv[1:]
    uvicorn.run(create_peer(specialist_ids), host="127.0.0.1", port=int(port), log_level="warning")


if __name__ == "__main__":
    main()
