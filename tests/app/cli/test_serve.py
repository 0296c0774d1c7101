"""What the service must not start with."""

from pathlib import Path

import pytest

from app.application import create_app
from app.errors import SettingsError
from app.settings import Settings
from app.web.server import listening
from specialists.errors import WeightsError

MANIFEST = """
[[model]]
id = "mine"
family = "transunet"
input_px = 64
mean = 0.2
std = 0.2
config = {{ encoder = "residual", widths = [8, 16, 24, 32], vit_width = 32, blocks = 1, \
layers = 1, heads = 4, mlp_ratio = 2, decoder_widths = [24, 16, 8] }}
weights = "mine.safetensors"
sha256 = "{sha256}"

[[specialist]]
id = "mine_cls"
kind = "classify"
title = "Mine"
model = "mine"
backbone_sha256 = "{sha256}"
task_id = "mine"
exams = ["breast"]
labels = ["a", "b"]
units = "probability"
provides = ["scores:mine"]
features = ["stem"]
roi = "none"
geometry = {{ hflip = true, vflip = false, rotate_deg = 0.0, x_scale = 1.0 }}
weights = "mine_cls.safetensors"
sha256 = "{sha256}"
"""


def write_manifest(settings: Settings, text: str) -> Path:
    settings.specialists_dir.mkdir(parents=True)
    (settings.specialists_dir / "manifest.toml").write_text(text, encoding="utf-8")
    return settings.specialists_dir / "mine.safetensors"


def test_weights_that_are_missing_stop_the_start_by_name(settings: Settings) -> None:
    write_manifest(settings, MANIFEST.format(sha256="0" * 64))
    with pytest.raises(WeightsError, match=r"mine\.safetensors cannot be read"):
        create_app(settings)


def test_weights_that_are_altered_stop_the_start_by_name(settings: Settings) -> None:
    write_manifest(settings, MANIFEST.format(sha256="0" * 64)).write_bytes(b"altered")
    with pytest.raises(WeightsError, match=r"mine\.safetensors is truncated or altered"):
        create_app(settings)


def test_a_manifest_that_cannot_be_read_stops_the_start_by_name(settings: Settings) -> None:
    write_manifest(settings, "[[model]\n")
    with pytest.raises(WeightsError, match=r"specialists/manifest\.toml cannot be read"):
        create_app(settings)


def test_an_address_that_is_taken_or_not_ours_stops_the_start_by_name() -> None:
    with listening("127.0.0.1", 0) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(SettingsError, match=rf"127\.0\.0\.1.*{port}.*in use"):
            listening("127.0.0.1", port)
    with pytest.raises(SettingsError, match=r"192\.0\.2\.1"):
        listening("192.0.2.1", 0)
