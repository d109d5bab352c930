"""Which variants fit which devices: rows in, `resolver`'s decisions out.

Devices of one hardware class that offer the same runtimes get the same answer, so a fleet costs as much as its classes.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import msgspec
from sqlalchemy import select
from sqlalchemy.orm import Session

from controller.artifacts.tables import VariantRow, VersionRow
from controller.devices.hardware_class import HardwareClass, class_of
from controller.devices.tables import DeviceRow
from controller.profiles.estimate import Estimate, Measurement, Rates, estimate, from_cloud, surest
from controller.profiles.resolver import Hardware, Limits, Measured, Resolution, VariantFigures, resolve
from controller.profiles.tables import ProfileRow
from shoal.schemas.recipes import Budget

_MOST_COMPARED: Final = 5000  # profiles of other versions, the newest first


@dataclass(frozen=True, kw_only=True)
class Alike:
    """Devices that get the same answer.

    Attributes:
        memory_bytes: Of the one that has the least; None where none tells.
        rates: Of the first that measured itself.
    """

    hardware: HardwareClass
    runtimes: frozenset[str]
    devices: list[DeviceRow]
    memory_bytes: int | None
    rates: Rates


class Fitting:
    """The variants of a version, with all that devices measured of them.

    Args:
        variants: All of the version.
    """

    def __init__(self, session: Session, variants: Sequence[VariantRow]) -> None:
        self.variants = {row.id: row for row in variants}
        self._figures = [figures_of(row) for row in variants]
        profiles = session.scalars(select(ProfileRow).where(ProfileRow.variant_id.in_(self.variants)))
        self._profiles: dict[str, dict[str, ProfileRow]] = {}  # by variant, then by hardware class
        for row in profiles:
            self._profiles.setdefault(row.variant_id, {})[row.hardware_class] = row
        self._slower = _times_slower(session, variants)

    def resolve(self, alike: Alike, limits: Limits) -> Resolution:
        """Choose for devices that are alike."""
        mine = alike.hardware.digest
        measured = {
            variant_id: _measured(by_class[mine]) for variant_id, by_class in self._profiles.items() if mine in by_class
        }
        estimated: dict[str, Estimate] = {}
        for figures in self._figures:
            if figures.id not in measured:
                slower = self._slower.get((mine, figures.recipe, figures.runtime), [])
                guess = surest(
                    from_cloud(figures.latency_p50_ms, slower, "this hardware, with other versions,"),
                    estimate(self._elsewhere(figures.id), alike.rates, is_int8=figures.is_int8),
                )
                if guess is not None:
                    estimated[figures.id] = guess
        hardware = Hardware(
            runtimes=alike.runtimes, memory_bytes=alike.memory_bytes, measured=measured, estimated=estimated
        )
        return resolve(self._figures, hardware, limits)

    def choose(self, devices: Iterable[DeviceRow], limits: Limits) -> dict[str, VariantRow | None]:
        """Give each device's variant, by its id; None where nothing fits."""
        chosen: dict[str, VariantRow | None] = {}
        for alike in group(devices):
            best = self.resolve(alike, limits).chosen
            variant = None if best is None else self.variants[best.id]
            chosen.update((device.id, variant) for device in alike.devices)
        return chosen

    def _elsewhere(self, variant_id: str) -> list[Measurement]:
        return [
            Measurement(latency_p50_ms=row.latency_p50_ms, rates=rates_of(row.rates), hardware=row.hardware)
            for row in self._profiles.get(variant_id, {}).values()
            if row.passed and row.latency_p50_ms is not None
        ]


def group(devices: Iterable[DeviceRow]) -> list[Alike]:
    """Put devices together that get the same answer; in the order of the first of each."""
    found: dict[tuple[HardwareClass, frozenset[str]], list[DeviceRow]] = {}
    for device in devices:
        found.setdefault((class_of(device.facts), frozenset(device.facts.get("runtimes", ()))), []).append(device)
    return [
        Alike(
            hardware=hardware,
            runtimes=runtimes,
            devices=members,
            memory_bytes=min((size for one in members if (size := one.facts.get("memory_bytes"))), default=None),
            rates=next((rates_of(told) for one in members if (told := one.facts.get("measured"))), Rates()),
        )
        for (hardware, runtimes), members in found.items()
    ]


def figures_of(row: VariantRow) -> VariantFigures:
    """Give a variant as the resolver sees it."""
    return VariantFigures(
        id=row.id,
        recipe=row.recipe,
        runtime=row.runtime,
        size_bytes=row.size_bytes,
        accuracy=row.accuracy,
        latency_p50_ms=row.latency_p50_ms,
        peak_memory_bytes=row.figures.get("peak_memory_bytes"),
        is_int8=row.recipe.startswith("int8") or any(_is_int8(step) for step in row.recipe_steps),
    )


def limits_of(budget: Budget) -> Limits:
    """Give a budget as the resolver sees it."""
    return Limits(
        max_accuracy_drop=budget.max_accuracy_drop,
        max_size_bytes=budget.max_size_bytes,
        max_latency_ms=budget.max_latency_ms,
    )


def rates_of(measured: Mapping[str, object]) -> Rates:
    """Give what a device measured of itself (`shoal.wire.devices.Measured`)."""
    return msgspec.convert({name: measured.get(name) for name in Rates.__dataclass_fields__}, Rates)


def _times_slower(session: Session, variants: Sequence[VariantRow]) -> dict[tuple[str, str, str], list[float]]:
    """Give how many times slower than the cloud hardware was with other versions: by class, recipe and runtime."""
    if not variants:
        return {}
    model = select(VersionRow.model).where(VersionRow.id == variants[0].version_id).scalar_subquery()
    query = (
        select(
            *(ProfileRow.hardware_class, VariantRow.recipe, VariantRow.runtime),
            *(ProfileRow.latency_p50_ms, VariantRow.latency_p50_ms),
        )
        .join(VariantRow, VariantRow.id == ProfileRow.variant_id)
        .join(VersionRow, VersionRow.id == VariantRow.version_id)
        .where(VersionRow.model == model, ProfileRow.passed, ProfileRow.latency_p50_ms.is_not(None))
        .where(VersionRow.id != variants[0].version_id, VariantRow.latency_p50_ms > 0)
        .order_by(ProfileRow.measured_at.desc())
        .limit(_MOST_COMPARED)
    )
    found: dict[tuple[str, str, str], list[float]] = {}
    for digest, recipe, runtime, there_ms, here_ms in session.execute(query):
        found.setdefault((digest, recipe, runtime), []).append((there_ms or 0.0) / here_ms)
    return found


def _measured(row: ProfileRow) -> Measured:
    return Measured(
        passed=row.passed,
        latency_p50_ms=row.latency_p50_ms,
        peak_memory_bytes=row.figures.get("peak_memory_bytes"),
    )


def _is_int8(step: Mapping[str, object]) -> bool:
    return step.get("op") == "quantize" and step.get("mode") != "fp16"
