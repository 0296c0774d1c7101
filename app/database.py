"""The database under the store: how it is opened, brought to its newest form, and what its errors mean."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from sqlite3 import Connection as SqliteConnection
from sqlite3 import OperationalError

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, IntegrityError

from app.errors import StoreUnavailable

MIGRATIONS = Path(__file__).parent / "migrations"


def open_engine(url: str, busy_s: float) -> Engine:
    """An engine that waits `busy_s` for a lock; transactions of it read, those of its `writer` write.

    Raises:
        StoreUnavailable: the address is no address, or its driver is not installed.
    """
    try:
        sqlite = make_url(url).get_backend_name() == "sqlite"
        engine = create_engine(url, connect_args={"timeout": busy_s} if sqlite else {})
    except (ArgumentError, ModuleNotFoundError) as error:
        raise StoreUnavailable(
            "USTRI_DATABASE_URL names no database that can be opened here; leave it unset for the "
            "SQLite file in the data folder."
        ) from error
    if sqlite:
        event.listen(engine, "connect", _on_connect)
        event.listen(engine, "begin", _on_begin)
    return engine


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
        except OperationalError:
            return False
        finally:
            connection.close()
    return not busy


def migrate(engine: Engine) -> None:
    """Nothing; the tables have the newest form, all of it or none.

    Raises:
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
            config.attributes["connection"] = connection
            command.upgrade(config, "head")


@contextmanager
def translated() -> Iterator[None]:
    """Nothing; errors of the database and the disk become StoreUnavailable."""
    try:
        yield
    except IntegrityError:
        raise  # A row that should not be: our mistake, not the database's absence.
    except DBAPIError as error:
        cause = str(error.orig).lower()
        if "locked" in cause or "busy" in cause:
            sentence = "The database is locked by another process; try again."
        elif "readonly" in cause or "read-only" in cause:
            sentence = "The database can only be read; check its permissions and the disk."
        else:
            sentence = "The database cannot be used; check USTRI_DATABASE_URL and the disk."
        raise StoreUnavailable(sentence) from error
    except OSError as error:
        raise StoreUnavailable(
            f"The image folder cannot be written: {error.strerror}; check the disk."
        ) from error
