"""`/v1/profiles`, `/v1/boards`, and what follows for a version: explain, demand, advice; a model's build policy."""

from pathlib import Path as FilePath
from typing import Annotated

import msgspec
from fastapi import APIRouter, Path, Query
from sqlalchemy import select

from controller import audit
from controller.api.deps import Changer, PartsOf, Reader, Reading, Writing
from controller.api.pagination import Wanted, page
from controller.artifacts import service as artifacts
from controller.artifacts.tables import VariantRow, VersionRow
from controller.compression import building, policies
from controller.db import utc_now
from controller.devices import service as devices
from controller.errors import Invalid
from controller.profiles import advising, boards, service
from controller.profiles.boards import BoardSpec
from controller.profiles.resolver import Limits
from controller.profiles.tables import ProfileRow, ProfilingRow
from controller.settings import Settings
from shoal.schemas.common import Page
from shoal.schemas.jobs import Job
from shoal.schemas.profiles import (
    Advice,
    AdviceRequest,
    Board,
    BuildPolicy,
    Demand,
    Explanation,
    Profile,
    ProfileRequest,
    Profiling,
)

router = APIRouter(tags=["profiles"])
Number = Annotated[int, Path(ge=1, le=2**53)]
DropLimit = Annotated[float, Query(ge=0, le=1)]
Text = Annotated[str | None, Query(max_length=64)]


@router.post("/profiles", status_code=201)
def create_profiles(body: ProfileRequest, caller: Changer, session: Writing) -> Profiling:
    """Have devices measure variants of a version, an execution each."""
    row = service.create(session, body, caller.name)
    audit.note(session, actor=caller.name, action="profiling.create", subject=row.id)
    return service.profilings(session, [row])[0]


@router.get("/profiles")
def list_profiles(
    _caller: Reader,
    session: Reading,
    window: Wanted,
    model: Text = None,
    version: Annotated[int | None, Query(ge=1, le=2**53)] = None,
    variant: Text = None,
    hardware_class: Text = None,
) -> Page[Profile]:
    """List what hardware classes make of variants: of each the newest measurement."""
    query = select(ProfileRow)
    if model is not None or version is not None:
        query = query.join(VariantRow, VariantRow.id == ProfileRow.variant_id)
        query = query.join(VersionRow, VersionRow.id == VariantRow.version_id)
    for column, wanted in (
        (VersionRow.model, model),
        (VersionRow.number, version),
        (ProfileRow.variant_id, variant),
        (ProfileRow.hardware_class, hardware_class),
    ):
        if wanted is not None:
            query = query.where(column == wanted)
    found = page(session, query, ProfileRow.id, window, lambda row: row)
    return Page(items=service.profiles(session, found.items), next_cursor=found.next_cursor)


@router.get("/profilings")
def list_profilings(_caller: Reader, session: Reading, window: Wanted, model: Text = None) -> Page[Profiling]:
    """List requests to measure, newest first."""
    query = select(ProfilingRow)
    if model is not None:
        query = query.join(VersionRow, VersionRow.id == ProfilingRow.version_id).where(VersionRow.model == model)
    found = page(session, query, ProfilingRow.id, window, lambda row: row)
    return Page(items=service.profilings(session, found.items), next_cursor=found.next_cursor)


@router.get("/profilings/{profiling_id}")
def show_profiling(profiling_id: str, _caller: Reader, session: Reading) -> Profiling:
    """Show a request to measure, and how far it is."""
    return service.profilings(session, [service.get_profiling(session, profiling_id)])[0]


@router.post("/profilings/{profiling_id}/cancel")
def cancel_profiling(profiling_id: str, caller: Changer, session: Writing) -> Profiling:
    """Stop what is open of a request to measure; what was measured stays."""
    row = service.get_profiling(session, profiling_id)
    service.cancel(session, row, utc_now())
    audit.note(session, actor=caller.name, action="profiling.cancel", subject=profiling_id)
    return service.profilings(session, [row])[0]


@router.get("/models/{model}/versions/{number}/explain")
def explain_choice(
    model: str,
    number: Number,
    _caller: Reader,
    session: Reading,
    device: Annotated[str, Query(max_length=64)],
    accuracy_drop_limit: DropLimit = 0.02,
) -> Explanation:
    """Say which variant a device gets of a version, and why not the others."""
    version = artifacts.get_version(session, model, number)
    limits = Limits(max_accuracy_drop=accuracy_drop_limit)
    return service.explain(session, version, devices.get(session, device), limits)


@router.get("/models/{model}/versions/{number}/demand")
def show_demand(
    model: str,
    number: Number,
    _caller: Reader,
    session: Reading,
    selector: Annotated[str, Query(min_length=1, max_length=16_384)] = "all",
    accuracy_drop_limit: DropLimit = 0.02,
) -> Demand:
    """Say which variants of a version devices need, which exist, and which are missing."""
    version = artifacts.get_version(session, model, number)
    return building.demand_of(session, version, selector, Limits(max_accuracy_drop=accuracy_drop_limit))


@router.post("/models/{model}/versions/{number}/demand/build", status_code=202)
def build_demand(model: str, number: Number, caller: Changer, session: Writing, body: BuildPolicy | None = None) -> Job:
    """Start a compression that makes what is missing; without a body as the model's build policy says."""
    version = artifacts.get_version(session, model, number)
    wants = body or policies.wants(session, model)
    job = Job.model_validate(building.build_missing(session, version, wants, caller.name))
    audit.note(session, actor=caller.name, action="demand.build", subject=job.id)
    return job


@router.put("/models/{model}/build-policy")
def set_build_policy(model: str, body: BuildPolicy, caller: Changer, session: Writing) -> BuildPolicy:
    """Have built what is missing for some devices whenever a version comes."""
    row = policies.put(session, model, body, caller.name)
    audit.note(session, actor=caller.name, action="build_policy.set", subject=model)
    return BuildPolicy.model_validate(row.body)


@router.get("/models/{model}/build-policy")
def show_build_policy(model: str, _caller: Reader, session: Reading) -> BuildPolicy:
    """Show a model's build policy."""
    return policies.wants(session, model)


@router.delete("/models/{model}/build-policy", status_code=204)
def remove_build_policy(model: str, caller: Changer, session: Writing) -> None:
    """Remove a model's build policy; what it made stays."""
    policies.remove(session, model)
    audit.note(session, actor=caller.name, action="build_policy.remove", subject=model)


@router.get("/boards")
def list_boards(_caller: Reader, parts: PartsOf) -> Page[Board]:
    """List the catalogue of boards, each figure with its source."""
    found = [Board.model_validate(msgspec.to_builtins(board)) for board in _boards(parts.settings)]
    return Page(items=found, total=len(found))


@router.post("/models/{model}/versions/{number}/advice")
def advise_boards(
    model: str, number: Number, body: AdviceRequest, _caller: Reader, session: Reading, parts: PartsOf
) -> Page[Advice]:
    """Say which boards of the catalogue would serve a version, the best first."""
    catalogue = _boards(parts.settings)
    known = {word for board in catalogue for word in board.connectivity}
    if unknown := sorted(set(body.connectivity) - known):
        message = f"No board has {unknown[0][:40]}; there are {', '.join(sorted(known))}."
        raise Invalid("advice.unknown_connectivity", message)
    found = advising.advise(session, artifacts.get_version(session, model, number), body, catalogue)
    return Page(items=found, total=len(found))


def _boards(settings: Settings) -> list[BoardSpec]:
    return boards.read(FilePath(settings.boards_file).expanduser() if settings.boards_file else None)
