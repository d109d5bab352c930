"""The composition root: the only place that builds the controller's parts and connects them.

A role is what a process does: `api` (operators' door), `gateway` (devices' door, MQTT; it alone holds the CA's and the
signing key), `scheduler`, or `all` of them. Each part runs in a thread of its own, the main thread waits for signals.
"""

import gc
import json
import logging
import signal
import ssl
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from enum import StrEnum
from importlib import metadata
from ipaddress import ip_address
from typing import Final
from urllib.parse import urlsplit

from fastapi import APIRouter, Depends, FastAPI
from sqlalchemy.orm import configure_mappers
from starlette.types import ASGIApp

from controller import keys as secrets
from controller import migrate, server
from controller.api import (
    alerts,
    artifacts,
    auth,
    commands,
    deps,
    devices,
    enrollment,
    errors,
    executions,
    federated,
    fleet,
    groups,
    identity,
    incremental,
    inference,
    jobs,
    models,
    observe,
    profiles,
    rollouts,
    telemetry,
    webhooks,
)
from controller.api.requests import Requests
from controller.auth import service as users
from controller.blobs import BlobStore, UrlSigner
from controller.compression import service as compression
from controller.datasets import service as datasets
from controller.db import Database
from controller.errors import Unavailable
from controller.events import WakeUp
from controller.gateway import http as device_door
from controller.gateway.client import Gateway, require_broker
from controller.gateway.expulsion import Expulsion
from controller.inference import service as inference_room
from controller.jobs.runner import JobRunner
from controller.keys import Keys
from controller.observe import FAILURES
from controller.scheduler import Scheduler
from controller.settings import Settings
from controller.webhooks.poster import Poster

_log: Final = logging.getLogger(__name__)
_ROUTERS: Final[tuple[APIRouter, ...]] = (
    auth.router,
    fleet.router,
    devices.router,
    groups.router,
    identity.router,
    enrollment.router,
    artifacts.router,
    models.router,
    jobs.router,
    profiles.router,
    rollouts.router,
    executions.router,
    commands.router,
    federated.router,
    incremental.router,
    inference.router,
    telemetry.router,
    alerts.router,
    webhooks.router,
    observe.router,
)


class Role(StrEnum):
    """What a controller process does."""

    API = "api"
    GATEWAY = "gateway"
    SCHEDULER = "scheduler"
    ALL = "all"

    def includes(self, part: "Role") -> bool:
        """Tell whether this role runs that part."""
        return self in (Role.ALL, part)


@dataclass(frozen=True, kw_only=True)
class Task:
    """A part of the process: `run` returns after the event is set."""

    name: str
    run: Callable[[threading.Event], None]


def create_api(parts: deps.Parts | None = None) -> FastAPI:
    """Build the operators' door; without parts it only describes itself."""
    api = FastAPI(
        title="Shoal",
        version=metadata.version("shoal"),
        description="Edge-cloud orchestration for deep learning.",
        openapi_url="/v1/openapi.json",
        docs_url="/v1/docs",
        redoc_url=None,
        generate_unique_id_function=lambda route: route.name,
    )
    for router in _ROUTERS:
        api.include_router(router, prefix="/v1", dependencies=[Depends(deps.refuse_unknown_parameters)])
    errors.install(api)
    api.add_middleware(Requests)
    api.state.parts = parts
    return api


def openapi_text() -> str:
    """Give the API's description as committed in `docs/openapi.json`."""
    return json.dumps(create_api().openapi(), indent=2, sort_keys=True) + "\n"


def run(role: Role, settings: Settings) -> None:
    """Do what a role does until SIGTERM or SIGINT.

    Raises:
        Unavailable: `port.in_use`, `database.not_migrated`, `keys.no_ca`, `broker.missing`, `part.failed`.
    """
    with ExitStack() as opened:
        database = Database(settings.resolved_database_url())
        opened.callback(database.close)
        prepare_database(database, may_migrate=role is Role.ALL)
        wake_up = WakeUp(database)
        opened.callback(wake_up.close)
        blobs = BlobStore(settings.blobs_at())
        tasks: list[Task] = []
        if role.includes(Role.GATEWAY):
            tasks += _gateway_tasks(opened, settings, database, blobs, wake_up)
        if role.includes(Role.API):
            tasks.append(_api_task(opened, settings, database, blobs))
        if role.includes(Role.SCHEDULER):
            scheduler = Scheduler(settings=settings, database=database, blobs=blobs, wake_up=wake_up)
            tasks.append(Task(name="scheduler", run=scheduler.run))
            jobs_runner = JobRunner(
                settings=settings,
                database=database,
                wake_up=wake_up,
                kinds={**compression.KINDS, **datasets.KINDS},
                may_run=scheduler.leading.is_set,
            )
            tasks.append(Task(name="jobs", run=jobs_runner.run))
            poster = Poster(database=database, wake_up=wake_up, may_run=scheduler.leading.is_set)
            tasks.append(Task(name="webhooks", run=poster.run))
        if role.includes(Role.GATEWAY):
            require_broker(settings.broker_url)
        spare_collector()
        run_until_signal(tasks, wake_up)


def spare_collector() -> None:
    """Take what was built at the start out of the garbage collector's sight, and let it look less often.

    Messages that wait for their commit make it run often, and it went through all that was imported each time: half of
    the 160 microseconds that a gateway needed for a message.
    """
    configure_mappers()
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)


def prepare_database(database: Database, *, may_migrate: bool) -> None:
    """Apply the migrations, or refuse a database that lacks them.

    Args:
        may_migrate: Whether this process has the database to itself, as `all` has; apart from it, roles start in any
            order and number, and `python -m controller migrate` comes first.

    Raises:
        Unavailable: `database.not_migrated`.
    """
    if may_migrate:
        migrate.upgrade(database)
    elif not migrate.is_current(database):
        raise Unavailable(
            "database.not_migrated",
            "The database lacks migrations of this version: run `python -m controller migrate` once.",
        )


def run_until_signal(tasks: list[Task], wake_up: WakeUp) -> None:
    """Run tasks in threads until a signal comes or one of them ends; then stop all.

    Raises:
        Unavailable: `part.failed`, if one ended by itself.
    """
    stop, ended = threading.Event(), threading.Event()
    failed: list[str] = []

    def guarded(task: Task) -> None:
        try:
            task.run(stop)
        except Exception:  # the edge of a thread: without this the process would go on without a part
            _log.exception("%s failed", task.name)
            FAILURES.labels(loop=task.name).inc()
        if not stop.is_set():
            failed.append(task.name)
        ended.set()

    with _signals(ended):
        threads = [threading.Thread(target=guarded, args=(task,), name=task.name, daemon=True) for task in tasks]
        for thread in threads:
            thread.start()
        ended.wait()
        stop.set()
        wake_up.notify()
        for thread in threads:
            thread.join(server.GRACE_S + 5)
    if failed:
        raise Unavailable("part.failed", f"The controller's {failed[0]} ended; its log says why.")


@contextmanager
def _signals(ended: threading.Event) -> Iterator[None]:
    previous = {number: signal.signal(number, lambda *_: ended.set()) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def _api_task(opened: ExitStack, settings: Settings, database: Database, blobs: BlobStore) -> Task:
    with database.transaction() as session:
        password = users.make_first_user(session)
    if password is not None:
        # The only way by which the password ever leaves: a line on standard output, once.
        sys.stdout.write(f"SHOAL_ADMIN_PASSWORD {password}\n")
        sys.stdout.flush()
    parts = deps.Parts(
        settings=settings,
        database=database,
        blobs=blobs,
        url_signer=UrlSigner(secrets.open_url_key(settings.state)),
        ca_digest=secrets.read_ca_digest(settings.state),
    )
    inference_room.open_runners(settings.state, allow_unisolated=settings.allow_unisolated)
    opened.callback(inference_room.close_runners)
    return _server_task(opened, "api", create_api(parts), settings.api_host, settings.api_port)


def _gateway_tasks(
    opened: ExitStack, settings: Settings, database: Database, blobs: BlobStore, wake_up: WakeUp
) -> list[Task]:
    keys = Keys.open(settings.state)
    door = device_door.create_door(device_door.Parts(settings=settings, database=database, keys=keys, blobs=blobs))
    certificate, key = keys.issue_server_certificate(_server_names(settings))
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.minimum_version = ssl.TLSVersion.TLSv1_2
    tls.load_cert_chain(certificate, key)
    https = _server_task(opened, "device door", door, settings.device_host, settings.device_port, tls)
    return [
        https,
        Task(name="gateway", run=Gateway(settings, database, keys, blobs, wake_up).run),
        Task(name="expulsion", run=Expulsion(settings, database, keys, wake_up).run),
    ]


def _server_task(
    opened: ExitStack, name: str, app: ASGIApp, host: str, port: int, tls: ssl.SSLContext | None = None
) -> Task:
    """Bind a port now, so that one in use is noticed before anything runs, and serve it later."""
    listening = server.listen(host, port)
    opened.callback(listening.close)
    return Task(name=name, run=server.serving(listening, app, tls))


def _server_names(settings: Settings) -> list[str]:
    """Give the names under which devices may call their door."""
    names = [settings.device_host, urlsplit(settings.resolved_device_url()).hostname or "", "localhost", "127.0.0.1"]
    return [name for name in dict.fromkeys(names) if name and not _is_any_address(name)]


def _is_any_address(name: str) -> bool:
    try:
        return ip_address(name).is_unspecified
    except ValueError:
        return False
