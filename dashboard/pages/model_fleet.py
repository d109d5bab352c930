"""`/models/{name}/fleet`: which variants the fleet needs, has and misses; what builds them; what devices measured."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final
from urllib.parse import urlencode

from nicegui import ui

from dashboard import format, wording
from dashboard.components import form, table
from dashboard.components.layout import Facts, Notice, grid, section
from dashboard.components.table import Column, Table
from dashboard.page import Live, Page
from dashboard.pages.build_form import BuildForm
from dashboard.pages.model_frame import VersionPicker, asked_version, model_heading, versions_of
from dashboard.pages.profiles import ProfileForm, profile_row, request_row
from dashboard.pages.selector_input import SelectorInput
from dashboard.parts import Part, part
from shoal.client import ApiError, Client
from shoal.schemas.artifacts import Version
from shoal.schemas.jobs import Job
from shoal.schemas.profiles import BuildPolicy, Demand, Need, Profile, Profiling

_EVERY_S: Final = 3.0
_PROFILES: Final = 200
_REQUESTS: Final = 5
_MISSING: Final = "missing"


@dataclass(frozen=True, kw_only=True)
class _Data:
    versions: list[Version]
    chosen: Version | None
    demand: Part[Demand] | None
    policy: BuildPolicy | None
    profiles: list[Profile]
    requests: list[Profiling]


def model_fleet(page: Page, name: str) -> None:
    """Draw the page; `?selector=` says for which devices, `?version=` of which version."""
    view = _View(page, name)
    view.live = page.live(view.load, view.show, every_s=_EVERY_S)


class _View:
    live: Live[_Data]

    def __init__(self, page: Page, name: str) -> None:
        self._page = page
        self._name = name
        self._number = asked_version(page)
        self._chosen: Version | None = None
        self._policy: BuildPolicy | None = None
        self._selector_text = page.query.get("selector", "all") or "all"
        self._build = BuildForm(page, name, self._refresh)
        self._profile = ProfileForm(page, name, self._refresh)
        with model_heading(page, name, "/fleet"):
            self._picker = VersionPicker(page, f"/models/{name}/fleet")
        with section("What the fleet needs", hint="the best that its devices could run", test_id="demand") as actions:
            with ui.element("div").classes("inside"):
                self._selector = SelectorInput(
                    page, label="Of the devices", value=self._selector_text, on_settled=self._settled
                )
            self._words = ui.label("").classes("words inside").props('role="status" data-testid="demand-words"')
            self._notice = Notice(test_id="demand-notice")
            self._needs = Table(
                [
                    Column(name="recipe", label="Recipe"),
                    Column(name="runtime", label="Runtime"),
                    Column(name="state", label="State"),
                    Column(name="devices", label="Devices", is_number=True),
                    Column(name="hardware", label="Hardware", is_long=True),
                    Column(name="reason", label="Because", is_long=True),
                ],
                nothing="No device of these offers a runtime, so nothing is needed.",
                test_id="demand-table",
            )
        with actions:
            self._missing = form.button(
                "Build what is missing", self._build_missing, test_id="build-missing", is_primary=True
            )
        with grid():
            with section("Build policy", hint="builds by itself, for every version", test_id="policy") as actions:
                self._policy_facts = Facts()
                self._no_policy = ui.label("None: what is missing is built when somebody asks for it here.").classes(
                    "words inside"
                )
            with actions:
                form.button("Set", self._open_policy, test_id="set-policy")
                self._remove = form.button("Remove", self._ask_remove, test_id="remove-policy")
            with section("Which variant would a device get?", test_id="explain"), ui.element("div").classes("inside"):
                ui.label("Every candidate with its figures, and why it is the one, or is not.").classes("words")
                self._explain = ui.link("Explain for a device", f"/explain?{urlencode({'model': name})}")
        self._draw_profiles()

    def _draw_profiles(self) -> None:
        hint = "by devices, of each hardware class and variant the newest"
        with section("Measured", hint=hint, test_id="profiles", wide=True) as actions:
            self._profiles = Table(
                [
                    Column(name="hardware", label="Hardware", is_long=True),
                    Column(name="recipe", label="Variant"),
                    Column(name="golden", label="Golden set"),
                    Column(name="p50", label="p50", is_number=True),
                    Column(name="p95", label="p95", is_number=True),
                    Column(name="memory", label="Memory", is_number=True),
                    Column(name="energy", label="Energy", is_number=True),
                    Column(name="device", label="Device"),
                    Column(name="at", label="Measured"),
                ],
                nothing="No device has measured a variant of this version yet: Measure has some do so.",
                test_id="profile-table",
            )
        with actions:
            form.button("Measure", self._open_profile, test_id="measure")
        with section("Requests to measure", hint="the newest", test_id="profilings", wide=True):
            self._requests = Table(
                [
                    Column(name="version", label="Version"),
                    Column(name="selector", label="Devices", is_long=True),
                    Column(name="executions", label="Executions", is_long=True),
                    Column(name="at", label="Asked"),
                ],
                nothing="Nobody has asked for measurements.",
            )

    def load(self, client: Client) -> _Data:
        name, selector = self._name, self._selector_text
        versions, chosen = versions_of(client, name, self._number)
        profiles = client.profiles.list(model=name, version=chosen.number, limit=_PROFILES).items if chosen else []
        return _Data(
            versions=versions,
            chosen=chosen,
            demand=part(lambda: client.builds.demand(name, chosen.number, selector=selector)) if chosen else None,
            policy=_policy(client, name),
            profiles=profiles,
            requests=client.profiles.list_requests(model=name, limit=_REQUESTS).items,
        )

    def show(self, data: _Data) -> None:
        now = datetime.now(UTC)
        self._chosen, self._policy = data.chosen, data.policy
        self._picker.show(data.versions, data.chosen)
        demand = data.demand.value if data.demand else None
        refusal = data.demand.refusal if data.demand else "This model has no version yet."
        self._notice.show(refusal)
        self._words.set_text(demand_words(demand) if demand else "")
        self._words.set_visibility(demand is not None)
        if demand is None:
            self._needs.hide()
        else:
            self._needs.show([need_row(need) for need in demand.needs])
        has_missing = demand is not None and any(need.state == _MISSING for need in demand.needs)
        self._missing.set_enabled(has_missing)
        self._no_policy.set_visibility(data.policy is None)
        self._remove.set_visibility(data.policy is not None)
        self._policy_facts.show(policy_facts(data.policy) if data.policy else [])
        self._profiles.show([profile_row(one, now) for one in data.profiles])
        self._requests.show([request_row(one, now) for one in data.requests])
        if data.chosen:
            target = urlencode({"model": self._name, "version": data.chosen.number})
            self._explain.props["href"] = f"/explain?{target}"

    async def _settled(self, selector: str) -> None:
        self._selector_text = selector.strip() or "all"
        await self._refresh()

    async def _refresh(self) -> None:
        await self.live.refresh()

    async def _build_missing(self) -> None:
        """With a policy it is one click; without one the form asks for data sets."""
        if self._chosen is None:
            return
        number, policy = self._chosen.number, self._policy
        if policy is None:
            await self._build.open(number, self._selector_text, None, is_policy=False)
            return
        wants = policy.model_copy(update={"selector": self._selector_text})

        def begun(job: Job) -> None:
            ui.navigate.to(f"/jobs/{job.id}")

        await self._page.act(lambda client: client.builds.build(self._name, number, wants), begun)

    async def _open_policy(self) -> None:
        number = self._chosen.number if self._chosen else 0
        await self._build.open(number, self._selector_text, self._policy, is_policy=True)

    def _ask_remove(self) -> None:
        async def remove() -> None:
            def done(_: None) -> None:
                ui.notify("The policy is removed.")

            await self._page.act(lambda client: client.builds.remove_policy(self._name), done)
            await self._refresh()

        form.confirm("Remove the build policy?\nWhat it made stays.", "Remove", remove).open()

    def _open_profile(self) -> None:
        if self._chosen is not None:
            self._profile.open(self._chosen.number, self._selector_text)


def _policy(client: Client, name: str) -> BuildPolicy | None:
    try:
        return client.builds.show_policy(name)
    except ApiError as error:
        if error.status == 404:
            return None
        raise


def demand_words(demand: Demand) -> str:
    """Say how the fleet stands."""
    missing = sum(need.state == _MISSING for need in demand.needs)
    without = f" {format.count(demand.without)} of them can run nothing of it." if demand.without else ""
    ready = f"{missing} of {len(demand.needs)} variants missing" if missing else "nothing is missing that can be made"
    devices = f"{format.count(demand.devices)} device{'s' if demand.devices != 1 else ''}"
    return f"{devices}, {ready}.{without}"


def need_row(need: Need) -> dict[str, Any]:
    """Give something that is needed as a row."""
    word = need.state.replace("_", " ")
    state = table.state(word)
    return {
        "id": f"{need.recipe} {need.runtime}",
        "recipe": need.recipe,
        "runtime": wording.runtime(need.runtime),
        "state": table.link(word, f"/jobs/{need.job_id}") if need.state == "building" and need.job_id else state,
        "devices": format.count(need.devices),
        "hardware": "; ".join(need.hardware),
        "reason": need.reason,
    }


def policy_facts(policy: BuildPolicy) -> list[tuple[str, Any]]:
    """Say what a build policy does."""
    budget = policy.budget
    limits = [f"score at most {budget.max_accuracy_drop * 100:.3g} points lower"]
    if budget.max_size_bytes is not None:
        limits.append(f"at most {format.size(budget.max_size_bytes)}")
    if budget.max_latency_ms is not None:
        limits.append(f"at most {format.milliseconds(budget.max_latency_ms)}")
    return [
        ("For", wording.selector(policy.selector)),
        ("Budget", ", ".join(limits)),
        ("Calibration", policy.calibration_dataset),
        ("Evaluation", policy.evaluation_dataset),
        ("Golden", policy.golden_dataset),
        ("Training", policy.training_dataset or ""),
        ("Then measures", "one device of each hardware" if policy.profile else "nothing"),
    ]
