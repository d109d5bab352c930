"""Advice on boards, from rows and the catalogue; what is advised stands in `advisor`."""

from collections.abc import Sequence

from sqlalchemy import select
from sqlalchemy.orm import Session

from controller.artifacts import service as artifacts
from controller.artifacts.tables import VariantRow, VersionRow
from controller.profiles import advisor
from controller.profiles.advisor import Advised, Offer, Target
from controller.profiles.boards import BoardSpec
from controller.profiles.fitting import figures_of
from controller.profiles.tables import ProfileRow
from shoal.schemas.profiles import Advice, AdviceRequest


def advise(session: Session, version: VersionRow, request: AdviceRequest, boards: Sequence[BoardSpec]) -> list[Advice]:
    """Say which boards would serve a version, the best first."""
    variants = artifacts.list_variants(session, version.id)
    profiles = session.scalars(select(ProfileRow).where(ProfileRow.variant_id.in_([row.id for row in variants])))
    measured: dict[str, list[ProfileRow]] = {}
    for row in profiles:
        measured.setdefault(row.variant_id, []).append(row)
    offers = [_offer(version, variant, measured.get(variant.id, [])) for variant in variants]
    target = Target(
        max_accuracy_drop=request.max_accuracy_drop,
        max_latency_ms=request.max_latency_ms,
        max_power_w=request.max_power_w,
        temperature_min_c=request.temperature_min_c,
        temperature_max_c=request.temperature_max_c,
        connectivity=frozenset(request.connectivity),
    )
    return [_advice(one) for one in advisor.advise(boards, offers, target)]


def _offer(version: VersionRow, variant: VariantRow, profiles: Sequence[ProfileRow]) -> Offer:
    macs = variant.figures.get("macs") or version.inspection.get("macs")
    return Offer(
        variant_id=variant.id,
        runtime=variant.runtime,
        size_bytes=variant.size_bytes,
        accuracy=variant.accuracy,
        is_int8=figures_of(variant).is_int8,
        macs=None if macs is None else float(macs),
        measured={
            row.hardware: (row.latency_p50_ms, float(row.figures["latency_p95_ms"]))
            for row in profiles
            if row.passed and row.latency_p50_ms is not None
        },
        failed=frozenset(row.hardware for row in profiles if not row.passed),
    )


def _advice(advised: Advised) -> Advice:
    latency = advised.latency
    return Advice(
        board=advised.board.name,
        title=advised.board.title,
        verdict=advised.verdict.value,
        reasons=advised.reasons,
        variant_id=advised.variant_id,
        latency_ms=None if latency is None else (latency.least_ms, latency.likely_ms, latency.most_ms),
        source="none" if latency is None else latency.source,
    )
