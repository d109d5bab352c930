"""Models, versions, variants, evaluations."""

from shoal.client.connection import Connection
from shoal.schemas.artifacts import EvaluationRequest, Model, ModelRequest, Variant, Version, VersionRequest
from shoal.schemas.common import Page
from shoal.schemas.jobs import Job


class Models:
    """`/v1/models` and what belongs to a model."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def create(self, request: ModelRequest) -> Model:
        """Register a model."""
        return self._connection.send("POST", "/models", Model, request)

    def list(self, *, limit: int = 50, cursor: str | None = None) -> Page[Model]:
        """Give a page of models by name."""
        return self._connection.page("/models", Model, limit=limit, cursor=cursor)

    def show(self, model: str) -> Model:
        """Show a model."""
        return self._connection.get(f"/models/{model}", Model)

    def create_version(self, model: str, request: VersionRequest) -> Version:
        """Give a model its next version, from programs and weights that were uploaded as artifacts."""
        return self._connection.send("POST", f"/models/{model}/versions", Version, request)

    def list_versions(self, model: str, *, limit: int = 50, cursor: str | None = None) -> Page[Version]:
        """Give a page of a model's versions, newest first."""
        return self._connection.page(f"/models/{model}/versions", Version, limit=limit, cursor=cursor)

    def show_version(self, model: str, number: int) -> Version:
        """Show a version with its lineage and evaluations."""
        return self._connection.get(f"/models/{model}/versions/{number}", Version)

    def list_variants(self, model: str, number: int) -> Page[Variant]:
        """Give all variants of a version."""
        return self._connection.get(f"/models/{model}/versions/{number}/variants", Page[Variant])

    def evaluate(self, model: str, number: int, request: EvaluationRequest) -> Job:
        """Start a job that measures a version on a data set."""
        return self._connection.send("POST", f"/models/{model}/versions/{number}/evaluations", Job, request)
