"""`shoal broker`: a Mosquitto of one's own: its configuration, and whom it shuts out."""

import json
import os
import sys
import time
from datetime import UTC, datetime
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer
from tenacity import RetryCallState, Retrying, retry_if_exception, wait_random_exponential

from shoal.cli import output
from shoal.cli.errors import CliError
from shoal.cli.interpreter import python
from shoal.cli.options import Json
from shoal.cli.session import connect
from shoal.client import ApiError, Client, Unreachable

if TYPE_CHECKING:
    from shoal.cli.mosquitto import Change, MosquittoFolder

app = typer.Typer(no_args_is_help=True, help="A Mosquitto of your own.")

_LONGEST_PAUSE_S: Final = 60.0
_INTERRUPTED: Final = 130


@app.command(
    context_settings={"ignore_unknown_options": True, "allow_extra_args": True, "help_option_names": []},
    options_metavar="--output DIR --host NAME [OPTIONS]",
)
def config(context: typer.Context) -> None:
    """Write a Mosquitto's configuration, access list and certificate (--help says more)."""
    if find_spec("controller") is None or find_spec("sqlalchemy") is None:
        message = "`shoal broker config` runs where the gateway does: pip install 'shoal[controller]'."
        raise CliError("broker.not_installed", message)
    command = python("-m", "controller", "broker-config", *context.args)
    os.execv(command[0], command)  # noqa: S606 (no shell is wanted)


@app.command()
def sync(
    folder: Annotated[Path, typer.Option("--folder", help="What `shoal broker config` wrote.")],
    pid_file: Annotated[
        Path | None, typer.Option("--pid-file", help="Of Mosquitto; without it, the one in mosquitto.conf.")
    ] = None,
    pid: Annotated[int | None, typer.Option("--pid", min=2, help="Mosquitto's process, instead of a file.")] = None,
    watch: Annotated[bool, typer.Option("--watch", help="Stay, and follow every change.")] = False,
    interval_s: Annotated[float, typer.Option("--interval-s", min=0.1, help="Seconds between two looks.")] = 5.0,
    accept_older: Annotated[
        bool, typer.Option("--accept-older", help="Once, after the controller's database was restored from a backup.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Shut out of a Mosquitto on this machine whom the controller has suspended, retired or revoked.

    Fetches the signed list of revoked certificates and the denied devices, checks them, writes them into the broker's
    folder, sends SIGHUP if something changed, and tells the controller, which then ends the sessions.
    """
    if pid is not None and pid_file is not None:
        raise typer.BadParameter("Give either --pid or --pid-file.")
    if find_spec("cryptography") is None:
        raise CliError("broker.not_installed", "`shoal broker sync` needs more of Shoal: pip install 'shoal[cli]'.")
    from shoal.cli.mosquitto import MosquittoFolder  # cryptography is nothing that the other commands need

    syncing = _Syncing(MosquittoFolder(folder), pid, pid_file, accepts_older=accept_older, as_json=as_json)
    with connect() as client:
        if not watch:
            syncing.once(client, is_told_always=True)
            return
        try:
            while True:
                _patient(syncing, interval_s)(syncing.once, client, is_told_always=False)
                time.sleep(interval_s)
        except KeyboardInterrupt:
            output.say("Stopped; the broker goes on with what it was told.")
            raise typer.Exit(_INTERRUPTED) from None


class _Syncing:
    """One broker that is kept up with the controller."""

    def __init__(
        self, folder: "MosquittoFolder", pid: int | None, pid_file: Path | None, *, accepts_older: bool, as_json: bool
    ) -> None:
        self._folder = folder
        self._pid = pid
        self._pid_file = pid_file
        self._accepts_older = accepts_older
        self._as_json = as_json
        self._synced: int | None = None
        self._problem = ""
        self._warned: list[str] = []

    def once(self, client: Client, *, is_told_always: bool) -> None:
        """Follow the newest revision; a line says what that changed.

        Args:
            is_told_always: Say it also where nothing had to be done.
        """
        now = datetime.now(UTC)
        access = client.broker.access()
        change = self._folder.follow(access, now, accepts_older=self._accepts_older)
        self._accepts_older = False
        must_be_told = self._folder.must_be_told()
        if must_be_told:
            pid = self._pid if self._pid is not None else self._folder.process_id(self._pid_file)
            self._folder.tell(pid)
        if self._synced != access.revision:
            client.broker.synced(access.revision)
            self._synced = access.revision
        warnings = self._folder.warnings(now)
        if change.needs_restart:
            warnings.append("This revocation list was made before the last one by its clock: restart Mosquitto.")
        if must_be_told or is_told_always:
            self._tell(change, warnings, was_told=must_be_told)
        if warnings != self._warned:
            self._warned = warnings
            for sentence in warnings:
                output.say(sentence)
        self._problem = ""

    def say_problem(self, sentence: str) -> None:
        """Say on standard error what went wrong, once until it is over or something else goes wrong."""
        if sentence != self._problem:
            self._problem = sentence
            output.say(sentence)

    def _tell(self, change: "Change", warnings: list[str], *, was_told: bool) -> None:
        if self._as_json:
            document: dict[str, Any] = {
                "revision": change.revision,
                "revoked": change.revoked,
                "denied": change.denied,
                "newly_denied": change.newly_denied,
                "newly_let_in": change.newly_let_in,
                "reloaded": was_told,
                "warnings": warnings,
            }
            sys.stdout.write(f"{json.dumps(document)}\n")
        else:
            changes = [f"shuts out {one}" for one in change.newly_denied]
            changes += [f"lets in {one}" for one in change.newly_let_in]
            done = "Mosquitto was told" if was_told else "nothing changed"
            what = "".join(f"; {one}" for one in changes)
            sys.stdout.write(
                f"revision {change.revision}: {done}{what} ({len(change.denied)} devices denied, {change.revoked} "
                "certificates revoked)\n"
            )
        sys.stdout.flush()


def _patient(syncing: _Syncing, interval_s: float) -> Retrying:
    """Try again, with jitter, what may mend itself: a controller or a broker that is away, a list that is refused."""

    def say_why(state: RetryCallState) -> None:
        if state.outcome is not None and isinstance(error := state.outcome.exception(), Exception):
            syncing.say_problem(output.sentence(error))

    return Retrying(
        retry=retry_if_exception(_may_mend_itself),
        wait=wait_random_exponential(multiplier=interval_s, max=_LONGEST_PAUSE_S),
        before_sleep=say_why,
    )


def _may_mend_itself(error: BaseException) -> bool:
    if isinstance(error, ApiError):
        return error.status >= 500 or error.status in (409, 429)
    return isinstance(error, Unreachable | CliError | OSError)
