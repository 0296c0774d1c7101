"""The settings, and the table that documents them."""

import re
from pathlib import Path

import pytest

from app.errors import SettingsError
from app.settings import Settings, is_loopback, read_settings

DOCUMENT = Path(__file__).parents[2] / "docs" / "settings.md"


def test_another_address_than_loopback_needs_a_key() -> None:
    for host in ("0.0.0.0", "::", "192.168.1.7", "scans.example"):
        with pytest.raises(SettingsError, match="USTRI_API_KEY is not set"):
            read_settings(host=host)
        with pytest.raises(SettingsError):
            read_settings(host=host, api_key="")
        assert read_settings(host=host, api_key="k").host == host


def test_loopback_needs_none() -> None:
    for host in ("127.0.0.1", "127.1.2.3", "::1", "localhost"):
        assert is_loopback(host)
        assert read_settings(host=host).api_key is None


def test_a_wrong_value_is_named_and_not_repeated(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("USTRI_PORT", "many")
    with pytest.raises(SettingsError, match="USTRI_PORT") as caught:
        read_settings()
    assert "many" not in str(caught.value)


def test_the_key_is_not_shown() -> None:
    assert "secret-key" not in repr(read_settings(api_key="secret-key"))


def test_the_environment_is_read(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("USTRI_DATA_DIR", str(tmp_path))
    monkeypatch.setenv("USTRI_LEASE_S", "7.5")
    assert read_settings().data_dir == tmp_path
    assert read_settings().lease_s == 7.5
    assert read_settings().store_url == f"sqlite:///{tmp_path}/ustri.db"


def test_data_goes_where_xdg_says(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    assert read_settings().data_dir == tmp_path / "ustri"


def test_the_table_lists_every_setting_with_its_default_and_nothing_else() -> None:
    rows = re.findall(
        r"^\| `USTRI_([A-Z_]+)` \| (.*?) \| (.*?) \|$",
        DOCUMENT.read_text(encoding="utf-8"),
        flags=re.MULTILINE,
    )
    table = {name.lower(): (default, text) for name, default, text in rows}
    assert set(table) == set(Settings.model_fields)
    for name, field in Settings.model_fields.items():
        default, text = table[name]
        assert text == field.description
        if field.default_factory is None:
            shown = {None: "unset", (): "`[]`"}.get(field.default, f"`{field.default}`")
            assert default == shown, name


def test_secrets_are_read_from_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    secret = tmp_path / "api_key"
    secret.write_text("from-a-file\n", encoding="utf-8")
    monkeypatch.setenv("USTRI_API_KEY_FILE", str(secret))
    settings = read_settings(host="0.0.0.0")
    assert settings.api_key is not None
    assert settings.api_key.get_secret_value() == "from-a-file"
    with pytest.raises(SettingsError, match="USTRI_API_KEY_FILE, not both"):
        read_settings(api_key="another")
    for bad in (tmp_path / "none", tmp_path / "empty"):
        (tmp_path / "empty").touch()
        with pytest.raises(SettingsError, match="USTRI_API_KEY_FILE names"):
            read_settings(api_key_file=bad)
