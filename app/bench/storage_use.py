"""Measure what a store takes for an analysis: image and row bytes, write-ahead log, Redis."""

import sqlite3
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol, Self

from app.errors import SettingsError

HELD_S = 0.5
"""Seconds after which an open transaction is taken to belong to a suspended process."""

_OPEN = (
    "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() "
    "AND backend_type = 'client backend' AND pid <> pg_backend_pid() AND xact_start IS NOT NULL"
)


@dataclass(frozen=True, kw_only=True)
class Counts:
    """Counters of a store, or how far they moved; None where the store has no such counter."""

    picture_bytes: float
    row_bytes: float
    log_bytes: float | None = None
    writes: float | None = None
    redis_bytes: float | None = None
    redis_commands: float | None = None

    def __add__(self, other: Self) -> Self:
        return self._with(other, 1.0)

    def __sub__(self, other: Self) -> Self:
        return self._with(other, -1.0)

    def per(self, analyses: int) -> Self:
        """Return the mean for one analysis of counters that moved this far for so many."""
        mean: dict[str, Any] = {
            name: None if value is None else round(value / analyses, 1)
            for name, value in asdict(self).items()
        }
        return type(self)(**mean)

    def _with(self, other: Self, sign: float) -> Self:
        theirs = asdict(other)
        moved: dict[str, Any] = {
            name: None if value is None or theirs[name] is None else value + sign * theirs[name]
            for name, value in asdict(self).items()
        }
        return type(self)(**moved)


class Kept(Protocol):
    """A store whose growth is watched from outside."""

    name: str

    def now(self) -> Counts:
        """Return the counters of the store."""

    def held(self) -> bool:
        """Return whether a process keeps others from writing for `HELD_S`."""


class SqliteKept:
    """The file `ustri.db` of a data folder, and the images beside it."""

    name = "SQLite"

    def __init__(self, data_dir: Path) -> None:
        self._data_dir = data_dir

    def now(self) -> Counts:
        """Return the counters of the store.

        The log is written into the database file and is not counted separately.
        """
        connection = sqlite3.connect(f"file:{self._data_dir / 'ustri.db'}?mode=ro", uri=True)
        try:
            pages = connection.execute("PRAGMA page_count").fetchone()[0]
            page_bytes = connection.execute("PRAGMA page_size").fetchone()[0]
        finally:
            connection.close()
        pictures = sum(path.stat().st_size for path in (self._data_dir / "images").glob("*.png"))
        return Counts(picture_bytes=pictures, row_bytes=pages * page_bytes)

    def held(self) -> bool:
        """Return whether a process keeps others from writing for `HELD_S`."""
        connection = sqlite3.connect(self._data_dir / "ustri.db", HELD_S, isolation_level=None)
        try:
            connection.execute("BEGIN IMMEDIATE")
            connection.execute("ROLLBACK")
        except sqlite3.OperationalError:
            return True
        finally:
            connection.close()
        return False


class ServerKept:
    """A PostgreSQL database, and a Redis where there is one."""

    name = "PostgreSQL"

    def __init__(self, database_url: str, redis_url: str | None) -> None:
        self._database_url = database_url.replace("postgresql+psycopg:", "postgresql:", 1)
        self._redis_url = redis_url

    def check_empty(self) -> None:
        """Check that the database and the Redis hold nothing yet.

        The bench's worker answers whatever waits there with a recorded analysis, so it must never
        meet real work.

        Raises:
            SettingsError: one of them is in use, or cannot be reached.
        """
        import psycopg

        try:
            with psycopg.connect(self._database_url) as connection:
                row = connection.execute(
                    "SELECT count(*) FROM pg_class JOIN pg_namespace n ON n.oid = relnamespace "
                    "WHERE relkind = 'r' AND nspname NOT IN ('pg_catalog', 'information_schema')"
                ).fetchone()
        except psycopg.OperationalError as error:
            raise SettingsError("--postgresql names no database that can be reached.") from error
        if row is None or row[0]:
            raise SettingsError("--postgresql names a database with tables: give an empty one.")
        if self._redis_url is None:
            return
        from redis import Redis
        from redis.exceptions import RedisError

        try:
            with Redis.from_url(self._redis_url) as client:
                keys = client.dbsize()
        except RedisError as error:
            raise SettingsError("--redis names no Redis that can be reached.") from error
        if keys:
            raise SettingsError("--redis names a Redis with keys: give an empty one.")

    def now(self) -> Counts:
        """Return the counters of the store.

        PostgreSQL numbers only the transactions that write; these numbers are counted.
        """
        import psycopg  # Imported here: it comes with the extra `queue`.

        with psycopg.connect(self._database_url) as connection:
            row = connection.execute(
                "SELECT pg_database_size(current_database()), pg_total_relation_size('pictures'), "
                "pg_wal_lsn_diff(pg_current_wal_lsn(), '0/0'), "
                "pg_snapshot_xmax(pg_current_snapshot())::text::bigint"
            ).fetchone()
        if row is None:
            raise TypeError("PostgreSQL gave no row.")
        whole, pictures, log, number = (float(value) for value in row)
        redis_bytes, redis_commands = self._redis()
        return Counts(
            picture_bytes=pictures,
            row_bytes=whole - pictures,
            log_bytes=log,
            writes=number,
            redis_bytes=redis_bytes,
            redis_commands=redis_commands,
        )

    def held(self) -> bool:
        """Return whether a process keeps others from writing for `HELD_S`."""
        import psycopg

        until = time.monotonic() + HELD_S
        with psycopg.connect(self._database_url, autocommit=True) as connection:
            while connection.execute(_OPEN).fetchone() != (0,):
                if time.monotonic() > until:
                    return True
                time.sleep(0.02)
        return False

    def _redis(self) -> tuple[float | None, float | None]:
        if self._redis_url is None:
            return None, None
        from redis import Redis

        with Redis.from_url(self._redis_url) as client:
            stats = client.info("stats")
        moved = stats["total_net_input_bytes"] + stats["total_net_output_bytes"]
        return float(moved), float(stats["total_commands_processed"])
