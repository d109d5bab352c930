"""Starting the command: what it loads, what it says without a verb."""

import subprocess
import sys


def test_command_when_loaded_then_needs_the_operators_libraries_only() -> None:
    heavy = "{'numpy', 'torch', 'psutil', 'iotcore', 'nicegui', 'safetensors', 'ray', 'sqlalchemy'}"
    code = f"import sys, shoal.cli.main; print(sorted({heavy} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_demo_when_no_name_is_given_then_lists_the_scenarios() -> None:
    done = subprocess.run([sys.executable, "-m", "shoal.cli", "demo"], capture_output=True, text=True, check=True)
    assert "digits" in done.stdout.splitlines()


def test_demo_when_arguments_follow_the_name_then_they_are_the_scenarios() -> None:
    command = [sys.executable, "-m", "shoal.cli", "demo", "digits", "--help"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.startswith("usage: shoal demo digits")


def test_demo_when_the_name_is_unknown_then_is_a_usage_error() -> None:
    done = subprocess.run([sys.executable, "-m", "shoal.cli", "demo", "x"], capture_output=True, text=True)
    assert (done.returncode, "There is no scenario 'x'" in done.stderr) == (2, True)
