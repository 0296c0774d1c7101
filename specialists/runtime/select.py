"""Selection of the runtime that executes the networks."""

import logging

import torch

from specialists.runtime.runner import Networks, Runner, RuntimeOptions
from specialists.runtime.torch_runner import TorchRunner

log = logging.getLogger(__name__)

TORCH_BESIDE = 2
"""Threads of torch where OpenVINO runs the networks.

Torch threads that wait for more work would take cores from OpenVINO.
"""


def choose_runner(networks: Networks, device: str, options: RuntimeOptions) -> Runner:
    """Return the requested runner.

    Where OpenVINO does not work it is torch, with a warning and a name that says so.

    Args:
        networks: loaded and checked.
        device: `cpu`, `cuda`, or `auto` for CUDA where it is available.
        options: the requested runtime, precision and threads.
    """
    if device == "auto":
        wanted = options.runtime != "openvino" and torch.cuda.is_available()
        device = "cuda" if wanted else "cpu"
    if options.runtime == "torch" or device != "cpu":
        return _torch(networks, device, options)
    try:
        from specialists.runtime.openvino_runner import OpenVinoRunner

        compiled = OpenVinoRunner(networks, options.precision, options)
    except Exception as error:  # noqa: BLE001 - compilers raise many types; torch can answer.
        reason = f"{type(error).__name__}: {error}".splitlines()[0]
        log.warning("OpenVINO does not run the networks here, torch does. %s", reason)
        runner = _torch(networks, device, options)
        runner.name += " (OpenVINO failed)"
        runner.fallback = reason
        return runner
    torch.set_num_threads(min(TORCH_BESIDE, torch.get_num_threads()))
    return compiled


def _torch(networks: Networks, device: str, options: RuntimeOptions) -> TorchRunner:
    if options.precision == "int8":
        log.warning("Torch runs no int8 form: the networks run in fp32.")
    if options.threads is not None:
        torch.set_num_threads(options.threads)
    return TorchRunner(networks, device, options.precision)
