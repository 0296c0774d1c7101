"""Import of OpenVINO without its usage reports, with one core that lasts as long as the process.

Importing OpenVINO's conversion tool is enough to send a report to its vendor, and nothing in this
service may contact a third party. The tool only wraps the frontends, which
`specialists.runtime.openvino_runner` calls directly, so its import is blocked.
"""

import importlib
import sys

BLOCKED = "openvino.tools.ovc"

if BLOCKED not in sys.modules:
    sys.modules[BLOCKED] = None  # type: ignore[assignment]

ov = importlib.import_module("openvino")
frontend = importlib.import_module("openvino.frontend")
ts_decoder = importlib.import_module("openvino.frontend.pytorch.ts_decoder")

CORE = ov.Core()
"""The process's only core, which is never released.

Its CPU plugin gives the thread that loads it an alternate signal stack (for AMX), and unmaps that
stack in whichever thread the core is destroyed. If that is another thread, the next signal kills
the process without a message.
"""
