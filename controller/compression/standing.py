"""How a compression stands, read from its rows, and what its workers report, written as rows.

Not here: what follows from it (`planning`, `search`: pure).
"""

from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final

from sqlalchemy.orm import Session

from controller.artifacts import service as artifacts
from controller.compression.choosing import pareto, planning, search
from controller.compression.choosing.budget import Budget
from controller.compression.choosing.planning import Standing, Tried
from controller.compression.choosing.recipe import NETWORK, Pipeline, trial_key
from controller.compression.choosing.search import Searching
from controller.errors import Invalid
from controller.jobs import service as jobs
from controller.jobs.states import JobState, TrialState
from controller.jobs.tables import JobRow, TrialRow
from controller.jobs.units import End, Plan, Unit
from controller.jobs.work import Steps

_FIGURES: Final = ("size_bytes", "accuracy", "agreement", "latency_p50_ms", "samples")
_OVER: Final = "trial.stopped"


def plan(session: Session, row: JobRow, running: Collection[str]) -> Plan:
    """Say what of a compression can be done now, and how it ends when nothing is left."""
    standing = _standing(session, row, running)
    if row.spec["search"] is None:
        units = planning.next_units(standing)
        end = None if units or running else planning.ending(standing)
        return Plan(units=units, done=planning.done_share(standing), end=end)
    choice = search.choose(_searching(row, standing))
    if standing.broken is not None or not choice.units:
        for pipeline, why in choice.stopped:
            _stop(session, row, pipeline, why)
        standing = _standing(session, row, running)
        return Plan(units=[], done=planning.done_share(standing), end=None if running else _search_end(standing))
    return Plan(units=choice.units, done=planning.done_share(standing), end=None)


def close(session: Session, row: JobRow, unit: Unit, end: End) -> None:
    """Make rows of what a unit did not report: it broke off, or the whole version cannot be made."""
    if "reference" not in row.kept:
        said = {"state": end.state.value, "code": end.code, "message": end.message}
        jobs.keep(row, "broken", said)
        return
    done = {trial.key for trial in jobs.list_trials(session, row.id)}
    for one in unit.spec["pipelines"]:
        for runtime in one["runtimes"]:
            key = trial_key(one["name"], runtime)
            if key not in done:
                jobs.add_trial(
                    session,
                    row,
                    key=key,
                    recipe=one["name"],
                    steps=one["steps"],
                    runtime=runtime,
                    state=TrialState.REFUSED if end.state is JobState.REFUSED else TrialState.FAILED,
                    code=end.code or "trial.not_reported",
                    message=end.message or "Its worker ended without it.",
                )


def keep(session: Session, row: JobRow, trial: Mapping[str, Any]) -> None:
    """Write a trial down, with its variant where it has one."""
    made = trial.get("variant")
    variant_id = None if made is None else _add_variant(session, row, trial, made)
    jobs.add_trial(
        session,
        row,
        key=trial["key"],
        recipe=trial["recipe"],
        steps=trial["steps"],
        runtime=trial["runtime"],
        state=TrialState(trial["state"]),
        code=trial["code"],
        message=trial["message"],
        figures=trial["figures"],
        artifacts={} if made is None else {"model": made["sha256"], "golden": made["golden_sha256"]},
        variant_id=variant_id,
    )


def pipelines_of(spec: Sequence[Mapping[str, Any]]) -> list[Pipeline]:
    """Give pipelines from how a job's row has them."""
    return [Pipeline(one["name"], tuple(one["steps"]), tuple(one["runtimes"])) for one in spec]


def measured_here(row: JobRow) -> list[str]:
    """Give the runtimes whose latency counts as it is measured here, though the budget means certain devices."""
    asked = row.spec["budget"]
    if asked is None or asked["selector"] is None:
        return []
    runtimes = {runtime for one in row.spec["pipelines"] for runtime in one["runtimes"]}
    return sorted(runtimes - row.spec["factors"].keys())


def front_of(trials: Sequence[TrialRow]) -> set[str]:
    """Give the ids of the trials that no other of their job beats in all of size, latency and accuracy."""
    made = [trial for trial in trials if trial.state == TrialState.SUCCEEDED]
    points = [
        pareto.Point(one.figures["size_bytes"], one.figures["latency_p50_ms"], 1.0 - one.figures["accuracy"])
        for one in made
    ]
    return {made[index].id for index in pareto.front(points)}


def _standing(session: Session, row: JobRow, running: Collection[str]) -> Standing:
    trials = [_tried(trial) for trial in jobs.list_trials(session, row.id)]
    tried = {trial_key(one.recipe, one.runtime): one for one in trials}
    # A search compares all with each other; recipes that were asked for and are there already are left alone.
    there = [] if row.spec["search"] is not None else artifacts.list_variants(session, row.spec["version_id"])
    others = {trial_key(one.recipe, one.runtime) for one in there if one.job_id != row.id}
    wanted = [
        Pipeline(one.name, one.steps, tuple(name for name in one.runtimes if trial_key(one.name, name) not in others))
        for one in pipelines_of(row.spec["pipelines"])
    ]
    reference, broken = row.kept.get("reference"), row.kept.get("broken")
    asked = row.spec["budget"]
    budget = None
    if asked is not None and reference is not None:
        budget = Budget.of(asked, reference["score"], row.spec["factors"])
    return Standing(
        format=row.spec["format"],
        wanted=[one for one in wanted if one.runtimes],
        tried=tried,
        has_reference=reference is not None,
        has_training="training" in row.spec["datasets"],
        budget=budget,
        networks=frozenset(name.removeprefix(NETWORK) for name in row.kept if name.startswith(NETWORK)),
        running=frozenset(running),
        measured_here=measured_here(row),
        broken=None
        if broken is None
        else End(state=JobState(broken["state"]), code=broken["code"], message=broken["message"]),
    )


def _searching(row: JobRow, standing: Standing) -> Searching:
    return Searching(
        space=standing.wanted,
        tried=standing.tried,
        networks=standing.networks,
        running=standing.running,
        max_trials=row.spec["search"]["max_trials"],
        budget=standing.budget,
        score=row.kept.get("reference", {}).get("score", 0.0),
    )


def _search_end(standing: Standing) -> End:
    """Say how a search ends: well, where anything is inside the budget."""
    if standing.broken is not None:
        return standing.broken
    result = planning.summary(standing)
    if result["variants"] or not standing.wanted:
        return End(state=JobState.SUCCEEDED, result=result)
    best = result.get("closest")
    said = "" if best is None else f" The closest is {best['recipe']} on {best['runtime']}, over by {best['over']}."
    return End(
        state=JobState.REFUSED,
        code="budget.not_met",
        message=f"No recipe is inside the budget.{said}",
        result=result,
    )


def _stop(session: Session, row: JobRow, pipeline: Pipeline, why: str) -> None:
    for runtime in pipeline.runtimes:
        jobs.add_trial(
            session,
            row,
            key=trial_key(pipeline.name, runtime),
            recipe=pipeline.name,
            steps=pipeline.steps,
            runtime=runtime,
            state=TrialState.STOPPED,
            code=_OVER,
            message=why,
        )


def _add_variant(session: Session, row: JobRow, trial: Mapping[str, Any], made: Mapping[str, Any]) -> str:
    for sha256, size in ((made["sha256"], made["size_bytes"]), (made["golden_sha256"], made["golden_size_bytes"])):
        artifacts.record_artifact(session, sha256, size, row.id)
    figures = dict(trial["figures"])
    variant = artifacts.add_variant(
        session,
        version_id=row.spec["version_id"],
        recipe=trial["recipe"],
        recipe_steps=trial["steps"],
        runtime=trial["runtime"],
        format=made["format"],
        sha256=made["sha256"],
        golden_sha256=made["golden_sha256"],
        **{name: figures.pop(name) for name in _FIGURES},
        figures=figures,
        lineage={
            "datasets": row.spec["datasets"],
            "libraries": made["libraries"],
            "code": made["code"],
            "by": row.created_by,
        },
        job_id=row.id,
    )
    same = [dict(step) for step in variant.recipe_steps] == [dict(step) for step in trial["steps"]]
    if not same:
        raise Invalid("recipe.name_taken", f"{trial['recipe']} is the name of another pipeline of this version.")
    return variant.id


def _tried(row: TrialRow) -> Tried:
    return Tried(
        recipe=row.recipe,
        runtime=row.runtime,
        steps=tuple(row.steps),
        state=TrialState(row.state),
        code=row.code,
        message=row.message,
        figures=row.figures,
    )


STEPS: Final = Steps(plan=plan, close=close)
