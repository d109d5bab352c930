"""A virtual device: enrols as every device does, then lives one life after the other until it is canceled."""

import asyncio
import secrets
from collections import deque
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from agent import door
from agent.errors import AgentError
from agent.simulator.chances import Chances
from agent.simulator.counters import Counters
from agent.simulator.downloads import Downloads
from agent.simulator.journal import VirtualJournal
from agent.simulator.life import Life, Surroundings
from agent.simulator.population import Machine, chance
from agent.simulator.profile import Profile
from agent.simulator.store import VirtualIdentity

_LOG_LINES: Final = 200
_DAY_S: Final = 86_400.0
_AGAIN_S: Final = 2.0
_TOKEN_REFUSED: Final = frozenset(
    {
        "enrollment.token_spent",
        "enrollment.token_expired",
        "enrollment.token_revoked",
        "enrollment.wrong_token",
        "enrollment.other_fleet",
        "ca.not_pinned",
        "token.malformed",
    }
)


@dataclass(frozen=True, kw_only=True)
class Fleet:
    """What the devices of a process share.

    Attributes:
        turns: Of who asks for the first time.
    """

    controller_url: str
    token: str
    profile: Profile
    counters: Counters
    downloads: Downloads
    turns: asyncio.Semaphore


class VirtualDevice:
    """One device."""

    def __init__(self, machine: Machine, identity: VirtualIdentity, journal: VirtualJournal, fleet: Fleet) -> None:
        self._machine = machine
        self._identity = identity
        self._journal = journal
        self._fleet = fleet
        self._life: Life | None = None
        self._network = asyncio.Event()
        self._network.set()
        self._boot_id = secrets.token_hex(16)
        self._log: deque[str] = deque(maxlen=_LOG_LINES)

    @property
    def is_online(self) -> bool:
        """Whether its session is open."""
        return self._life is not None and self._life.is_online

    @property
    def is_away(self) -> bool:
        """Whether it has lost its connection on purpose."""
        return not self._network.is_set()

    async def run(self) -> None:
        """Enrol and live, until canceled; returns where the controller refuses it for good."""
        counters = self._fleet.counters
        counters.joined += 1
        try:
            await self._enroll()
        except AgentError as error:
            self._note(error.code, str(error))
            counters.refused += 1
            return
        counters.enrolled += 1
        pause = self._chances("pause")
        wandering = asyncio.create_task(self._wander())
        try:
            while True:
                self._life = Life(self._surroundings())
                await self._life.run()
                counters.restarts += 1
                await asyncio.sleep(pause.duration_s(self._fleet.profile.restart_s))
        finally:
            wandering.cancel()

    def _note(self, code: str, message: str) -> None:
        self._fleet.counters.fail(self._machine.name, code, message)
        self._write_log("WARNING", f"{message} [{code}]")

    def _write_log(self, level: str, text: str) -> None:
        self._log.append(f"{datetime.now(UTC).isoformat(timespec='milliseconds')} {level} {text}")

    def _chances(self, purpose: str) -> Chances:
        return Chances(self._fleet.profile, chance(self._machine.seed, self._machine.number, purpose))

    def _surroundings(self) -> Surroundings:
        return Surroundings(
            machine=self._machine,
            profile=self._fleet.profile,
            # Another luck in each life: what failed in the one before may work in this one.
            chances=self._chances(f"work {(self._journal.get('session') or b'').decode()}"),
            identity=self._identity,
            journal=self._journal,
            counters=self._fleet.counters,
            downloads=self._fleet.downloads,
            boot_id=self._boot_id,
            log=self._log,
            network=self._network,
            note=self._note,
        )

    async def _enroll(self) -> None:
        """Enrol unless that was done; tries again while nobody answers, and once with the newest token.

        Raises:
            AgentError: What the controller refused for good.
        """
        if self._identity.enrolled is not None:
            return
        try:
            await self._ask()
        except AgentError as error:
            if error.code not in _TOKEN_REFUSED or self._fleet.token in ("", self._identity.token):
                raise
            self._identity.use_token(self._fleet.token)
            await self._ask()
        self._journal.begin_session(self._identity.known().session_floor)
        self._write_log("INFO", f"enrolled as {self._identity.device_id}")

    async def _ask(self) -> None:
        def ask() -> None:
            try:
                door.enroll(
                    self._identity,
                    controller_url=self._fleet.controller_url,
                    token=self._identity.token,
                    facts=self._machine.facts,
                )
            except AgentError as error:
                if not error.is_final:
                    self._note(error.code, str(error))
                raise

        # One after the other at first, so that those which have enrolled can go online meanwhile.
        async with self._fleet.turns:
            try:
                await asyncio.to_thread(ask)
            except AgentError as error:
                if error.is_final:
                    raise
            else:
                return
        await asyncio.sleep(self._chances("patience").duration_s(_AGAIN_S))
        await door.patiently(ask)

    async def _wander(self) -> None:
        """Lose the connection and begin anew now and then, as the profile says."""
        luck = chance(self._machine.seed, self._machine.number, "network")
        chances = self._chances("away")
        profile = self._fleet.profile
        rate_per_s = (profile.offline_per_day + profile.restarts_per_day) / _DAY_S
        while rate_per_s:
            await asyncio.sleep(luck.expovariate(rate_per_s))
            is_restart = luck.random() * (profile.offline_per_day + profile.restarts_per_day) < profile.restarts_per_day
            if self._life is None:
                continue
            if is_restart:
                self._life.end()
                continue
            self._network.clear()
            self._write_log("WARNING", "the network is gone")
            self._life.lose_connection()
            await asyncio.sleep(chances.duration_s(profile.offline_s))
            self._network.set()
