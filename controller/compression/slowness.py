"""How many times slower than here the devices are that a budget's latency is meant for, from their profiles."""

from collections.abc import Iterable
from statistics import median

from sqlalchemy import select
from sqlalchemy.orm import Session

from controller.artifacts.tables import VariantRow
from controller.devices import service as devices
from controller.profiles import fitting
from controller.profiles.tables import ProfileRow


def latency_factors(session: Session, selector: str) -> dict[str, float]:
    """Give the factor of each runtime that devices of a selector have profiled, of the slowest hardware class.

    Whichever variants were profiled count, of any model: a runtime is about as much slower for one as for another.

    Raises:
        Invalid, NotFound: What `controller.devices.service.accept_selector` refuses.
    """
    selected = devices.select_by(session, devices.accept_selector(session, selector))
    classes = {alike.hardware.digest for alike in fitting.group(selected)}
    measured = session.execute(
        select(VariantRow.runtime, ProfileRow.hardware_class, ProfileRow.latency_p50_ms, VariantRow.latency_p50_ms)
        .join(VariantRow, VariantRow.id == ProfileRow.variant_id)
        .where(ProfileRow.hardware_class.in_(classes), ProfileRow.passed, ProfileRow.latency_p50_ms.is_not(None))
    )
    return slowest((runtime, where, there / here) for runtime, where, there, here in measured if there and here > 0)


def slowest(ratios: Iterable[tuple[str, str, float]]) -> dict[str, float]:
    """Give the largest of the hardware classes' medians, by runtime.

    Args:
        ratios: Runtime, hardware class, and how many times slower a variant was there.

    >>> slowest([("litert", "a", 2.0), ("litert", "a", 4.0), ("litert", "b", 9.0), ("litert", "b", 1.0)])
    {'litert': 5.0}
    """
    found: dict[str, dict[str, list[float]]] = {}
    for runtime, where, ratio in ratios:
        found.setdefault(runtime, {}).setdefault(where, []).append(ratio)
    return {runtime: max(median(each) for each in by_class.values()) for runtime, by_class in found.items()}
