"""The client: one attribute a noun."""

from typing import Any, Self

from shoal.client.alerts import AlertRules, Alerts
from shoal.client.artifacts import Artifacts, Datasets
from shoal.client.auth import Tokens
from shoal.client.broker import Broker
from shoal.client.connection import Connection
from shoal.client.devices import Devices, EnrollmentTokens
from shoal.client.executions import Commands, Executions
from shoal.client.federated import FederatedRuns
from shoal.client.groups import Groups, Labels, Selectors
from shoal.client.incremental import IncrementalPolicies, IncrementalUpdates
from shoal.client.inference import Inference
from shoal.client.jobs import Jobs
from shoal.client.models import Models
from shoal.client.observe import Observe
from shoal.client.profiles import Boards, Builds, Profiles
from shoal.client.rollouts import Rollouts
from shoal.client.telemetry import Telemetry
from shoal.client.webhooks import Webhooks


class Client:
    """A controller as a program sees it. Thread-safe; close it, or use it as a context manager.

    Args:
        url: The operators' door, `http://host:port`.
        token: A bearer token; without one only `tokens.create` and `observe.health` are answered.
    """

    def __init__(self, url: str, token: str = "") -> None:
        connection = Connection(url, token)
        self._connection = connection
        self.url = connection.url
        self.alert_rules = AlertRules(connection)
        self.alerts = Alerts(connection)
        self.artifacts = Artifacts(connection)
        self.boards = Boards(connection)
        self.broker = Broker(connection)
        self.builds = Builds(connection)
        self.commands = Commands(connection)
        self.datasets = Datasets(connection)
        self.devices = Devices(connection)
        self.enrollment_tokens = EnrollmentTokens(connection)
        self.executions = Executions(connection)
        self.federated_runs = FederatedRuns(connection)
        self.groups = Groups(connection)
        self.incremental_policies = IncrementalPolicies(connection)
        self.incremental_updates = IncrementalUpdates(connection)
        self.inference = Inference(connection)
        self.jobs = Jobs(connection)
        self.labels = Labels(connection)
        self.models = Models(connection)
        self.observe = Observe(connection)
        self.profiles = Profiles(connection)
        self.rollouts = Rollouts(connection)
        self.selectors = Selectors(connection)
        self.telemetry = Telemetry(connection)
        self.tokens = Tokens(connection)
        self.webhooks = Webhooks(connection)

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: Any) -> None:
        self.close()
