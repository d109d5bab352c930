"""What is done when an operator asks, and what is refused."""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from agent import forgetting
from agent.commands import Commands, Parts
from agent.door import Door
from agent.errors import AgentError
from agent.executions import NeverDone
from agent.freshness import Freshness
from agent.identity import Identity
from agent.inference import Inference
from agent.journal import Journal
from agent.learning import Learning
from agent.outbox import Outbox
from agent.settings import Settings
from agent.telemetry import Telemetry
from shoal.wire.executions import ExecutionKind, Offer


class Place:
    """A device's commands, and what they act upon."""

    def __init__(self, identity: Identity, journal: Journal, outbox: Outbox, state: Path) -> None:
        self.settings = Settings(state=state, inference_port=1)
        self.journal = journal
        self.restarts = 0
        self.learning = Learning(state / "learning", self.settings.data_folder(), lambda: Door(identity))
        self.telemetry = Telemetry(
            self.settings,
            identity=identity,
            journal=journal,
            outbox=outbox,
            inference=Inference(self.settings, journal),
            freshness=Freshness(journal),
            boot_id="boot",
        )
        self.commands = Commands(
            Parts(
                settings=self.settings,
                identity=identity,
                journal=journal,
                learning=self.learning,
                telemetry=self.telemetry,
                instance="i",
                boot_id="boot",
                restart=self._restart,
                tell_facts=lambda: None,
            )
        )

    def _restart(self) -> None:
        self.restarts += 1

    def do(self, spec: dict[str, Any]) -> dict[str, Any]:
        return asyncio.run(self.commands.do(offer(ExecutionKind.COMMAND, spec), lambda _share, _words: None))


@pytest.fixture
def place(identity: Identity, journal: Journal, outbox: Outbox, tmp_path: Path) -> Iterator[Place]:
    return Place(identity, journal, outbox, tmp_path / "device")


def offer(kind: ExecutionKind, spec: dict[str, Any]) -> Offer:
    return Offer(
        execution_id="e",
        type=kind,
        attempt=1,
        epoch=1,
        number=1,
        timeout_s=60,
        spec=msgspec.Raw(msgspec.json.encode(spec)),
    )


def dataset(data: Path, name: str, size: int = 1000) -> Path:
    folder = data / name
    folder.mkdir(parents=True)
    (folder / "dataset.json").write_bytes(b"{}")
    (folder / "1.safetensors").write_bytes(b"x" * size)
    return folder


def test_ping_when_asked_then_says_who_answers(place: Place) -> None:
    answer = place.do({"name": "ping"})
    assert (answer["instance"], answer["boot_id"]) == ("i", "boot")
    assert not {"log", "measured", "forgotten"} & set(answer)


def test_command_when_unknown_then_is_never_done(place: Place) -> None:
    with pytest.raises(NeverDone) as caught:
        place.do({"name": "open_shell"})
    assert caught.value.code == "command.unknown"


@pytest.mark.parametrize("spec", [{}, {"name": "collect_logs", "log_bytes": 10**9}, {"name": 7}])
def test_command_when_malformed_then_is_refused(place: Place, spec: dict[str, Any]) -> None:
    with pytest.raises(AgentError) as caught:
        place.do(spec)
    assert caught.value.code == "command.malformed"


@pytest.mark.parametrize("kind", [ExecutionKind.FEDERATED_ROUND, ExecutionKind.INCREMENTAL_UPDATE])
def test_data_when_something_learns_from_it_then_is_kept(place: Place, kind: ExecutionKind) -> None:
    folder = dataset(place.settings.data_folder(), "digits")
    place.journal.take_offer(offer(kind, {}))
    with pytest.raises(AgentError) as caught:
        place.do({"name": "forget_data"})
    assert (caught.value.code, caught.value.is_final) == ("command.busy", False)
    assert folder.exists()


def test_data_when_forgotten_then_says_how_much_and_the_second_time_nothing(place: Place) -> None:
    dataset(place.settings.data_folder(), "digits")
    dataset(place.settings.data_folder(), "cats")
    (place.settings.state / "learning" / "0.update").write_bytes(b"x" * 30)
    assert place.do({"name": "forget_data"})["forgotten"] == {"datasets": 2004, "learning": 30, "telemetry": 0}
    assert place.do({"name": "forget_data"})["forgotten"] == {"datasets": 0, "learning": 0, "telemetry": 0}
    assert list(place.settings.data_folder().iterdir()) == []


def test_data_when_forgotten_then_what_is_no_data_set_stays(place: Place, tmp_path: Path) -> None:
    data = place.settings.data_folder()
    elsewhere = dataset(tmp_path, "elsewhere")
    dataset(data, "digits")
    (data / "photos").mkdir()
    (data / "photos" / "1.jpg").write_bytes(b"x")
    (data / "linked").symlink_to(elsewhere)
    place.do({"name": "forget_data"})
    assert [path.name for path in data.iterdir()] == ["photos"]
    assert len(list(elsewhere.iterdir())) == 2


def test_data_when_killed_half_way_then_the_next_time_deletes_the_rest(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = place.settings.data_folder()
    for name in ("a", "b"):
        (dataset(data, name) / "2.safetensors").write_bytes(b"x")
    deleted = 0

    def dies(path: Path) -> int:
        nonlocal deleted
        deleted += 1
        if deleted == 5:  # within the second data set
            raise KeyboardInterrupt
        path.unlink()
        return 0

    with monkeypatch.context() as patched:
        patched.setattr(forgetting, "_delete", dies)
        with pytest.raises(KeyboardInterrupt):
            forgetting.forget_datasets(data)
    assert [path.name for path in data.iterdir()] == ["b"]
    assert forgetting.forget_datasets(data) > 0
    assert list(data.iterdir()) == []


def test_data_when_it_cannot_be_read_then_is_told_by_name(place: Place) -> None:
    place.settings.data_folder().write_bytes(b"no folder")
    with pytest.raises(AgentError) as caught:
        place.do({"name": "forget_data"})
    assert caught.value.code == "data.not_deletable"
