"""The compose file and the Dockerfile, which cannot be started here, hold what they promise."""

import re
from pathlib import Path

import pytest
import yaml
from pydantic import BaseModel, ConfigDict, Field

from app.settings import Settings
from reports.release import ACCEPTED_BY

ROOT = Path(__file__).parents[2]
DOCKERFILE = (ROOT / "Dockerfile").read_text(encoding="utf-8")
TEXT = (ROOT / "docker-compose.yml").read_text(encoding="utf-8")


class Limits(BaseModel):
    model_config = ConfigDict(extra="forbid")

    cpus: str
    memory: str
    pids: int


class Resources(BaseModel):
    limits: Limits


class Deploy(BaseModel):
    resources: Resources


class HealthCheck(BaseModel):
    model_config = ConfigDict(extra="forbid")

    test: list[str]
    interval: str
    timeout: str
    retries: int
    start_period: str | None = None


class Service(BaseModel):
    user: str
    read_only: bool
    tmpfs: list[str]
    cap_drop: list[str]
    security_opt: list[str]
    networks: list[str]
    healthcheck: HealthCheck
    deploy: Deploy
    restart: str
    build: dict[str, str] = Field(default_factory=dict)
    environment: dict[str, str] = Field(default_factory=dict)
    secrets: list[str] = Field(default_factory=list)
    ports: list[str] = Field(default_factory=list)
    profiles: list[str] = Field(default_factory=list)
    container_name: str | None = None


def services() -> dict[str, Service]:
    return {
        name: Service.model_validate(body)
        for name, body in yaml.safe_load(TEXT)["services"].items()
    }


@pytest.mark.parametrize("name", services())
def test_every_service_is_confined(name: str) -> None:
    service = services()[name]
    assert not service.user.startswith(("0", "root"))
    assert service.read_only
    assert service.cap_drop == ["ALL"]
    assert service.security_opt == ["no-new-privileges:true"]
    assert service.healthcheck.test[0] == "CMD"
    assert service.deploy.resources.limits.pids > 0


def test_only_the_web_process_can_be_reached_and_it_requires_a_key() -> None:
    found = services()
    assert [name for name, service in found.items() if service.ports] == ["web"]
    assert found["web"].environment["USTRI_API_KEY_FILE"] == "/run/secrets/api_key"
    assert "api_key" in found["web"].secrets
    assert [name for name, service in found.items() if "outside" in service.networks] == ["web"]


def test_workers_can_be_multiplied_and_gpus_are_a_profile() -> None:
    found = services()
    assert found["worker-gpu"].profiles == ["gpu"]
    for name in ("worker", "worker-gpu", "web"):
        assert found[name].container_name is None
        assert f"AS {found[name].build['target']}\n" in DOCKERFILE
    assert not found["worker"].ports


def test_no_secret_stands_in_the_file_and_each_has_its_own() -> None:
    used = {name for service in services().values() for name in service.secrets}
    defined = yaml.safe_load(TEXT)["secrets"]
    assert used == set(defined)
    assert all(body == {"file": f"./secrets/{name}"} for name, body in defined.items())
    assert not re.search(r"(PASSWORD|API_KEY|DATABASE_URL):", TEXT)


def test_every_setting_of_the_file_is_a_setting() -> None:
    spoken = set(re.findall(r"\bUSTRI_[A-Z_]+[A-Z]\b", TEXT))
    assert spoken <= {f"USTRI_{name.upper()}" for name in Settings.model_fields}


def test_by_default_no_report_leaves_and_a_comment_shows_the_setting_with_which_they_do() -> None:
    for service in services().values():
        assert ACCEPTED_BY.partition("=")[0] not in service.environment
    accepting = ACCEPTED_BY.replace("=", ": ")
    assert TEXT.count(f"    # {accepting}\n") == 1
    accepted = TEXT.replace(f"# {accepting}", accepting)
    found = yaml.safe_load(accepted)["services"]
    for name in ("web", "worker", "worker-gpu"):
        assert found[name]["environment"][ACCEPTED_BY.partition("=")[0]] == "release"
