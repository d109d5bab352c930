"""Profiles: variants measured on devices, and what follows: explanations, demand, boards and advice."""

from shoal.client.connection import Connection
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


class Profiles:
    """`/v1/profiles`, `/v1/profilings`."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def create(self, request: ProfileRequest) -> Profiling:
        """Have devices measure variants of a version."""
        return self._connection.send("POST", "/profiles", Profiling, request)

    def list(
        self,
        *,
        model: str | None = None,
        version: int | None = None,
        variant: str | None = None,
        hardware_class: str | None = None,
        limit: int = 50,
        cursor: str | None = None,
    ) -> Page[Profile]:
        """Give a page of what hardware classes make of variants: of each the newest measurement."""
        query = {"model": model, "version": version, "variant": variant, "hardware_class": hardware_class}
        return self._connection.page("/profiles", Profile, query, limit=limit, cursor=cursor)

    def list_requests(self, *, model: str | None = None, limit: int = 50, cursor: str | None = None) -> Page[Profiling]:
        """Give a page of requests to measure, newest first."""
        return self._connection.page("/profilings", Profiling, {"model": model}, limit=limit, cursor=cursor)

    def show_request(self, profiling_id: str) -> Profiling:
        """Show a request to measure, and how far it is."""
        return self._connection.get(f"/profilings/{profiling_id}", Profiling)

    def cancel(self, profiling_id: str) -> Profiling:
        """Stop what is open of a request; what was measured stays."""
        return self._connection.send("POST", f"/profilings/{profiling_id}/cancel", Profiling)

    def explain(
        self, model: str, version: int, device_id: str, *, accuracy_drop_limit: float | None = None
    ) -> Explanation:
        """Say which variant a device gets, and why not the others."""
        query = {"device": device_id, "accuracy_drop_limit": accuracy_drop_limit}
        return self._connection.get(f"{_of(model, version)}/explain", Explanation, query)


class Boards:
    """`/v1/boards`, and which of them would serve."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def list(self) -> Page[Board]:
        """Give the catalogue."""
        return self._connection.get("/boards", Page[Board])

    def advise(self, model: str, version: int, request: AdviceRequest) -> Page[Advice]:
        """Say which boards would serve a version, the best first."""
        return self._connection.send("POST", f"{_of(model, version)}/advice", Page[Advice], request)


class Builds:
    """What a fleet needs of a model, and what builds it."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def demand(
        self, model: str, version: int, *, selector: str = "all", accuracy_drop_limit: float | None = None
    ) -> Demand:
        """Say which variants devices need, and how each stands."""
        query = {"selector": selector, "accuracy_drop_limit": accuracy_drop_limit}
        return self._connection.get(f"{_of(model, version)}/demand", Demand, query)

    def build(self, model: str, version: int, wants: BuildPolicy | None = None) -> Job:
        """Make what is missing; without `wants` as the model's build policy says."""
        return self._connection.send("POST", f"{_of(model, version)}/demand/build", Job, wants)

    def set_policy(self, model: str, policy: BuildPolicy) -> BuildPolicy:
        """Build what is missing whenever a version comes."""
        return self._connection.send("PUT", f"/models/{model}/build-policy", BuildPolicy, policy)

    def show_policy(self, model: str) -> BuildPolicy:
        """Show a model's build policy."""
        return self._connection.get(f"/models/{model}/build-policy", BuildPolicy)

    def remove_policy(self, model: str) -> None:
        """Remove a model's build policy; what it made stays."""
        self._connection.delete(f"/models/{model}/build-policy")


def _of(model: str, version: int) -> str:
    return f"/models/{model}/versions/{version}"
