"""One process of a deployment with stand-in specialists: `web`, `work` or `both`.

Its settings are from the environment.
"""

import os
import resource
import signal
import sys
from dataclasses import dataclass
from pathlib import Path

from reports.model import Box
from specialists.image import Image
from specialists.result import Result
from tests.app.stand_in import StandInTools

POISON_PX = 77
"""An image of this width kills whoever looks at it."""


@dataclass(kw_only=True)
class Mortal(StandInTools):
    """Stand-ins that a poisoned image kills, as a decoder's fault would."""

    def run(self, specialist_id: str, image: Image, roi: Box | None = None) -> Result:
        if image.pixels.shape[1] == POISON_PX:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().run(specialist_id, image, roi)


def main() -> None:
    """Run that process until it is stopped: `stand_in_process.py ROLE DELAY_S DIARY`."""
    from app.application import create_app
    from app.observability.logs import set_up_logs
    from app.settings import Settings
    from app.web.server import listening, serve
    from app.worker.process import work

    role, delay_s, diary = sys.argv[1], float(sys.argv[2]), Path(sys.argv[3])
    if limit_bytes := os.environ.get("FILE_LIMIT_BYTES"):
        resource.setrlimit(resource.RLIMIT_FSIZE, (int(limit_bytes), int(limit_bytes)))
    settings = Settings()
    set_up_logs(settings)
    if role == "work":
        work(settings, Mortal(delay_s=delay_s, diary=diary))
        return
    app = create_app(settings, Mortal(delay_s=delay_s, diary=diary) if role == "both" else None)
    with listening(settings.host, settings.port) as listener:
        serve(app, listener)


if __name__ == "__main__":
    main()
