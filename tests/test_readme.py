"""The documents name commands, settings, specialists, addresses and files that are there."""

import re
import shlex
from pathlib import Path

import pytest
import typer.main
from fastapi import APIRouter
from fastapi.routing import APIRoute

from app.cli.main import app as command_line
from app.settings import Settings
from app.web.pages import api_docs, viewer
from app.web.routes import analyses, health, specialists
from planner.exam import unserved
from planner.protocols import read_protocols
from reports.model import ExamCode
from specialists.manifest import read_manifest
from tests.shipped import why_the_rules_plan

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")
CI = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
DOCKERFILE = (ROOT / "Dockerfile").read_text(encoding="utf-8")

TARGETS = dict(re.findall(r"^([a-z]+):.*?## (.+)$", MAKEFILE, flags=re.MULTILINE))
OUTSIDE_SETTINGS = {"USTRI_REQUIRE_TOOLS"}
"""Read by the tests, not by the service."""


def spoken_commands(program: str, text: str) -> list[list[str]]:
    """The words after each `program` in the code of a document."""
    code = re.findall(r"```sh\n(.*?)```", text, flags=re.DOTALL) + re.findall(r"`([^`\n]+)`", text)
    lines = [line.split(" #")[0] for block in code for line in block.splitlines()]
    found = [line.split(program, 1)[1] for line in lines if program in line]
    return [shlex.split(words) for words in found]


def test_every_make_command_of_the_documents_is_a_target() -> None:
    spoken = re.findall(r"\bmake ([a-z]+)\b", f"{CI}\n{DOCKERFILE}")
    spoken += [words[0] for words in spoken_commands("make ", README)]
    assert {"demo", "test", "serve", "install", "check"} <= set(spoken)
    assert set(spoken) <= set(TARGETS)


def test_every_target_has_a_line_of_help_and_is_phony() -> None:
    phony = re.findall(r"^\.PHONY: (.+)$", MAKEFILE, flags=re.MULTILINE)[0].split()
    assert sorted(phony) == sorted(TARGETS)
    assert {"install", "demo", "test", "soak", "check", "serve"} <= set(TARGETS)


@pytest.mark.parametrize("words", spoken_commands(".venv/bin/ustri ", README), ids=" ".join)
def test_every_command_line_of_the_readme_is_understood(words: list[str]) -> None:
    command = typer.main.get_command(command_line)
    while words and not words[0].startswith("-") and hasattr(command, "commands"):
        assert words[0] in command.commands, f"ustri has no {words[0]}"
        command, words = command.commands[words[0]], words[1:]
    known = {option for parameter in command.params for option in parameter.opts} | {"--help"}
    assert {word for word in words if word.startswith("--")} <= known


def test_every_setting_of_the_documents_is_a_setting() -> None:
    spoken = set(re.findall(r"\bUSTRI_[A-Z_]+[A-Z]\b", f"{README}\n{CI}\n{DOCKERFILE}"))
    fields = {f"USTRI_{name.upper()}" for name in Settings.model_fields}
    assert spoken - OUTSIDE_SETTINGS <= fields


def test_the_table_of_settings_has_each_setting_once() -> None:
    table = (ROOT / "docs" / "settings.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| *`(USTRI_[A-Z_]+)`", table, flags=re.MULTILINE)
    assert sorted(rows) == sorted(f"USTRI_{name.upper()}" for name in Settings.model_fields)


def test_the_table_of_exams_names_every_specialist_and_what_is_served_today() -> None:
    protocols, manifest = read_protocols(), read_manifest()
    rows = re.findall(r"^\| `([a-z_]+)` \| ([a-z ]+) \| ([^|]+) \|", README, flags=re.MULTILINE)
    assert [code for code, _, _ in rows] == [exam.value for exam in protocols.exams]
    for code, today, named in rows:
        exam = ExamCode(code)
        steps = protocols.exams[exam].steps
        assert set(re.findall(r"`([a-z0-9_]+)`", named)) == {
            n for s in steps for n in s.specialists
        }
        refused = unserved(exam, protocols, manifest) is not None
        assert today == ("refused by name" if refused else "reported"), exam


def test_the_readme_says_it_when_the_shipped_planner_does_not_fit_and_the_rules_plan() -> None:
    assert ("Today the rules plan." in README) == (why_the_rules_plan() is not None)


def test_every_specialist_of_the_readme_is_in_the_manifest() -> None:
    known = set(read_manifest().specialists)
    spoken = set(re.findall(r"`([a-z0-9_]+)`", README)) & known
    assert spoken >= {entry.id for entry in read_manifest().installed()}
    assert set(re.findall(r"/specialists/([a-z0-9_]+)$", README, flags=re.MULTILINE)) <= known


def paths(router: APIRouter) -> list[str]:
    return [route.path for route in router.routes if isinstance(route, APIRoute)]


def test_every_address_of_the_readme_is_served() -> None:
    routers = (analyses.router, specialists.router, health.router, viewer.router, api_docs.router)
    served = [path for router in routers for path in paths(router)]
    patterns = [re.compile(re.sub(r"\{[^}]+\}", "[^/]+", path) + "$") for path in served]
    spoken = re.findall(r"http://127\.0\.0\.1:8000(/[^\s`]*)", README)
    assert len(spoken) > 8
    missing = [path for path in spoken if not any(known.match(path) for known in patterns)]
    assert not missing


def test_every_file_that_the_readme_links_to_is_there() -> None:
    links = re.findall(r"\]\((?!https?:)([^)#]+)\)", README)
    assert links
    assert not [link for link in links if not (ROOT / link).exists()]
