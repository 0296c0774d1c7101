"""The database under the store: how it is opened and migrated, and what its errors mean."""

import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from enum import IntEnum
from pathlib import Path
from sqlite3 import Connection as SqliteConnection
from sqlite3 import OperationalError as SqliteError
from typing import Protocol

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import URL, Connection, Engine, create_engine, event, func, select, text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import (
    ArgumentError,
    DBAPIError,
    IntegrityError,
    NoSuchModuleError,
    OperationalError,
)
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.orm import Session

from app.errors import StoreAway, StoreUnavailable

MIGRATIONS = Path(__file__).parent / "migrations"
MIGRATION_S = 120
"""How long a process waits for another one that migrates; large tables take time."""

STATEMENT_S = 60
"""Longest time that PostgreSQL may spend on one statement; none is meant to take a second."""

POOL_SIZE, POOL_OVERFLOW = 8, 24
"""Connections that a process keeps, and may open beyond those; more than its request threads."""


_REFUSALS = ("authentication", "does not exist", "pg_hba.conf", "permission denied", "certificate")
"""Words in the errors of a server that is reachable and will refuse again.

User, password, database name or address are wrong then.
"""


class Alone(IntEnum):
    """Operations that only one transaction at a time may perform.

    The values are keys of PostgreSQL's advisory locks: "USTri" in ASCII, then a count.
    """

    MIGRATE = 0x5553547269_01
    ACCEPT = 0x5553547269_02
    OUTBOX = 0x5553547269_03
    INFERENCE = 0x5553547269_04
    KEYS = 0x5553547269_05


def open_engine(url: str, busy_s: float) -> Engine:
    """Return an engine that waits `busy_s` for a lock.

    Its own transactions read; those of its `writer` write.

    Raises:
        StoreUnavailable: the URL is not valid, or its driver is not installed.
    """
    try:
        address = make_url(url)
        sqlite = address.get_backend_name() == "sqlite"
        if sqlite:
            engine = create_engine(address, connect_args={"timeout": busy_s}, hide_parameters=True)
        else:
            engine = _server_engine(address, busy_s)
    except (ArgumentError, ModuleNotFoundError, NoSuchModuleError) as error:
        raise StoreUnavailable(
            "USTRI_DATABASE_URL names no database that can be opened here "
            "(postgresql+psycopg://user@host/name); leave it unset for the SQLite file in the data "
            "folder."
        ) from error
    if sqlite:
        event.listen(engine, "connect", _on_connect)
        event.listen(engine, "begin", _on_begin)
    return engine


def _server_engine(address: URL, busy_s: float) -> Engine:
    """Return a PostgreSQL engine that no hanging lock, statement or network can block.

    Each of them ends in an error instead of a thread that waits forever.
    """
    if address.get_backend_name() != "postgresql":
        raise ArgumentError("SQLite and PostgreSQL are supported.")
    limits_ms = {
        "lock_timeout": busy_s * 1000 + 1,
        "statement_timeout": STATEMENT_S * 1000,
        "idle_in_transaction_session_timeout": STATEMENT_S * 1000,
    }
    return create_engine(
        address,
        hide_parameters=True,  # An error message must not quote a question.
        pool_pre_ping=True,  # A restart of the server fails no request.
        pool_size=POOL_SIZE,
        max_overflow=POOL_OVERFLOW,
        pool_timeout=max(busy_s, 1.0),
        connect_args={
            "connect_timeout": max(int(busy_s), 2),
            "options": " ".join(f"-c {name}={int(ms)}" for name, ms in limits_ms.items()),
            "tcp_user_timeout": STATEMENT_S * 1000,
        },
    )


def _on_connect(connection: SqliteConnection, _: object) -> None:
    connection.isolation_level = None  # The driver must not begin transactions by itself.
    connection.execute("PRAGMA foreign_keys = ON")
    # Erased data is overwritten, not only freed.
    connection.execute("PRAGMA secure_delete = ON")
    # FULL: an analysis that was answered with 202 survives a power cut, not only a crash.
    connection.execute("PRAGMA synchronous = FULL")
    if connection.execute("PRAGMA journal_mode").fetchone()[0] != "wal":
        connection.execute("PRAGMA journal_mode = WAL")


def _on_begin(connection: Connection) -> None:
    # A deferred transaction that turns into a writer fails at once if another one has written
    # meanwhile. A writer therefore takes the lock when it begins, where the busy timeout applies.
    immediate = connection.get_execution_options().get("immediate", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if immediate else "BEGIN")


def writer(engine: Engine) -> Engine:
    """Return the same engine with transactions that hold the write lock from their beginning."""
    return engine.execution_options(immediate=True)


def shared(engine: Engine) -> bool:
    """Return whether other machines reach that database; a SQLite file belongs to one machine."""
    return engine.dialect.name != "sqlite"


def alone(session: Session, what: Alone) -> None:
    """Keep other transactions from the same operation until this one ends.

    In SQLite a transaction that may write is alone anyway.
    """
    if session.get_bind().dialect.name == "postgresql":
        session.execute(select(func.pg_advisory_xact_lock(int(what))))


LOCKED = "The database stayed locked by another writer; try again."
"""Message for both waits: a thread's for its turn, and SQLite's for another process."""


class Turns:
    """A lock by which the threads of one process write to a SQLite file one after the other.

    The next thread continues as soon as one is done, whereas SQLite itself makes a thread that
    finds the file locked sleep for longer and longer, up to 100 ms. SQLite still keeps processes
    apart.
    """

    def __init__(self, busy_s: float) -> None:
        self._busy_s = busy_s
        self._lock = threading.Lock()

    @classmethod
    def of(cls, engine: Engine, busy_s: float) -> Callable[[], AbstractContextManager[None]]:
        """Return a factory of the context for write transactions.

        For a database server the context does nothing.
        """
        return nullcontext if shared(engine) else cls(busy_s).taken

    @contextmanager
    def taken(self) -> Iterator[None]:
        """Wait for this thread's turn and hold it.

        Raises:
            StoreUnavailable: the turn did not come in time.
        """
        if not self._lock.acquire(timeout=self._busy_s):
            raise StoreUnavailable(LOCKED)
        try:
            yield
        finally:
            self._lock.release()


def flush_log(engine: Engine) -> bool:
    """Flush SQLite's write-ahead log, which still holds erased data; return whether it is empty.

    The result is False while another connection reads. Other databases have nothing to flush.
    """
    if engine.dialect.name != "sqlite":
        return True
    with translated():
        connection = engine.raw_connection()
        try:
            busy, _, _ = connection.cursor().execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        except SqliteError:
            return False
        finally:
            connection.close()
    return not busy


def migrate(engine: Engine) -> None:
    """Bring the tables to the newest schema, completely or not at all.

    Raises:
        StoreAway: the database's server is not there.
        StoreUnavailable: the database cannot be read or written.
    """
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    head = ScriptDirectory.from_config(config).get_current_head()
    with translated():
        with engine.begin() as connection:
            if MigrationContext.configure(connection).get_current_revision() == head:
                return
        with writer(engine).begin() as connection:
            if shared(engine):  # Of several processes that start at once, one migrates.
                connection.execute(text(f"SET LOCAL lock_timeout = '{MIGRATION_S}s'"))
                connection.execute(text(f"SET LOCAL statement_timeout = '{MIGRATION_S}s'"))
                connection.execute(select(func.pg_advisory_xact_lock(int(Alone.MIGRATE))))
            config.attributes["connection"] = connection
            command.upgrade(config, "head")


def _away(error: DBAPIError) -> bool:
    """Return whether the server cannot be reached, starts or stops, so that waiting may help.

    PostgreSQL's codes: class 08 is a failed connection, 57P01 to 57P03 are a server that stops or
    starts. A connection that was never made has no code; then only the words of the server's error
    identify a refusal.
    """
    if error.connection_invalidated:
        return True
    code = getattr(error.orig, "sqlstate", "")
    if code is not None:
        return code.startswith("08") or code in ("57P01", "57P02", "57P03")
    cause = str(error.orig).lower()
    return isinstance(error, OperationalError) and not any(word in cause for word in _REFUSALS)


@contextmanager
def translated() -> Iterator[None]:
    """Translate errors of the database and the disk into StoreUnavailable."""
    try:
        yield
    except IntegrityError:
        raise  # A row that must not exist: a bug here, not an unavailable database.
    except PoolTimeout as error:
        raise StoreUnavailable("Every connection to the database is in use; try again.") from error
    except DBAPIError as error:
        if _away(error):
            raise StoreAway(
                "The database server is not there; check that it runs, and USTRI_DATABASE_URL."
            ) from error
        cause = str(error.orig).lower()
        if any(word in cause for word in ("locked", "busy", "lock timeout")):
            sentence = LOCKED
        elif "readonly" in cause or "read-only" in cause:
            sentence = "The database can only be read; check its permissions and the disk."
        else:
            sentence = "The database cannot be used; check USTRI_DATABASE_URL and the disk."
        raise StoreUnavailable(sentence) from error
    except OSError as error:
        raise StoreUnavailable(
            f"The image folder cannot be written: {error.strerror}; check the disk."
        ) from error


class Sessions(Protocol):
    """Sessions of a store: one that sees one state of the database, one that alone may write."""

    def read(self) -> AbstractContextManager[Session]:
        """Open a session that sees one state of the database."""

    def write(self) -> AbstractContextManager[Session]:
        """Open a session that alone may write."""
