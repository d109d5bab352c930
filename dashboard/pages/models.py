"""`/models`, `/models/{name}`: versions, their variants side by side, compression."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, Literal

from nicegui import ui

from dashboard import format, wording
from dashboard.components import chart, form, table
from dashboard.components.chart import Chart
from dashboard.components.layout import Facts, grid, heading, section
from dashboard.components.pager import Pager
from dashboard.components.table import Column, Table
from dashboard.page import Page
from dashboard.pages.compression import CompressForm
from dashboard.pages.jobs import JOB_COLUMNS, job_row
from shoal.client import Client
from shoal.schemas.artifacts import Model, Variant, Version
from shoal.schemas.common import Page as PageOf
from shoal.schemas.jobs import Job

_SIZE: Final = 50
_VERSIONS: Final = 20
_COMPARED: Final = 2  # versions drawn beside the chosen one
_JOBS: Final = 5


def model_list(page: Page) -> None:
    """Draw the page of all models."""
    _List(page).begin()


def model(page: Page, name: str) -> None:
    """Draw the page of one model; `?version=` chooses whose variants are shown, else the newest that has any."""
    asked = page.query.get("version", "")
    view = _View(page, name)
    chosen = int(asked) if asked.isascii() and asked.isdigit() else None
    page.live(lambda client: _load(client, name, chosen), view.show)


class _List:
    def __init__(self, page: Page) -> None:
        self._page = page
        with heading("Models"):
            pass
        with section("", test_id="models"):
            self._table = Table(
                [
                    Column(name="name", label="Model"),
                    Column(name="task", label="Task"),
                    Column(name="versions", label="Versions", is_number=True),
                    Column(name="input", label="Input", is_long=True),
                    Column(name="classes", label="Classes", is_number=True),
                    Column(name="licence", label="Licence"),
                    Column(name="made", label="Registered"),
                ],
                nothing="No model yet. Register one with the API: POST /v1/models, then its first version.",
            )
            self._pager = Pager[Model](size=_SIZE, on_move=self._refresh)

    def begin(self) -> None:
        self._live = self._page.live(self._load, self._show)

    async def _refresh(self) -> None:
        await self._live.refresh()

    def _load(self, client: Client) -> PageOf[Model]:
        return client.models.list(limit=_SIZE, cursor=self._pager.cursor)

    def _show(self, found: PageOf[Model]) -> None:
        now = datetime.now(UTC)
        self._table.show(
            [
                {
                    "id": shown.name,
                    "name": table.link(shown.name, f"/models/{shown.name}"),
                    "task": shown.task,
                    "versions": format.count(shown.versions),
                    "input": "; ".join(_tensors(shown, "inputs")),
                    "classes": format.count(len(shown.class_labels)),
                    "licence": shown.licence,
                    "made": format.age(shown.created_at, now),
                }
                for shown in found.items
            ]
        )
        self._pager.show(found)


@dataclass(frozen=True, kw_only=True)
class _Data:
    model: Model
    versions: list[Version]
    chosen: Version | None
    variants: list[Variant]
    compared: list[Variant]
    jobs: list[Job]


def _load(client: Client, name: str, number: int | None) -> _Data:
    shown = client.models.show(name)
    versions = client.models.list_versions(name, limit=_VERSIONS).items
    if number is None:
        with_variants = (version for version in versions if version.variants)
        chosen = next(with_variants, next(iter(versions), None))
    else:
        chosen = client.models.show_version(name, number)
    variants = client.models.list_variants(name, chosen.number).items if chosen else []
    others = [version.number for version in versions if version.variants and version != chosen][:_COMPARED]
    compared = [*variants, *(found for other in others for found in client.models.list_variants(name, other).items)]
    jobs = client.jobs.list(subject=f"{name}/{chosen.number}", limit=_JOBS).items if chosen else []
    return _Data(model=shown, versions=versions, chosen=chosen, variants=variants, compared=compared, jobs=jobs)


class _View:
    def __init__(self, page: Page, name: str) -> None:
        self._name = name
        self._chosen: Version | None = None
        self._compress = CompressForm(page, name)
        with heading(name, under=[("Models", "/models")]):
            form.button("Compress", self._open_compress, test_id="compress")
            form.button("Roll out", self._roll_out, test_id="roll-out", is_primary=True)
        with section("Versions", hint="newest first; choose one to see its variants", test_id="versions"):
            self._versions = Table(
                [
                    Column(name="number", label="Version"),
                    Column(name="source", label="Source"),
                    Column(name="state", label="State"),
                    Column(name="lineage", label="Lineage", is_long=True),
                    Column(name="evaluations", label="Evaluations", is_long=True),
                    Column(name="variants", label="Variants", is_number=True),
                    Column(name="weights", label="Weights"),
                    Column(name="made", label="Made"),
                ],
                nothing="This model has no version yet: POST /v1/models/{model}/versions gives it one.",
            )
        with section("Variants", test_id="variants") as actions:
            self._variants = Table(
                [
                    Column(name="recipe", label="Recipe"),
                    Column(name="runtime", label="Runtime"),
                    Column(name="format", label="Format"),
                    Column(name="size", label="Size", is_number=True),
                    Column(name="accuracy", label="Accuracy", is_number=True),
                    Column(name="agreement", label="Agrees with fp32", is_number=True),
                    Column(name="latency", label="Median latency", is_number=True),
                    Column(name="sha256", label="Artifact"),
                    Column(name="made", label="Made"),
                ],
                nothing="This version has no variant yet. Compress it, and devices can run it.",
                test_id="variant-table",
            )
        with actions:
            self._which = ui.label("").classes("words").props('data-testid="chosen-version"')
        with grid() as self._charts:
            with section("Size against accuracy", hint="the better, the higher and the more to the left"):
                self._sizes = Chart(test_id="size-chart")
            with section("Median latency", hint="batch of one, on the controller"):
                self._latencies = Chart(test_id="latency-chart")
        with grid():
            with section("Jobs", hint="about this version", wide=True, test_id="model-jobs"):
                self._jobs = Table(JOB_COLUMNS, nothing="No job was run about this version.")
            with section("Signature", wide=True):
                self._facts = Facts()

    def show(self, data: _Data) -> None:
        now = datetime.now(UTC)
        self._chosen = data.chosen
        self._facts.show(_signature(data.model))
        chosen = data.chosen.number if data.chosen else None
        self._which.set_text(f"of version {chosen}" if chosen else "")
        self._versions.show([_version_row(version, version.number == chosen, now) for version in data.versions])
        self._variants.show([_variant_row(variant, now) for variant in data.variants])
        self._charts.set_visibility(bool(data.variants))
        points: dict[str, list[tuple[float, float, str]]] = {}
        for variant in data.compared:
            label = f"{variant.recipe} {wording.runtime(variant.runtime)} v{variant.version}"
            point = (variant.size_bytes / 1024, variant.accuracy, label)
            points.setdefault(f"version {variant.version}", []).append(point)
        self._sizes.show(chart.scatter_chart(points, x_name="KiB"))
        names = [f"{variant.recipe}\n{wording.runtime(variant.runtime)}" for variant in data.variants]
        medians = [round(variant.latency_p50_ms, 4) for variant in data.variants]
        self._latencies.show(chart.bar_chart(names, {"median": medians}, unit="ms"))
        self._jobs.show([job_row(job, now) for job in data.jobs])

    async def _open_compress(self) -> None:
        if self._chosen is None:
            ui.notify("This model has no version yet.", type="warning")
            return
        await self._compress.open(self._chosen.number)

    def _roll_out(self) -> None:
        version = f"&version={self._chosen.number}" if self._chosen else ""
        ui.navigate.to(f"/rollouts?model={self._name}{version}")


def _tensors(shown: Model, which: Literal["inputs", "outputs"]) -> list[str]:
    if shown.signature is None:
        return []
    specs = shown.signature.inputs if which == "inputs" else shown.signature.outputs
    return [f"{spec.name}: {' × '.join(_axis(size) for size in spec.shape)}, {spec.datatype.value}" for spec in specs]


def _axis(size: int) -> str:
    return "any" if size == -1 else str(size)


def _signature(shown: Model) -> list[tuple[str, Any]]:
    labels = shown.class_labels
    more = f" and {len(labels) - 20} more" if len(labels) > 20 else ""
    return [
        ("Task", shown.task),
        ("Inputs", "; ".join(_tensors(shown, "inputs")) or "known after the first version"),
        ("Outputs", "; ".join(_tensors(shown, "outputs"))),
        ("Preprocessing", ", ".join(str(step.get("op", "")) for step in shown.preprocessing)),
        ("Classes", f"{len(labels)}: {', '.join(labels[:20])}{more}" if labels else ""),
        ("Licence", shown.licence),
    ]


def _version_row(version: Version, is_chosen: bool, now: datetime) -> dict[str, Any]:
    results = [f"{found.dataset} {format.ratio(found.accuracy)}" for found in version.evaluations]
    return {
        "id": version.id,
        "number": table.link(
            f"{version.model}/{version.number}",
            f"/models/{version.model}?version={version.number}",
            note="shown below" if is_chosen else "",
        ),
        "source": version.source if version.format == "program" else f"{version.source}, {version.format}",
        "state": _state(version),
        "lineage": _lineage(version),
        "evaluations": ", ".join(results),
        "variants": format.count(version.variants),
        "weights": _bytes(version),
        "made": table.noted(format.age(version.created_at, now), f"by {version.created_by}"),
    }


def _state(version: Version) -> table.Cell:
    return table.state(version.state, note=f"{version.message} [{version.code}]" if version.code else "")


def _bytes(version: Version) -> table.Cell:
    digest = version.weights or version.file or ""
    return table.mono(digest[:12], title=digest)


def _lineage(version: Version) -> table.Cell:
    words, run_id, device_id = wording.lineage(version), version.lineage.get("run"), version.lineage.get("device")
    if run_id:
        return table.link(words, f"/federated-runs/{run_id}")
    return table.link(words, f"/devices/{device_id}") if device_id else words


def _variant_row(variant: Variant, now: datetime) -> dict[str, Any]:
    return {
        "id": variant.id,
        "recipe": variant.recipe,
        "runtime": wording.runtime(variant.runtime),
        "format": variant.format,
        "size": format.size(variant.size_bytes),
        "accuracy": format.ratio(variant.accuracy),
        "agreement": format.ratio(variant.agreement),
        "latency": format.milliseconds(variant.latency_p50_ms),
        "sha256": table.mono(variant.sha256[:12], title=variant.sha256),
        "made": format.age(variant.created_at, now),
    }
