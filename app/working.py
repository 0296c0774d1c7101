"""A process that works and serves nothing: its store, its workers, and the doorbell that wakes them."""

import logging
import signal
import threading
from types import FrameType

from app.crew import Crew
from app.news import news_of
from app.patience import end_when_told, open_store
from app.scrape import exposed
from app.settings import Settings
from app.starting import uncollected
from app.wake import listening
from planner.run import Tools

DRAIN_S = 25.0
"""How long a running step may take after SIGTERM; a container is killed after 30 s."""

WATCH_S = 1.0


def work(settings: Settings, tools: Tools) -> None:
    """Nothing; works until SIGTERM or Ctrl-C, then finishes the running steps and hands the rest back.

    Raises:
        StoreUnavailable: the store cannot be opened.
        NotReady: a worker broke, or a step did not end in time; its lease ends by itself.
    """
    end_when_told()
    store = open_store(settings)
    stopping = threading.Event()

    def stop(_number: int, _frame: FrameType | None) -> None:
        stopping.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
    news = news_of(settings, hear=False)
    with uncollected():
        crew = Crew(settings, store, tools, news)
    try:
        with exposed(settings), listening(settings, crew.wake):
            crew.start(asker=True)
            logging.getLogger(__name__).info("The workers look for what waits.")
            while not stopping.wait(WATCH_S):
                crew.check()
    finally:
        try:
            crew.stop(DRAIN_S)
        finally:
            news.close()
            store.close()
