"""OpenVINO as a process uses it here: without its usage reports, and with one core that lasts as long as the process.

Importing its conversion tool alone sends a report to its maker. The tool is only a wrapper of the frontends that
`specialists.runtime_openvino` asks directly, so that it is kept from being imported. Nothing of this service may
speak to a third party.
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
"""The only one, and never given up: its CPU plugin gives the thread that loads it another stack for signals (for AMX),
and unmaps that wherever the core ends. Ended by another thread, the next signal would kill the process without a word.
"""
