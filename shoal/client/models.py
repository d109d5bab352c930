"""Models and where they come from, versions, variants, evaluations."""

from shoal.client.connection import Connection
from shoal.schemas.artifacts import EvaluationRequest, Lineage, Model, ModelRequest, Variant, Version, VersionRequest
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

    def delete(self, model: str) -> None:
        """Delete a model that nothing depends on."""
        self._connection.delete(f"/models/{model}")

    def lineage(self, model: str) -> Lineage:
        """Show where everything of a model comes from."""
        return self._connection.get(f"/models/{model}/lineage", Lineage)

    def create_version(self, model: str, request: VersionRequest) -> Version:
        """Give a model its next version, from what was uploaded as artifacts. It is used once a job has looked at it:
        until then it is `checking`.
        """
        return self._connection.send("POST", f"/models/{model}/versions", Version, request)

    def list_versions(self, model: str, *, limit: int = 50, cursor: str | None = None) -> Page[Version]:
        """Give a page of a model's versions, newest first."""
        return self._connection.page(f"/models/{model}/versions", Version, limit=limit, cursor=cursor)

    def show_version(self, model: str, number: int) -> Version:
        """Show a version with its lineage and evaluations."""
        return self._connection.get(f"/models/{model}/versions/{number}", Version)

    def delete_version(self, model: str, number: int) -> None:
        """Delete a version that nothing depends on."""
        self._connection.delete(f"/models/{model}/versions/{number}")

    def inspect(self, model: str, number: int) -> Job:
        """Start a job that looks once more at a version which was refused."""
        return self._connection.send("POST", f"/models/{model}/versions/{number}/inspections", Job)

    def list_variants(self, model: str, number: int) -> Page[Variant]:
        """Give all variants of a version."""
        return self._connection.get(f"/models/{model}/versions/{number}/variants", Page[Variant])

    def show_variant(self, variant_id: str) -> Variant:
        """Show a variant with its recipe and lineage."""
        return self._connection.get(f"/variants/{variant_id}", Variant)

    def delete_variant(self, variant_id: str) -> None:
        """Delete a variant that nothing depends on."""
        self._connection.delete(f"/variants/{variant_id}")

    def evaluate(self, model: str, number: int, request: EvaluationRequest) -> Job:
        """Start a job that measures a version on a data set."""
        return self._connection.send("POST", f"/models/{model}/versions/{number}/evaluations", Job, request)
