"""What a virtual fleet follows from: machines, figures, profiles, journals, counts."""

from collections import Counter
from pathlib import Path

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.errors import AgentError
from agent.journal import HeldSlot, Journal, Outcome
from agent.simulator import counters, curves
from agent.simulator.boards import BOARDS
from agent.simulator.counters import Counters
from agent.simulator.journal import VirtualJournal
from agent.simulator.population import machine
from agent.simulator.profile import Profile, read_profile
from agent.simulator.shares import share_of
from agent.simulator.store import Held, Store
from agent.simulator.work import moved
from shoal.wire.devices import ArtifactRef, Facts
from shoal.wire.executions import Offer, ReportState
from shoal.wire.rollouts import DesiredVariant, SlotState
from shoal.wire.telemetry import Telemetry
from shoal.wire.tensors import MAX_ABS_WEIGHT, check_update, decode_tensors, encode_tensors

REF = ArtifactRef(sha256="0" * 64, size_bytes=1)


@given(seed=st.integers(0, 2**31), number=st.integers(0, 10**6))
def test_machine_when_made_again_then_is_the_same_and_valid(seed: int, number: int) -> None:
    made = machine(seed, number)
    assert made == machine(seed, number)
    assert msgspec.json.decode(msgspec.json.encode(made.facts), type=Facts) == made.facts


def test_population_when_large_then_has_all_boards_and_no_name_or_hardware_twice() -> None:
    machines = [machine(1, number) for number in range(2000)]
    assert {made.board.name for made in machines} == {board.name for board in BOARDS}
    assert max(Counter(made.name for made in machines).values()) == 1
    assert max(Counter(made.facts.hardware_id for made in machines).values()) == 1


@given(number=st.integers(0, 1000), at_s=st.floats(0, 4e9))
def test_figures_when_asked_again_then_are_the_same_and_fit_the_wire(number: int, at_s: float) -> None:
    made = machine(1, number)
    figures = curves.figures(made, at_s, serving=("digits",))
    assert figures == curves.figures(made, at_s, serving=("digits",))
    series: dict[str, list[float | None]] = {kind: [value] for kind, value in figures.items()}
    told = Telemetry(id="1-1", session=1, sequence=1, begin=at_s, offsets=[0.0], series=series)
    assert msgspec.json.decode(msgspec.json.encode(told), type=Telemetry) == told


def test_load_when_it_is_day_then_is_higher_than_at_night() -> None:
    machines = [machine(1, number) for number in range(200)]
    noon_s, night_s = 12 * 3600, 2 * 3600
    day = sum(curves.figures(made, noon_s - made.site.utc_offset_h * 3600)["cpu.ratio"] for made in machines)
    night = sum(curves.figures(made, night_s - made.site.utc_offset_h * 3600)["cpu.ratio"] for made in machines)
    assert day > 3 * night


def test_profile_when_a_file_and_changes_are_given_then_the_changes_win(tmp_path: Path) -> None:
    path = tmp_path / "profile.toml"
    path.write_text('failure_ratio = 0.2\ndownloads = "once"\n')
    wanted = Profile(failure_ratio=0.3, downloads="once", offline_per_day=4)
    assert read_profile(path, ["failure_ratio=0.3", "offline_per_day = 4"]) == wanted


@pytest.mark.parametrize(
    "change", ["failure_ratio=2", "failure_ratio=nan", "failures=1", "failure_ratio", "downloads=never", "trial_s=x"]
)
def test_profile_when_a_change_is_not_valid_then_is_refused_by_name(change: str) -> None:
    with pytest.raises(AgentError) as caught:
        read_profile(None, [change])
    assert caught.value.code == "profile.invalid"


@pytest.mark.parametrize("devices, count", [(1, 1), (10, 3), (2, 5)])
def test_shares_when_put_together_then_are_all_devices_once(devices: int, count: int) -> None:
    shares = [share_of(devices, index, count) for index in range(count)]
    assert [number for share in shares for number in share] == list(range(devices))


def test_counts_when_added_then_are_the_fleet_s() -> None:
    one, other = Counters(3), Counters(4)
    one.fail("a", "token.spent", "x")
    other.fail("b", "token.spent", "x")
    other.executions["command.succeeded"] += 2
    total = counters.add([one.take(), other.take()])
    assert (total.devices, total.codes, total.executions) == (7, {"token.spent": 2}, {"command.succeeded": 2})
    assert [trouble.device for trouble in total.troubles] == ["a", "b"]


def test_troubles_when_there_are_many_of_a_code_then_the_first_are_named_and_all_are_counted() -> None:
    counts = Counters(100)
    for number in range(100):
        counts.fail(str(number), "controller.unreachable", "")
    told = counts.take()
    assert (told.codes, len(told.troubles)) == ({"controller.unreachable": 100}, 20)
    assert counts.take().troubles == []


def test_update_when_moved_then_passes_the_controller_s_check() -> None:
    weights = {"w": np.array([[1.5, -2.0], [0.0, 3.0]], np.float32), "count": np.zeros((), np.float32)}
    update = decode_tensors(moved(encode_tensors(weights), 7))
    check_update(update, weights, max_abs=MAX_ABS_WEIGHT)
    assert not np.array_equal(update["w"], weights["w"])
    assert update["count"] == 0
    assert moved(encode_tensors(weights), 7) == moved(encode_tensors(weights), 7)


def offer(number: int) -> Offer:
    raw = msgspec.Raw(b'{"name":"ping"}')
    return Offer(execution_id=f"e{number}", type="command", attempt=1, epoch=1, number=number, timeout_s=9, spec=raw)


def live(journal: Journal) -> list[object]:
    """Use a journal; gives all that it says of it."""
    said: list[object] = [journal.begin_session(0), journal.begin_session(10), journal.begin_session(3)]
    journal.put("a", b"1")
    journal.put("b", b"2")
    journal.remove("b")
    for payload in (b"x", b"y", b"z"):
        journal.add_message("facts", payload)
    said += [journal.messages(), journal.messages(after=1, limit=1)]
    journal.forget_message(journal.messages()[0].id)
    variant = DesiredVariant(
        model="m", version=1, variant_id="v", recipe="r", runtime="onnxruntime", artifact=REF, golden=REF
    )
    for model in ("m", "k"):
        slots = [HeldSlot(slot=name, state=SlotState.SERVING, variant=variant) for name in ("b", "a")]
        journal.set_slots(model, slots)
    journal.set_slots("k", [])
    said += [journal.is_new_offer(offer(1))]
    journal.take_offer(offer(1))
    journal.take_offer(offer(2))
    journal.pass_over(offer(5))
    said += [journal.is_new_offer(offer(4)), journal.is_new_offer(offer(6)), len(journal.open_offers())]
    journal.end_execution("e1", Outcome(state=ReportState.SUCCEEDED, result={"x": 1}))
    said += [journal.execution("e1"), [one.execution_id for one in journal.open_offers()]]
    journal.forget_execution("e2")
    return [*said, *standing(journal)]


def standing(journal: Journal) -> list[object]:
    held = [journal.execution("e1"), journal.execution("e2"), journal.open_offers()]
    return [journal.get("a"), journal.get("b"), journal.messages(), journal.slots(), journal.slots("m"), *held]


def test_virtual_journal_when_used_then_says_what_the_real_one_says(journal: Journal) -> None:
    changes: list[int] = []
    virtual = VirtualJournal(None, lambda: changes.append(1))
    assert live(virtual) == live(journal)
    assert changes
    copy = VirtualJournal(virtual.image(), lambda: None)
    assert standing(copy) == standing(virtual)


def test_store_when_opened_again_then_has_the_same_keys_and_higher_sessions(tmp_path: Path) -> None:
    store = Store(tmp_path, 1)
    store.load(range(3), "token")
    requests = [store.identity(number).certificate_request() for number in range(3)]
    session = store.journal(0).begin_session(0)
    store.close()
    again = Store(tmp_path, 1)
    again.load(range(4), "another")
    assert [again.identity(number).certificate_request() for number in range(3)] == requests
    assert [again.identity(number).token for number in range(4)] == ["token"] * 3 + ["another"]
    assert again.journal(0).begin_session(0) > session
    again.close()


def test_store_when_the_seed_is_another_then_is_refused(tmp_path: Path) -> None:
    Store(tmp_path, 1).close()
    with pytest.raises(AgentError) as caught:
        Store(tmp_path, 2)
    assert caught.value.code == "simulator.other_seed"


def test_state_when_another_simulator_holds_it_then_is_refused(tmp_path: Path) -> None:
    held = Held(tmp_path)
    with pytest.raises(AgentError) as caught:
        Held(tmp_path)
    held.release()
    Held(tmp_path).release()
    assert caught.value.code == "simulator.already_running"
