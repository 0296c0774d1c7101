"""What a Prometheus server would read, as numbers by name and labels."""

import asyncio
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import httpx
from prometheus_client.parser import text_string_to_metric_families

LIMIT_S = 20.0


@dataclass(frozen=True, kw_only=True)
class Scrape:
    """One answer; sums over the labels that are not asked for."""

    text: str
    samples: tuple[tuple[str, Mapping[str, str], float], ...]
    kinds: Mapping[str, str]

    def value(self, name: str, **labels: str) -> float:
        return sum(
            value
            for found, given, value in self.samples
            if found == name and labels.items() <= given.items()
        )

    def labels(self, name: str, label: str) -> set[str]:
        return {given[label] for found, given, _ in self.samples if found == name}


def parsed(text: str) -> Scrape:
    families = list(text_string_to_metric_families(text))
    return Scrape(
        text=text,
        samples=tuple((s.name, s.labels, s.value) for family in families for s in family.samples),
        kinds={family.name: family.type for family in families},
    )


async def scrape(client: httpx.AsyncClient) -> Scrape:
    answer = await client.get("/metrics")
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    return parsed(answer.text)


async def scraped_when(
    client: httpx.AsyncClient, holds: Callable[[Scrape], bool], what: str
) -> Scrape:
    """The first scrape of which that holds; a count follows its event by a moment."""
    end = time.monotonic() + LIMIT_S
    while time.monotonic() < end:
        found = await scrape(client)
        if holds(found):
            return found
        await asyncio.sleep(0.05)
    raise TimeoutError(what)
