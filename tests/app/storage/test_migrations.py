"""Migrations over a database that holds rows of the version before."""

import json

from alembic import command
from alembic.config import Config
from sqlalchemy import text

from app.settings import Settings
from app.storage.database import MIGRATIONS, migrate, open_engine, writer

ROWS = (
    "INSERT INTO images (key, size_bytes, created_at) VALUES ('k', 1, '2026-11-01T12:00:00Z')",
    "INSERT INTO analyses (id, image_key, image_info, question_given, request_sha256, created_at) "
    "VALUES ('a', 'k', '{}', false, 's', '2026-11-01T12:00:00Z')",
    "INSERT INTO jobs (analysis_id, version, state, heartbeat_at, fencing_token, attempts) "
    "VALUES ('a', 1, 'running', 1.0, 3, 2)",
    "INSERT INTO outbox (analysis_id, version, form, sop_instance_uid, destination, linked, state, "
    "attempts, due_at, created_at) "
    "VALUES ('a', 1, 'image', '2.25.1', 'https://pacs.example', false, 'sending', 4, 0, "
    "'2026-11-01T12:00:00Z')",
    "INSERT INTO asks (id, specialist, image_info, png, attempts, deadline_at, created_at) "
    "VALUES ('r', 'exam_cls', '{}', '', 1, 9, 9)",
)


def test_leased_rows_survive_the_migration_to_one_lease_and_back(either: Settings) -> None:
    either.data_dir.mkdir(parents=True)
    engine = open_engine(either.store_url, either.busy_s)
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    with writer(engine).begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "0006")
        for row in ROWS:
            connection.execute(text(row))
    migrate(engine)
    leases = "SELECT fencing_token, attempts, lease_owner FROM {}"
    with engine.begin() as connection:
        found = {
            table: tuple(connection.execute(text(leases.format(table))).one())
            for table in ("jobs", "outbox", "inference_requests")
        }
    assert found == {
        "jobs": (3, 2, None),
        "outbox": (4, 4, None),
        "inference_requests": (1, 1, None),
    }
    with writer(engine).begin() as connection:
        config.attributes["connection"] = connection
        command.downgrade(config, "0006")
        assert connection.execute(text("SELECT attempts FROM asks")).one() == (1,)
    migrate(engine)
    engine.dispose()


def test_analyses_of_dicom_files_get_the_study_that_is_kept_with_their_image(
    either: Settings,
) -> None:
    either.data_dir.mkdir(parents=True)
    engine = open_engine(either.store_url, either.busy_s)
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    number = 2**100 + 1
    info = json.dumps({"dicom": {"study_uid": f"2.25.{number}"}})
    with writer(engine).begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "0008")
        connection.execute(text(ROWS[0]))
        for name, stated in (("a", info), ("b", "{}")):
            row = text(ROWS[1].replace("'a'", ":name").replace("'{}'", ":info"))
            connection.execute(row, {"name": name, "info": stated})
    migrate(engine)
    with writer(engine).begin() as connection:
        rows = connection.execute(text("SELECT study_id FROM analyses ORDER BY id")).scalars().all()
        assert rows == [f"{number:032x}", None]
        config.attributes["connection"] = connection
        command.downgrade(config, "0008")
    migrate(engine)
    engine.dispose()
