"""Import of nncf without its usage reports.

nncf sends a report of each quantisation to its vendor where it can import `openvino_telemetry`, and
this project contacts no third party. Without that module, nncf sends nothing.
"""

import importlib
import logging
import sys
import warnings
from types import ModuleType

from specialists.errors import TrainingError
from specialists.runtime import openvino_import

BLOCKED = ("openvino_telemetry", openvino_import.BLOCKED)


def load_nncf() -> ModuleType:
    """Return the package.

    Raises:
        TrainingError: it is not installed.
    """
    for name in BLOCKED:
        sys.modules[name] = None  # type: ignore[assignment]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            nncf = importlib.import_module("nncf")
    except ImportError as error:
        raise TrainingError(
            f"Networks are brought to int8 by nncf, which the extra `train` installs: {error}"
        ) from error
    nncf.set_log_level(logging.ERROR)
    return nncf
