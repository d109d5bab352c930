"""The fleet's state in one SQLite file: what is in a device's files, and a copy of its journal each second.

Keys are written before anybody enrols with them; what comes after that may be lost by a kill and mends itself:
enrolling again with the same key gives the same device, and sessions skip the numbers that may have been used.
"""

import asyncio
import fcntl
import os
import sqlite3
import ssl
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Final

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key

from agent.errors import AgentError
from agent.identity import Identity, trust
from agent.simulator.journal import VirtualJournal

COPY_INTERVAL_S: Final = 1.0
_SKIPPED: Final = 100  # sessions: more than a device can begin between two copies
_BATCH: Final = 2000
_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS fleet (seed INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS devices (number INTEGER PRIMARY KEY, token TEXT NOT NULL, files BLOB NOT NULL, journal BLOB);
"""
_FILE: Final = "fleet.db"
_KEY: Final = "device.key"
_CERTIFICATE: Final = "device.pem"
_CA: Final = "ca.pem"


class VirtualIdentity(Identity):
    """An identity whose files lie in the fleet's store.

    Attributes:
        token: The enrolment token that it asks with: the same key with another one would be refused.
    """

    def __init__(self, files: dict[str, bytes], token: str, changed: Callable[[], None]) -> None:
        self._files = files
        self._changed = changed
        self.token = token
        key = load_pem_private_key(files[_KEY], password=None)
        assert isinstance(key, Ed25519PrivateKey)
        super().__init__(Path(), key)

    def files(self) -> bytes:
        """Give a copy of the files."""
        return msgspec.msgpack.encode(dict(self._files))

    def use_token(self, token: str) -> None:
        """Ask with another token from now on."""
        self.token = token
        self._changed()

    def ca(self) -> str:
        """Give the CA that this device trusts, PEM."""
        return self._files[_CA].decode()

    def client_tls(self) -> ssl.SSLContext:
        """Give the TLS settings for a broker that wants a certificate."""
        context = trust(self.ca())
        # Python's ssl reads a key from a file only: one that nobody else can read, and that is gone at once.
        with tempfile.NamedTemporaryFile() as file:
            file.write(self._files[_KEY] + self._files[_CERTIFICATE])
            file.flush()
            context.load_cert_chain(file.name)
        return context

    def _read(self, name: str) -> bytes | None:
        return self._files.get(name)

    def _write(self, name: str, data: bytes) -> None:
        self._files[name] = data
        self._changed()


class Store:
    """The file."""

    def __init__(self, folder: Path, seed: int) -> None:
        """Open it, making it if there is none.

        Raises:
            AgentError: `simulator.other_seed`.
        """
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        path = folder / _FILE
        self._db = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=60)
        self._db.execute("PRAGMA journal_mode=WAL")
        self._db.executescript(_SCHEMA)
        path.chmod(0o600)
        self._devices: dict[int, tuple[VirtualIdentity, VirtualJournal]] = {}
        self._changed: set[int] = set()
        self._db.execute("BEGIN IMMEDIATE")
        kept = self._db.execute("SELECT seed FROM fleet").fetchone()
        if kept is None:
            self._db.execute("INSERT INTO fleet (seed) VALUES (?)", (seed,))
        self._db.execute("COMMIT")
        if kept is not None and kept[0] != seed:
            message = (
                f"The fleet in {folder} was made with --seed {kept[0]}: give that, or another folder with --state."
            )
            raise AgentError("simulator.other_seed", message, is_final=True)

    def load(self, numbers: range, token: str) -> None:
        """Load devices; those that are not there yet get a key, and are to enrol with `token`."""
        known = {
            number: (device_token, files, journal)
            for number, device_token, files, journal in self._db.execute(
                "SELECT number, token, files, journal FROM devices WHERE number >= ? AND number < ?",
                (numbers.start, numbers.stop),
            )
        }
        missing = [number for number in numbers if number not in known]
        for start in range(0, len(missing), _BATCH):
            made = {number: msgspec.msgpack.encode({_KEY: _new_key()}) for number in missing[start : start + _BATCH]}
            self._write([(number, token, files, None) for number, files in made.items()])
            known |= {number: (token, files, None) for number, files in made.items()}
        for number in numbers:
            self._open(number, *known[number])

    def identity(self, number: int) -> VirtualIdentity:
        """Give a device's identity."""
        return self._devices[number][0]

    def journal(self, number: int) -> VirtualJournal:
        """Give a device's journal."""
        return self._devices[number][1]

    async def keep_copying(self) -> None:
        """Copy what has changed each second, until canceled."""
        while True:
            await asyncio.sleep(COPY_INTERVAL_S)
            if rows := self._rows():
                await asyncio.to_thread(self._write, rows)

    def close(self) -> None:
        """Copy what has changed, and close the file."""
        self._write(self._rows())
        self._db.close()

    def _open(self, number: int, token: str, files: bytes, journal: bytes | None) -> None:
        def changed() -> None:
            self._changed.add(number)

        identity = VirtualIdentity(msgspec.msgpack.decode(files, type=dict[str, bytes]), token, changed)
        opened = VirtualJournal(journal, changed)
        if journal is not None:
            opened.skip_sessions(_SKIPPED)
        self._devices[number] = (identity, opened)

    def _rows(self) -> list[tuple[int, str, bytes, bytes | None]]:
        changed, self._changed = self._changed, set()
        rows: list[tuple[int, str, bytes, bytes | None]] = []
        for number in changed:
            identity, journal = self._devices[number]
            rows.append((number, identity.token, identity.files(), journal.image()))
        return rows

    def _write(self, rows: list[tuple[int, str, bytes, bytes | None]]) -> None:
        self._db.execute("BEGIN IMMEDIATE")
        self._db.executemany("INSERT OR REPLACE INTO devices (number, token, files, journal) VALUES (?, ?, ?, ?)", rows)
        self._db.execute("COMMIT")


class Held:
    """A state folder that one simulator holds."""

    def __init__(self, folder: Path) -> None:
        """Take it.

        Raises:
            AgentError: `simulator.already_running`.
        """
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._descriptor = os.open(folder / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            os.close(self._descriptor)
            message = f"A simulator runs on {folder} already: end it, or give another folder with --state."
            raise AgentError("simulator.already_running", message, is_final=True) from error

    def release(self) -> None:
        """Give it back."""
        os.close(self._descriptor)


def _new_key() -> bytes:
    return Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
