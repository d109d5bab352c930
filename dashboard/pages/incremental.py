"""`/incremental`: policies by which devices learn alone, and what they learned."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from dashboard import format, wording
from dashboard.components import chart, table
from dashboard.components.chart import Chart
from dashboard.components.layout import heading, section
from dashboard.components.pager import Pager
from dashboard.components.table import Column, Table
from dashboard.page import Page
from shoal.client import Client
from shoal.schemas.common import Page as PageOf
from shoal.schemas.incremental import IncrementalUpdate, Policy

UPDATE_COLUMNS: Final = (
    Column(name="at", label="Noticed"),
    Column(name="device", label="Device"),
    Column(name="state", label="State"),
    Column(name="version", label="Version"),
    Column(name="why", label="Because of"),
    Column(name="new", label="New data", is_number=True),
    Column(name="old", label="Old knowledge", is_number=True),
    Column(name="message", label="Says", is_long=True),
)
_SIZE: Final = 25
_CHARTED: Final = 8
_SERIES: Final = {
    "new data, before": "new_before",
    "new data, after": "new_after",
    "old knowledge, before": "old_before",
    "old knowledge, after": "old_after",
}


def update_row(update: IncrementalUpdate, now: datetime) -> dict[str, Any]:
    """Give an update as a row of `UPDATE_COLUMNS`."""
    took = (update.finished_at - update.created_at).total_seconds() if update.finished_at else None
    base, made = f"{update.model}/{update.base_version}", f"{update.model}/{update.result_version}"
    target = f"/models/{update.model}?version={update.result_version or update.base_version}"
    return {
        "id": update.id,
        "at": table.noted(format.age(update.created_at, now), f"took {format.duration(took)}" if took else ""),
        "device": table.link(update.device_id, f"/devices/{update.device_id}", mono=True),
        "state": table.state(update.state),
        "version": table.link(f"{base} → {made}" if update.result_version else base, target),
        "why": table.noted(wording.noticed(update.evidence), wording.stability(update.evidence)),
        "new": _change(update.result, "new"),
        "old": _change(update.result, "old"),
        "message": update.message,
    }


@dataclass(frozen=True, kw_only=True)
class _Data:
    policies: PageOf[Policy]
    updates: PageOf[IncrementalUpdate]


def learning(page: Page) -> None:
    """Draw the page."""
    _View(page).begin()


class _View:
    def __init__(self, page: Page) -> None:
        self._page = page
        with heading("Learning alone"):
            pass
        with section("What devices learned", hint="measured on each device, before and after", test_id="updates"):
            self._chart = Chart(test_id="update-chart", height_px=240)
            self._updates = Table(
                UPDATE_COLUMNS,
                nothing="No device has learned by itself yet. It does when its policy notices drift.",
                test_id="update-table",
            )
            self._update_pager = Pager[IncrementalUpdate](size=_SIZE, on_move=self._refresh)
        with section("Policies", hint="when a device learns, and what is kept", test_id="policies"):
            self._policies = Table(
                [
                    Column(name="model", label="Model"),
                    Column(name="state", label="State"),
                    Column(name="selector", label="Devices"),
                    Column(name="monitor", label="Drift is", is_long=True),
                    Column(name="learning", label="Then it learns", is_long=True),
                    Column(name="keeps", label="Old knowledge", is_long=True),
                    Column(name="by", label="Made"),
                ],
                nothing="No policy yet. POST /v1/incremental-policies makes devices watch a model for drift.",
                test_id="policy-table",
            )
            self._policy_pager = Pager[Policy](size=_SIZE, on_move=self._refresh)

    def begin(self) -> None:
        self._live = self._page.live(self._load, self._show)

    async def _refresh(self) -> None:
        await self._live.refresh()

    def _load(self, client: Client) -> _Data:
        return _Data(
            policies=client.incremental_policies.list(limit=_SIZE, cursor=self._policy_pager.cursor),
            updates=client.incremental_updates.list(limit=_SIZE, cursor=self._update_pager.cursor),
        )

    def _show(self, data: _Data) -> None:
        now = datetime.now(UTC)
        self._policies.show([_policy_row(policy, now) for policy in data.policies.items])
        self._policy_pager.show(data.policies)
        self._updates.show([update_row(update, now) for update in data.updates.items])
        self._update_pager.show(data.updates)
        measured = [update for update in data.updates.items if update.result][:_CHARTED]
        self._chart.set_visibility(bool(measured))
        names = [f"{update.device_id}\n{update.model}/{update.base_version}" for update in measured]
        series = {name: [_figure(update.result, key) for update in measured] for name, key in _SERIES.items()}
        self._chart.show(chart.bar_chart(names, series, unit="%"))


def _figure(result: dict[str, Any], key: str) -> float | None:
    found = result.get(key)
    return float(found) if isinstance(found, int | float) else None


def _change(result: dict[str, Any], which: str) -> table.Cell:
    before, after = _figure(result, f"{which}_before"), _figure(result, f"{which}_after")
    if before is None or after is None:
        return ""
    return table.noted(f"{format.ratio(before)} → {format.ratio(after)}", f"{(after - before) * 100:+.1f} points")


def _policy_row(policy: Policy, now: datetime) -> dict[str, Any]:
    monitor, learns = policy.monitor, policy.learning
    return {
        "id": policy.id,
        "model": table.link(policy.model, f"/models/{policy.model}"),
        "state": table.state("active" if policy.is_active else "inactive"),
        "selector": wording.selector(policy.selector),
        "monitor": f"PSI above {monitor.threshold:g} over {monitor.window} samples, "
        f"against its first {monitor.reference_samples}",
        "learning": f"{learns.steps} steps of {learns.batch_new} new and {learns.batch_replay} replayed samples "
        f"of {learns.dataset}",
        "keeps": f"may lose {learns.max_old_accuracy_drop * 100:g} points; "
        f"distilled at temperature {learns.distillation_temperature:g}",
        "by": table.noted(format.age(policy.created_at, now), f"by {policy.created_by}"),
    }
