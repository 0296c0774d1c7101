"""The demonstration: one image through the running service over HTTP, and its text report.

For a phantom, the values that were drawn are shown beside those that were measured.
"""

import contextlib
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass

import httpx
import uvicorn
from fastapi import FastAPI
from rich.console import Console
from rich.table import Table

from app.errors import NotReady, RequestRejected, SettingsError
from app.web.server import listening
from reports.measure.geometry import box_iou, box_of
from reports.model import MaskEvidence, Report
from reports.upgrade import read_report
from specialists.phantom.truth import Structure, Truth

START_LIMIT_S = 120.0
"""Time in which the service must have started; loading weights on a slow disk takes most of it."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """One quantity as drawn and as measured, in one unit; `measured` is None without a value."""

    name: str
    unit: str
    drawn: float
    measured: float | None

    @property
    def difference_pct(self) -> float | None:
        """How far measured lies from drawn, in per cent of drawn; None where it cannot be given."""
        if self.measured is None or not self.drawn:
            return None
        return 100.0 * (self.measured - self.drawn) / self.drawn


def compare(truth: Truth, report: Report) -> tuple[Row, ...]:
    """Return the drawn and the measured values of each drawn structure.

    A structure is matched with the outline that overlaps it most.
    """
    rows: list[Row] = []
    for structure in truth.structures:
        mask = _outline_of(structure, report)
        size = structure.size_mm if _in_mm(mask, report) else structure.size_px
        x_min, y_min, x_max, y_max = structure.box
        drawn = {
            "long axis": (size.long, size.unit),
            "short axis": (size.short, size.unit),
            "area": (size.area, f"{size.unit}²"),
            "taller-than-wide ratio": ((y_max - y_min) / (x_max - x_min), ""),
        }
        measured = {} if mask is None else _values_on(mask.id, report)
        rows += [
            Row(
                name=f"{structure.label}, {name}",
                unit=unit,
                drawn=value,
                measured=measured.get(name),
            )
            for name, (value, unit) in drawn.items()
        ]
    if truth.aop is not None:
        rows.append(
            Row(
                name="angle of progression",
                unit="deg",
                drawn=truth.aop.square_pixel_deg,
                measured=_value_named("angle of progression", report),
            )
        )
    return tuple(rows)


def as_table(rows: tuple[Row, ...]) -> Table:
    """Return the rows as a table for a terminal."""
    table = Table(title="Drawn beside measured", title_justify="left", title_style="bold")
    table.add_column("quantity")
    for name in ("drawn", "measured", "difference"):
        table.add_column(name, justify="right")
    for row in rows:
        measured = "not measured" if row.measured is None else f"{row.measured:.2f} {row.unit}"
        change = "" if row.difference_pct is None else f"{row.difference_pct:+.1f} %"
        table.add_row(row.name, f"{row.drawn:.2f} {row.unit}", measured.strip(), change)
    return table


def _outline_of(structure: Structure, report: Report) -> MaskEvidence | None:
    masks = [item for item in report.evidence if isinstance(item, MaskEvidence)]
    overlaps = [(box_iou(box_of(mask.polygons), structure.box), mask) for mask in masks]
    best = max(overlaps, key=lambda pair: pair[0], default=None)
    return best[1] if best is not None and best[0] > 0 else None


def _in_mm(mask: MaskEvidence | None, report: Report) -> bool:
    return mask is not None and any(
        item.unit == "mm" for item in report.measurements if mask.id in item.evidence
    )


def _values_on(mask_id: str, report: Report) -> dict[str, float]:
    return {
        item.name: item.value
        for item in report.measurements
        if item.value is not None and mask_id in item.evidence
    }


def _value_named(name: str, report: Report) -> float | None:
    return next((item.value for item in report.measurements if item.name == name), None)


def loopback_socket(port: int) -> socket.socket:
    """Return a socket listening on 127.0.0.1 at `port`, or at a free port where that is taken."""
    try:
        return listening("127.0.0.1", port)
    except SettingsError:
        return listening("127.0.0.1", 0)


@contextlib.contextmanager
def serving(app: FastAPI, listener: socket.socket) -> Iterator[str]:
    """Serve `app` on `listener` with uvicorn in a thread while inside, and yield its address.

    Raises:
        NotReady: the service did not start.
    """
    server = uvicorn.Server(uvicorn.Config(app, log_level="warning", timeout_graceful_shutdown=5))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, name="service")
    thread.start()
    try:
        deadline = time.monotonic() + START_LIMIT_S
        while not server.started:
            if not thread.is_alive() or time.monotonic() > deadline:
                raise NotReady("The service did not start; the lines above say why.")
            time.sleep(0.05)
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join()
        listener.close()


@dataclass(frozen=True, kw_only=True)
class DemoImage:
    """An image file as it is sent, and its ground truth where it is a phantom."""

    name: str
    data: bytes
    truth: Truth | None
    exam: str | None = None


def show(address: str, image: DemoImage, key: str | None, console: Console) -> Report:
    """Request the report over HTTP, print its text form, and return it.

    For a phantom, the table of drawn and measured values is printed too.

    Raises:
        RequestRejected: the service answered with a problem; the message is its title and detail.
    """
    headers = {} if key is None else {"Authorization": f"Bearer {key}"}
    with httpx.Client(base_url=address, headers=headers, timeout=600.0, trust_env=False) as client:
        answer = client.post(
            "/analyze",
            files={"image": (image.name, image.data)},
            data={} if image.exam is None else {"exam": image.exam},
        )
        if answer.status_code != httpx.codes.OK:
            problem = answer.json()
            raise RequestRejected(f"{problem.get('title')}: {problem.get('detail')}")
        report = read_report(answer.content)
        text = client.get(f"/analyses/{report.analysis_id}/report.txt").raise_for_status().text
    console.print(text, markup=False, highlight=False, soft_wrap=True)
    if image.truth is not None:
        rows = compare(image.truth, report)
        console.print(as_table(rows) if rows else "Nothing was drawn that can be measured.")
    return report


def wait_for_interrupt() -> None:
    """Wait until Ctrl-C is pressed."""
    with contextlib.suppress(KeyboardInterrupt):
        threading.Event().wait()
