"""What a fleet needs of a version, from rows; and the compression that makes what is missing.

Not here: what is wanted for which device (`demand`), and when it is made by itself (`policies`).
"""

from collections.abc import Sequence
from typing import Final

from sqlalchemy import select
from sqlalchemy.orm import Session

from controller.artifacts import service as artifacts
from controller.artifacts.tables import VersionRow
from controller.compression import demand, service
from controller.compression.demand import Devices, Pair, Present, Wanted, Workshop
from controller.devices import service as devices
from controller.devices.tables import DeviceRow
from controller.errors import Conflict
from controller.jobs import service as jobs
from controller.jobs.states import TrialState
from controller.jobs.tables import JobRow, TrialRow
from controller.profiles import fitting
from controller.profiles.fitting import Fitting
from controller.profiles.resolver import Limits
from shoal import toolchain
from shoal.schemas.jobs import CompressionRequest
from shoal.schemas.profiles import BuildPolicy, Demand, Need
from shoal.schemas.recipes import Recipe

_FITS: Final = ("chosen", "worse")
_NOT_MADE: Final = (TrialState.REFUSED.value, TrialState.FAILED.value)
_NO_TOOLCHAIN: Final = "toolchain.missing"


def demand_of(session: Session, version: VersionRow, selector: str, limits: Limits) -> Demand:
    """Say which variants some devices need, and how each stands.

    Raises:
        NotFound, Invalid: What `devices.accept_selector` refuses.
    """
    accepted = devices.accept_selector(session, selector)
    selected = devices.select_by(session, accepted)
    needs, without = needs_of(session, version, selected, limits)
    return Demand(
        model=version.model,
        version=version.number,
        selector=accepted,
        devices=len(selected),
        without=without,
        needs=[
            Need(
                recipe=need.recipe,
                runtime=need.runtime,
                state=need.state,
                devices=need.devices,
                hardware=need.hardware,
                variant_id=need.variant_id,
                job_id=need.job_id,
                reason=need.reason,
            )
            for need in needs
        ],
    )


def needs_of(
    session: Session, version: VersionRow, selected: Sequence[DeviceRow], limits: Limits
) -> tuple[list[Wanted], int]:
    """Say what devices need of a version, and how many of them nothing can serve."""
    found = Fitting(session, artifacts.list_variants(session, version.id))
    fleet = []
    for alike in fitting.group(selected):
        candidates = found.resolve(alike, limits).candidates
        present = {
            (one.variant.recipe, one.variant.runtime): Present(
                variant_id=one.variant.id, fits=one.code in _FITS, reason=one.reason
            )
            for one in candidates
        }
        chosen = next(((one.variant.recipe, one.variant.runtime) for one in candidates if one.code == "chosen"), None)
        fleet.append(
            Devices(
                hardware=alike.hardware.words,
                count=len(alike.devices),
                runtimes=alike.runtimes,
                present=present,
                chosen=chosen,
            )
        )
    return demand.demand(fleet, _workshop(session, version))


def build(session: Session, version: VersionRow, pairs: Sequence[Pair], wants: BuildPolicy, actor: str) -> JobRow:
    """Make variants in one compression.

    Raises:
        NotFound, Invalid, Conflict: What `compression.service.create` refuses.
    """
    runtimes: dict[str, list[str]] = {}
    for recipe, runtime in pairs:
        runtimes.setdefault(recipe, []).append(runtime)
    request = CompressionRequest(
        model=version.model,
        version=version.number,
        recipes=[Recipe.model_validate({"name": name, "runtimes": told}) for name, told in runtimes.items()],
        budget=wants.budget,
        calibration_dataset=wants.calibration_dataset,
        evaluation_dataset=wants.evaluation_dataset,
        golden_dataset=wants.golden_dataset,
        training_dataset=wants.training_dataset,
    )
    return service.create(session, request, actor)


def build_missing(session: Session, version: VersionRow, wants: BuildPolicy, actor: str) -> JobRow:
    """Make what is missing now for some devices.

    Raises:
        Conflict: `demand.nothing_missing`.
        NotFound, Invalid, Conflict: As `build`.
    """
    selected = devices.select_by(session, devices.accept_selector(session, wants.selector))
    needs, _ = needs_of(session, version, selected, fitting.limits_of(wants.budget))
    missing = [(need.recipe, need.runtime) for need in needs if need.state == "missing"]
    if not missing:
        message = f"Nothing is missing of {version.model}/{version.number} for these devices."
        raise Conflict("demand.nothing_missing", message)
    return build(session, version, missing, wants, actor)


def _workshop(session: Session, version: VersionRow) -> Workshop:
    subject = f"{version.model}/{version.number}"
    building = {
        pair: job.id
        for job in jobs.list_open(session, kind=service.COMPRESS, subject=subject)
        for pair in service.planned(job)
    }
    trials = session.scalars(
        select(TrialRow)
        .join(JobRow, JobRow.id == TrialRow.job_id)
        .where(JobRow.kind == service.COMPRESS, JobRow.subject == subject, TrialRow.state.in_(_NOT_MADE))
        .order_by(TrialRow.id)
    )
    tried = {(row.recipe, row.runtime): row.message or row.code for row in trials if row.code != _NO_TOOLCHAIN}
    return Workshop(source=version.format, building=building, tried=tried, has_toolchain=toolchain.python() is not None)
