"""A typed, synchronous client of the REST API: `Client(url, token).devices.list()`. One file per noun.

The dashboard, the CLI, the scenarios and integrators use it. May import httpx, pydantic, tenacity and `shoal.schemas`.
Invariants: every refusal is an `ApiError` with the API's `code`; only reading is tried again by itself.
"""

from shoal.client.connection import ApiError, Unreachable
from shoal.client.session import Client

__all__ = ["ApiError", "Client", "Unreachable"]
