"""The database under the store: how it is opened, brought to its newest form, and what its errors mean."""

import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from enum import IntEnum
from pathlib import Path
from sqlite3 import Connection as SqliteConnection
from sqlite3 import OperationalError as SqliteError

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
"""How long a process waits for another one that migrates; large tables take their time."""

STATEMENT_S = 60
"""Longest that PostgreSQL works on one statement of ours; none is meant to take a second."""

POOL_SIZE, POOL_OVERFLOW = 8, 24
"""Connections that a process keeps, and may open beside them; more than the threads that it answers from."""


_REFUSALS = ("authentication", "does not exist", "pg_hba.conf", "permission denied", "certificate")
"""What is in the words of a server that is there and will refuse again: user, password, name or address are wrong."""


class Alone(IntEnum):
    """What one transaction at a time may do, as numbers of PostgreSQL's advisory locks ("USTri", then a count)."""

    MIGRATE = 0x5553547269_01
    ACCEPT = 0x5553547269_02
    OUTBOX = 0x5553547269_03
    ASK = 0x5553547269_04
    KEYS = 0x5553547269_05


def open_engine(url: str, busy_s: float) -> Engine:
    """An engine that waits `busy_s` for a lock; transactions of it read, those of its `writer` write.

    Raises:
        StoreUnavailable: the address is no address, or its driver is not installed.
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
            "(postgresql+psycopg://user@host/name); leave it unset for the SQLite file in the data folder."
        ) from error
    if sqlite:
        event.listen(engine, "connect", _on_connect)
        event.listen(engine, "begin", _on_begin)
    return engine


def _server_engine(address: URL, busy_s: float) -> Engine:
    """PostgreSQL: a lock, a statement or a network that hangs ends in an error, never in a thread that waits on."""
    if address.get_backend_name() != "postgresql":
        raise ArgumentError("SQLite and PostgreSQL are supported.")
    limits_ms = {
        "lock_timeout": busy_s * 1000 + 1,
        "statement_timeout": STATEMENT_S * 1000,
        "idle_in_transaction_session_timeout": STATEMENT_S * 1000,
    }
    return create_engine(
        address,
        hide_parameters=True,  # An error must not quote a question.
        pool_pre_ping=True,  # A server that was restarted costs no request.
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
    connection.isolation_level = None  # The driver must not begin transactions behind our back.
    connection.execute("PRAGMA foreign_keys = ON")
    connection.execute(
        "PRAGMA secure_delete = ON"
    )  # What is erased is overwritten, not only freed.
    # FULL: an analysis that was answered with 202 survives a power cut, not only a crash.
    connection.execute("PRAGMA synchronous = FULL")
    if connection.execute("PRAGMA journal_mode").fetchone()[0] != "wal":
        connection.execute("PRAGMA journal_mode = WAL")


def _on_begin(connection: Connection) -> None:
    # A deferred transaction that turns into a writer fails at once when another one wrote; a writer
    # therefore takes the lock when it begins, where the busy timeout applies.
    immediate = connection.get_execution_options().get("immediate", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if immediate else "BEGIN")


def writer(engine: Engine) -> Engine:
    """The same engine, whose transactions hold the write lock from their beginning."""
    return engine.execution_options(immediate=True)


def shared(engine: Engine) -> bool:
    """Whether other machines reach that database; a SQLite file belongs to one."""
    return engine.dialect.name != "sqlite"


def alone(session: Session, what: Alone) -> None:
    """Nothing; no other transaction does the same until this one ends.

    In SQLite whoever may write is alone anyway.
    """
    if session.get_bind().dialect.name == "postgresql":
        session.execute(select(func.pg_advisory_xact_lock(int(what))))


LOCKED = "The database stayed locked by another writer; try again."
"""Whichever wait ended: of a thread for its turn, or of SQLite for another process."""


class Turns:
    """Lets the threads of one process write to a SQLite file one after the other, the next as soon as one is done.

    SQLite itself makes whoever finds the file taken sleep for longer and longer, up to 100 ms. It still keeps
    processes apart.
    """

    def __init__(self, busy_s: float) -> None:
        self._busy_s = busy_s
        self._lock = threading.Lock()

    @classmethod
    def of(cls, engine: Engine, busy_s: float) -> Callable[[], AbstractContextManager[None]]:
        """What a transaction that writes is to be inside of; nothing for a database that is more than a file."""
        return nullcontext if shared(engine) else cls(busy_s).taken

    @contextmanager
    def taken(self) -> Iterator[None]:
        """Nothing, when it is this thread's turn.

        Raises:
            StoreUnavailable: it did not come in time.
        """
        if not self._lock.acquire(timeout=self._busy_s):
            raise StoreUnavailable(LOCKED)
        try:
            yield
        finally:
            self._lock.release()


def flush_log(engine: Engine) -> bool:
    """Whether SQLite's write-ahead log is now empty: it holds what was erased until it is.

    False while another connection reads; there is nothing to flush in other databases.
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
    """Nothing; the tables have the newest form, all of it or none.

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
    """Whether the server cannot be reached or is about to start or stop, so that waiting may help.

    PostgreSQL's codes: class 08 is a connection that failed, 57P01 to 57P03 are a server that stops or starts. A
    connection that is not made has no code; then only the server's own words tell a refusal.
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
    """Nothing; errors of the database and the disk become StoreUnavailable."""
    try:
        yield
    except IntegrityError:
        raise  # A row that should not be: our mistake, not the database's absence.
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
