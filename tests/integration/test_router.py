"""The router on PostgreSQL, which is strict about what it keeps."""

from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from sqlalchemy import select

from controller.blobs import BlobStore
from controller.db import Database, utc_now
from controller.devices.tables import DeviceRow
from controller.gateway import router
from controller.gateway.access import Inbound
from controller.gateway.telemetry import TelemetryDoor
from controller.observe import RefusalRow
from controller.settings import Settings
from shoal.wire import envelope, signing, topics
from shoal.wire.devices import Facts, FactsReport
from tests.databases import make_tables
from tests.rows import add_device

DEVICE = "d-abcdefghijklmno2"


def facts_report(hostname: str, sequence: int, key: Ed25519PrivateKey) -> Inbound:
    facts = Facts(
        hostname=hostname, machine="m", system="s", python="3.11", agent_version="0", runtimes={}, can_train=True
    )
    report = FactsReport(id=f"1-{sequence}", session=1, sequence=sequence, facts=facts)
    topic = topics.up(DEVICE, "facts")
    return Inbound(topic, envelope.seal(report, topic=topic, key=key))


def test_message_when_the_database_cannot_keep_it_then_is_refused_and_the_batch_goes_on(
    postgresql_url: str, tmp_path: Path
) -> None:
    database, blobs = Database(postgresql_url), BlobStore((tmp_path / "blobs").as_uri())
    with database.engine.begin() as connection:
        connection.exec_driver_sql("DROP SCHEMA public CASCADE")
        connection.exec_driver_sql("CREATE SCHEMA public")
    make_tables(database)
    key = Ed25519PrivateKey.generate()
    with database.transaction() as session:
        add_device(session, DEVICE, public_key=signing.raw_public_key(key.public_key()))
    # What is wrong with this one is said in its own words: the refusal must be kept nevertheless.
    body = '{"kind":"execution_report","id":"1-5","session":1,"sequence":5,"execution_id":"e","attempt":1,'
    topic = topics.up(DEVICE, "execution")
    odd = envelope.seal_text("execution_report", f'{body}"state":"\\u0000"}}', topic=topic, key=key)
    with database.transaction() as session:
        batch = [facts_report("first", 2, key), facts_report("NUL \0", 3, key), Inbound(topic, odd)]
        batch.append(facts_report("last", 4, key))
        router.take(session, batch, blobs, TelemetryDoor(Settings()), utc_now())
    with database.reading() as session:
        assert session.get_one(DeviceRow, DEVICE).facts["hostname"] == "last"
        counted = {row.code: (row.count, row.message) for row in session.scalars(select(RefusalRow))}
    assert counted.keys() == {"message.not_storable", "message.malformed"}
    assert "Invalid enum value" in counted["message.malformed"][1]
    database.close()
