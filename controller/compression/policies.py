"""Build policies: what is missing for some devices is made by itself, and measured by one device of each class.

A policy looks again whenever something happened that can change what is needed. What it did for its newest version
stands in its row, in the transaction that did it: killed at any moment, it does nothing twice and forgets nothing.
"""

import logging
import time
from collections.abc import Sequence
from typing import Final

from sqlalchemy import select
from sqlalchemy.orm import Session

from controller import events
from controller.artifacts import service as artifacts
from controller.artifacts.lineage import VersionState
from controller.artifacts.tables import VersionRow
from controller.compression import building
from controller.db import Database, utc_now
from controller.devices import service as devices
from controller.devices.tables import DeviceRow
from controller.errors import NotFound, ShoalError
from controller.profiles import fitting
from controller.profiles import service as profiles
from controller.profiles.tables import BuildPolicyRow, ProfileRow
from shoal.schemas.profiles import BuildPolicy

_log: Final = logging.getLogger(__name__)
_ACTOR: Final = "build-policy"
_NEWS: Final = (
    *("version.created", "version.inspected", "variant.created", "job.finished", "profile.measured"),
    *("device.enrolled", "device.approved", "device.activated", "device.merged", "device.labelled"),
    *("facts.changed", "group.changed", "build_policy.set"),
)
_LEAST_PAUSE_S: Final = 1.0
_BUSY_SHARE: Final = 0.05  # of the time, at most, is spent on looking: a look reads every device of a policy
_RUNS: Final = 200


def put(session: Session, model: str, body: BuildPolicy, actor: str) -> BuildPolicyRow:
    """Set a model's policy; it looks at once.

    Raises:
        NotFound: `model.not_found`, `dataset.not_found`.
        Invalid: What `devices.accept_selector` refuses.
    """
    artifacts.get_model(session, model)
    for name in (body.calibration_dataset, body.evaluation_dataset, body.golden_dataset, body.training_dataset):
        if name is not None:
            artifacts.get_dataset(session, name)
    selector = devices.accept_selector(session, body.selector)
    wanted = body.model_copy(update={"selector": selector}).model_dump(mode="json")
    row = session.get(BuildPolicyRow, model, with_for_update=True)
    if row is None:
        row = BuildPolicyRow(model=model, body=wanted, done=[], created_by=actor, created_at=utc_now())
        session.add(row)
    else:  # set again, it also tries again what did not work
        row.body, row.done, row.message, row.created_by = wanted, [], "", actor
    session.flush()
    events.record(session, "build_policy.set", subject=model)
    return row


def get(session: Session, model: str) -> BuildPolicyRow:
    """Give a model's policy.

    Raises:
        NotFound: `build_policy.not_found`.
    """
    row = session.get(BuildPolicyRow, model)
    if row is None:
        raise NotFound("build_policy.not_found", f"{model[:64]} has no build policy.")
    return row


def wants(session: Session, model: str) -> BuildPolicy:
    """Give what a model's policy says.

    Raises:
        NotFound: `build_policy.not_found`.
    """
    return BuildPolicy.model_validate(get(session, model).body)


def remove(session: Session, model: str) -> None:
    """Remove a model's policy; what it made stays.

    Raises:
        NotFound: `build_policy.not_found`.
    """
    session.delete(get(session, model))
    session.flush()


class Builder:
    """Looks at the policies when there is news, in the scheduler."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._seen: str | None = None  # the newest event of the last look; None: the first look is due
        self.look_again_at = 0.0  # by the monotonic clock

    def advance(self) -> None:
        """Do what the policies ask for now."""
        began = time.monotonic()
        if began < self.look_again_at:
            return
        with self._database.reading() as session:
            # Read before the look: what happens meanwhile is news for the next one.
            newest = max(events.latest(session, name) for name in _NEWS)
            models = list(session.scalars(select(BuildPolicyRow.model))) if newest != self._seen else []
            due = [model for model in models if _is_due(session, model)]
        for model in due:
            with self._database.transaction() as session:
                look(session, model)
        self._seen = newest
        self.look_again_at = time.monotonic() + max(_LEAST_PAUSE_S, (time.monotonic() - began) / _BUSY_SHARE)


def look(session: Session, model: str) -> None:
    """Make what a model's policy finds missing, and have measured what nobody measured."""
    row = session.get(BuildPolicyRow, model, with_for_update=True)
    version = None if row is None else _newest(session, model)
    if row is None or version is None:
        return
    if row.version_id != version.id:
        row.version_id, row.done, row.message = version.id, [], ""
    wants = BuildPolicy.model_validate(row.body)
    selected = devices.select_by(session, wants.selector)
    _build(session, row, version, wants, selected)
    if wants.profile:
        _measure(session, row, version, wants, selected)


def _is_due(session: Session, model: str) -> bool:
    """Tell, without a lock, whether a look would do something."""
    row, version = get(session, model), _newest(session, model)
    if version is None:
        return False
    wants = BuildPolicy.model_validate(row.body)
    selected = devices.select_by(session, wants.selector)
    return bool(
        row.version_id != version.id
        or _missing(session, row, version, wants, selected)
        or (wants.profile and _unmeasured(session, row, version, selected))
    )


def _newest(session: Session, model: str) -> VersionRow | None:
    query = select(VersionRow).where(VersionRow.model == model, VersionRow.state == VersionState.READY)
    return session.scalar(query.order_by(VersionRow.number.desc()).limit(1))


def _missing(
    session: Session, row: BuildPolicyRow, version: VersionRow, wants: BuildPolicy, selected: Sequence[DeviceRow]
) -> list[tuple[str, str]]:
    done = set(row.done) if row.version_id == version.id else set()
    needs, _ = building.needs_of(session, version, selected, fitting.limits_of(wants.budget))
    missing = [(need.recipe, need.runtime) for need in needs if need.state == "missing"]
    return [pair for pair in missing if _built(pair) not in done]


def _build(
    session: Session, row: BuildPolicyRow, version: VersionRow, wants: BuildPolicy, selected: Sequence[DeviceRow]
) -> None:
    pairs = _missing(session, row, version, wants, selected)
    if not pairs:
        return
    try:
        with session.begin_nested():
            building.build(session, version, pairs, wants, _ACTOR)
        row.message = ""
    except ShoalError as error:
        _log.warning("the build policy of %s built nothing: %s", row.model, error)
        row.message = f"{error} [{error.code}]"
    row.done = [*row.done, *map(_built, pairs)]


def _unmeasured(
    session: Session, row: BuildPolicyRow, version: VersionRow, selected: Sequence[DeviceRow]
) -> list[tuple[str, DeviceRow, str]]:
    """Give what no device of a class measured: what is done then, who would measure, and the variant."""
    done = set(row.done) if row.version_id == version.id else set()
    variants = artifacts.list_variants(session, version.id)
    query = select(ProfileRow.variant_id, ProfileRow.hardware_class)
    known = {
        (variant_id, digest)
        for variant_id, digest in session.execute(query.where(ProfileRow.variant_id.in_([one.id for one in variants])))
    }
    found: dict[str, tuple[str, DeviceRow, str]] = {}
    for alike in fitting.group(selected):
        device = min(alike.devices, key=lambda one: (not one.online, one.id))
        for variant in variants:
            key = f"measured {variant.id} {alike.hardware.digest}"
            is_known = (variant.id, alike.hardware.digest) in known or key in done
            if variant.runtime in alike.runtimes and not is_known:
                found.setdefault(key, (key, device, variant.id))
    return list(found.values())


def _measure(
    session: Session, row: BuildPolicyRow, version: VersionRow, wants: BuildPolicy, selected: Sequence[DeviceRow]
) -> None:
    unmeasured = _unmeasured(session, row, version, selected)
    if not unmeasured:
        return
    variants = {variant.id: variant for variant in artifacts.list_variants(session, version.id)}
    pairs = [(device, variants[variant_id]) for _, device, variant_id in unmeasured]
    profiles.measure(session, version, pairs, selector=wants.selector, runs=_RUNS, actor=_ACTOR)
    row.done = [*row.done, *(key for key, _, _ in unmeasured)]


def _built(pair: tuple[str, str]) -> str:
    return f"built {pair[0]} {pair[1]}"
