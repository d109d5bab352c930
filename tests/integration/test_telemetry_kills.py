"""Telemetry over a real broker, through a controller that is killed: nothing is lost, nothing counts twice."""

import time
from collections.abc import Callable
from pathlib import Path

from sqlalchemy import func, select

from controller.db import from_microseconds, utc_now
from controller.telemetry import service
from controller.telemetry.rollup import figures_decoder
from controller.telemetry.tables import MessageRow, RollupRow
from shoal.wire.telemetry import Telemetry
from tests.device import Device
from tests.integration.test_kills import GatewayProcess
from tests.rig import BrokerAt, Office, wait_for

MESSAGES = 300
SAMPLES = 4


def sample(sequence: int) -> Telemetry:
    return Telemetry(
        id=f"1-{sequence}",
        session=1,
        sequence=sequence,
        begin=time.time() - 600 + sequence,
        offsets=[float(index) for index in range(SAMPLES)],
        series={"cpu.ratio": [0.5] * SAMPLES, "a.count": [float(sequence)] * SAMPLES},
    )


def rows(office: Office) -> int:
    with office.database.reading() as session:
        return session.scalar(select(func.count()).select_from(MessageRow)) or 0


def folded(office: Office) -> int:
    with office.database.reading() as session:
        every = [figures_decoder.decode(figures) for figures in session.scalars(select(RollupRow.figures))]
    return sum(figures["a.count"].counted for figures in every)


def wait_until_done_or_dead(office: Office, process: GatewayProcess) -> None:
    wait_for(lambda: rows(office) == MESSAGES or process.process.poll() is not None)


def test_sample_when_sent_over_a_broker_then_is_shown(office: Office, new_device: Callable[..., Device]) -> None:
    device = new_device()
    device.say("telemetry", sample(7))
    wait_for(lambda: folded(office) == SAMPLES)
    with office.database.reading() as session:
        latest = service.latest(session, device.id)
    assert latest.figures == {"cpu.ratio": 0.5, "a.count": 7.0}
    assert from_microseconds(0) < latest.at < utc_now()


def test_controller_when_killed_again_and_again_then_each_sample_counts_once(iotcore: BrokerAt, tmp_path: Path) -> None:
    office = Office(iotcore)
    process = GatewayProcess(iotcore)
    wait_for(office._session_begun)
    device = Device(office, iotcore, tmp_path)
    for sequence in range(MESSAGES):
        device.say("telemetry", sample(sequence))
        if sequence in (60, 120, 180, 240):
            process.kill()  # whatever it was doing: taking, folding, acknowledging
            process = GatewayProcess(iotcore, dies_at=20)
    device.close()
    while rows(office) < MESSAGES:
        assert process.dies() == -9
        process = GatewayProcess(iotcore, dies_at=120)
        wait_until_done_or_dead(office, process)
    process.kill()
    process = GatewayProcess(iotcore)
    wait_for(lambda: folded(office) == MESSAGES * SAMPLES)
    process.kill()
    assert (rows(office), folded(office)) == (MESSAGES, MESSAGES * SAMPLES)
    with office.database.reading() as session:
        figures = [figures_decoder.decode(text) for text in session.scalars(select(RollupRow.figures))]
        total = sum(one["a.count"].total for one in figures)
    assert total == SAMPLES * sum(range(MESSAGES))
    office.close()
