"""What is written down is so: the committed OpenAPI description, and the commands of the README."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from controller.app import openapi_text

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text()


def test_openapi_when_the_api_changes_then_the_committed_description_does_too() -> None:
    committed = (ROOT / "docs/openapi.json").read_text()
    assert committed == openapi_text(), "run `python -m controller openapi`"


@pytest.mark.parametrize("target", sorted(set(re.findall(r"\bmake ([a-z]+)", README))))
def test_make_target_when_the_readme_names_it_then_exists(target: str) -> None:
    assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(), re.MULTILINE)


_COMMANDS = re.findall(r"^    shoal ([a-z-]+(?: [a-z][a-z-]*)?)(?= |$)", README, re.MULTILINE)


@pytest.mark.parametrize("command", sorted(set(_COMMANDS)))
def test_command_when_the_readme_names_it_then_exists(command: str) -> None:
    shown = subprocess.run(
        [sys.executable, "-m", "shoal.cli", *command.split(), "--help"], capture_output=True, text=True, check=False
    )
    assert shown.returncode == 0, shown.stderr


@pytest.mark.parametrize("path", sorted(set(re.findall(r"(?:docs|tests|benchmarks)/[\w./-]+\.\w+", README))))
def test_file_when_the_readme_names_it_then_exists(path: str) -> None:
    assert (ROOT / path).exists()


def test_decisions_when_they_name_a_test_then_it_exists() -> None:
    named = {
        path
        for page in (ROOT / "docs/decisions").glob("*.md")
        for path in re.findall(r"tests/[\w/]+\.py", page.read_text())
    }
    assert named
    assert [path for path in sorted(named) if not (ROOT / path).exists()] == []
