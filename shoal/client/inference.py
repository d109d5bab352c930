"""Inference by the controller's own runner."""

from shoal.client.connection import Connection
from shoal.schemas.inference import InferAnswer, InferRequest


class Inference:
    """`/v1/inference`."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def infer(self, model: str, version: int, request: InferRequest, *, variant: str = "") -> InferAnswer:
        """Run a variant on one request: the one that is named by its id, else the most accurate."""
        path = f"/inference/models/{model}/versions/{version}/infer"
        return self._connection.send("POST", f"{path}?variant={variant}" if variant else path, InferAnswer, request)
