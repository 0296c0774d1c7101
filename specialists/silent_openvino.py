"""OpenVINO without its usage reports: importing its conversion tool alone sends one to its maker.

The tool is only a wrapper of the frontends that `specialists.runtime_openvino` asks directly, so that it is kept
from being imported. Nothing of this service may speak to a third party.
"""

import importlib
import sys

BLOCKED = "openvino.tools.ovc"

if BLOCKED not in sys.modules:
    sys.modules[BLOCKED] = None  # type: ignore[assignment]

ov = importlib.import_module("openvino")
frontend = importlib.import_module("openvino.frontend")
ts_decoder = importlib.import_module("openvino.frontend.pytorch.ts_decoder")
