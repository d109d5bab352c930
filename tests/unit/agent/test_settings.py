"""Settings from the environment, from the file, and the token that comes by a file of its own."""

import subprocess
import sys
from pathlib import Path

import pytest

from agent import settings
from agent.errors import AgentError
from agent.settings import Settings

TOKEN = "secret." + "a" * 64


@pytest.fixture(autouse=True)
def no_config_of_this_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(settings, "DEFAULT_CONFIG", tmp_path / "etc/agent.toml")


def config(tmp_path: Path, text: str) -> dict[str, str]:
    path = tmp_path / "agent.toml"
    path.write_text(text)
    return {"SHOAL_AGENT_CONFIG": str(path)}


def refusal(environment: dict[str, str]) -> str:
    with pytest.raises(AgentError) as caught:
        Settings.from_environment(environment)
    assert caught.value.code == "settings.invalid"
    assert caught.value.is_final
    return str(caught.value)


def test_settings_when_nothing_is_told_then_are_the_defaults() -> None:
    assert Settings.from_environment({}) == Settings()


def test_settings_when_told_by_both_then_the_environment_stands_above_the_file(tmp_path: Path) -> None:
    environment = config(
        tmp_path, f'state = "{tmp_path}"\ninstance = "a"\ninference_port = 9000\ntelemetry_interval_s = 5\n'
    )
    found = Settings.from_environment({**environment, "SHOAL_AGENT_INSTANCE": "b"})
    assert (found.instance, found.state) == ("b", tmp_path)
    assert (found.inference_port, found.telemetry_interval_s) == (9000, 5.0)
    assert found.sources == ("SHOAL_AGENT_INSTANCE", environment["SHOAL_AGENT_CONFIG"])


def test_settings_when_the_file_lies_where_it_belongs_then_is_read_without_being_named(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/agent.toml").write_text('runtimes = "openvino"')
    assert Settings.from_environment({}).runtimes == "openvino"
    (tmp_path / "other.toml").write_text("")
    assert Settings.from_environment({"SHOAL_AGENT_CONFIG": str(tmp_path / "other.toml")}).runtimes == ""


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('controler_url = "https://c"', "unknown key 'controler_url'; did you mean 'controller_url'?"),
        ("zzz = 1", "unknown key 'zzz'; the keys are blobs_ca, blobs_http, controller_url, data,"),
        ('sources = "x"', "unknown key 'sources'"),
        ('credentials = "x"', "unknown key 'credentials'"),
        ("state = 7", "state is a TOML int; it must be a string with a path."),
        ('inference_port = "7"', "inference_port is a TOML str; it must be an integer."),
        ("inference_port = true", "inference_port is a TOML bool; it must be an integer."),
        ("inference_port = 70000", "inference_port is 70000; it must be a port, 0 to 65535."),
        ("telemetry_interval_s = nan", "telemetry_interval_s is nan; it must be a number of seconds above 0."),
        ("telemetry_interval_s = []", "telemetry_interval_s is a TOML list; it must be a number."),
        (f"telemetry_interval_s = 1{'0' * 400}", "it must be a number."),
        ('instance = "a b"', "instance is 'a b'; it must be at most 64 letters"),
        (f'instance = "{"a" * 65}"', "it must be at most 64 letters"),
        ('log_level = "LOUD"', "log_level is 'LOUD'; it must be DEBUG,"),
        ('data = "a\\nb"', "data contains a character that cannot be printed"),
        ('state = "a\\u0000b"', "state contains a character that cannot be printed"),
        ("instance = ", "is no TOML file: Invalid value (at end of document)."),
        ("instance = " + "[" * 30000, "is no TOML file"),
        ("#" * 65537, "has more than 64 KiB"),
    ],
)
def test_settings_when_the_file_is_wrong_then_names_it_and_what_in_it(tmp_path: Path, text: str, words: str) -> None:
    environment = config(tmp_path, text)
    message = refusal(environment)
    assert words in message
    assert message.startswith(environment["SHOAL_AGENT_CONFIG"])


def test_settings_when_the_file_is_no_text_then_says_so(tmp_path: Path) -> None:
    (tmp_path / "agent.toml").write_bytes(b"\xff\xfe")
    assert "is no text" in refusal({"SHOAL_AGENT_CONFIG": str(tmp_path / "agent.toml")})


@pytest.mark.parametrize("name", ["CONFIG", "TOKEN_FILE"])
def test_settings_when_a_named_file_cannot_be_read_then_says_why(tmp_path: Path, name: str) -> None:
    message = refusal({f"SHOAL_AGENT_{name}": str(tmp_path / "missing")})
    assert message.startswith(str(tmp_path / "missing"))
    assert "cannot be read (No such file or directory)" in message


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("INFERENCE_PORT", "x"),
        ("INFERENCE_PORT", "-1"),
        ("TELEMETRY_INTERVAL_S", "inf"),
        ("LOG_LEVEL", "loud"),
        ("INSTANCE", "ä"),
        ("STATE", "~nobody-of-that-name/x"),
        ("RUNTIME_OPTIONS", "openvino"),
        ("RUNTIME_OPTIONS", "abacus.colour=blue"),
        ("RUNTIME_OPTIONS", "openvino.device="),
        ("RUNTIME_OPTIONS", "openvino.device=NPU,"),
        ("RUNTIME_OPTIONS", ",".join(["openvino.device=NPU"] * 17)),
    ],
)
def test_settings_when_a_variable_is_wrong_then_names_it(name: str, text: str) -> None:
    assert refusal({f"SHOAL_AGENT_{name}": text}).startswith(f"SHOAL_AGENT_{name} ")


def test_options_when_there_are_several_then_each_runtime_has_its_own() -> None:
    told = Settings(runtime_options="openvino.device=GPU.1,litert.delegate=/usr/lib/lib edge.so")
    assert told.options() == {"openvino.device": "GPU.1", "litert.delegate": "/usr/lib/lib edge.so"}
    assert (told.options_of("litert"), told.options_of("armnn")) == ({"delegate": "/usr/lib/lib edge.so"}, {})


def layers(folder: Path) -> dict[str, dict[str, str]]:
    """Give every way to tell a token, highest first."""
    for name in ("environment", "config", "token"):
        (folder / name).write_text(f"{name}.file\n")
    (folder / "both.toml").write_text(f'token = "config.itself"\ntoken_file = "{folder}/config"')
    (folder / "file.toml").write_text(f'token_file = "{folder}/config"')
    return {
        "environment.itself": {"SHOAL_AGENT_TOKEN": "environment.itself"},
        "environment.file": {"SHOAL_AGENT_TOKEN_FILE": str(folder / "environment")},
        "config.itself": {"SHOAL_AGENT_CONFIG": str(folder / "both.toml")},
        "config.file": {"SHOAL_AGENT_CONFIG": str(folder / "file.toml")},
        "token.file": {"CREDENTIALS_DIRECTORY": str(folder)},
    }


@pytest.mark.parametrize("skipped", range(5))
def test_token_when_told_in_several_ways_then_the_highest_holds(tmp_path: Path, skipped: int) -> None:
    told = list(layers(tmp_path).items())[skipped:]
    environment: dict[str, str] = {}
    for _, variables in reversed(told):
        environment |= variables
    assert Settings.from_environment(environment).token == told[0][0]


@pytest.mark.parametrize("content", ["", "\n"])
def test_token_when_systemd_hands_over_an_empty_one_then_there_is_none(tmp_path: Path, content: str) -> None:
    (tmp_path / "token").write_text(content)
    assert Settings.from_environment({"CREDENTIALS_DIRECTORY": str(tmp_path)}).token == ""


def test_token_when_systemd_hands_over_other_things_then_there_is_none(tmp_path: Path) -> None:
    assert Settings.from_environment({"CREDENTIALS_DIRECTORY": str(tmp_path)}).token == ""


def test_token_when_settings_are_shown_then_is_hidden() -> None:
    found = Settings.from_environment({"SHOAL_AGENT_TOKEN": TOKEN})
    assert found.token == TOKEN
    assert "secret" not in repr(found)
    assert "secret" not in str(found.sources)


def test_settings_when_there_is_no_file_then_have_not_imported_its_reader() -> None:
    program = "import sys; from agent.settings import Settings; Settings.from_environment({}); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert "tomllib" not in done.stdout.split()
