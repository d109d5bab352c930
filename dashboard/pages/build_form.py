"""The form of a build policy; also asks for the data sets of a single build where there is no policy."""

from collections.abc import Awaitable, Callable

from nicegui import ui

from dashboard.components.form import Form
from dashboard.page import Page
from dashboard.pages.dataset_fields import BudgetFields, DatasetFields, without_words
from dashboard.pages.selector_input import SelectorInput
from shoal.schemas.jobs import Job
from shoal.schemas.profiles import BuildPolicy


class BuildForm:
    """Asks for devices, data sets and budget. `refresh`: awaited after a change."""

    def __init__(self, page: Page, name: str, refresh: Callable[[], Awaitable[None]]) -> None:
        self._page = page
        self._name = name
        self._refresh = refresh
        self._version = 0
        self._is_policy = False
        self._form = Form("Build", "Build", self._send, test_id="build-form")
        with self._form.fields():
            self._words = ui.label("").classes("words")
            self._selector = SelectorInput(page, test_id="build-selector")
            self._datasets = DatasetFields(page, name)
            self._budget = BudgetFields(page)
            self._profile = ui.checkbox("Have a device of each hardware measure what was built", value=True)
            self._profile.props("dense")

    async def open(self, version: int, selector: str, policy: BuildPolicy | None, *, is_policy: bool) -> None:
        """Show it: for a policy, or for building once what is missing of a version."""
        self._version, self._is_policy = version, is_policy
        self._words.set_text(
            f"Whenever a version of {self._name} or a device comes, what is missing for these devices is built."
            if is_policy
            else f"Builds what is missing of {self._name}/{version} for these devices; a build policy does so alone."
        )
        self._form.entitle(*(("Build policy", "Set") if is_policy else ("Build what is missing", "Build")))
        self._profile.set_visibility(is_policy)
        self._selector.put(policy.selector if policy else selector)
        if policy is not None:
            self._budget.put(policy.budget)
            self._profile.value = policy.profile
        without = await self._datasets.load()
        self._form.open()
        self._form.refuse(without_words(without))

    async def _send(self) -> None:
        wants = BuildPolicy(
            selector=self._selector.value(),
            budget=self._budget.value(),
            profile=bool(self._profile.value),
            **self._datasets.value(),
        )
        if self._is_policy:

            def saved(_: BuildPolicy) -> None:
                self._form.close()
                ui.notify("The policy is set.")

            await self._page.act(lambda client: client.builds.set_policy(self._name, wants), saved, self._form.refuse)
            await self._refresh()
            return

        def begun(job: Job) -> None:
            self._form.close()
            ui.navigate.to(f"/jobs/{job.id}")

        await self._page.act(
            lambda client: client.builds.build(self._name, self._version, wants), begun, self._form.refuse
        )
