"""Whom a broker shall shut out."""

from datetime import datetime

from pydantic import Field

from shoal.schemas.common import Request, Response


class BrokerAccess(Response):
    """A revision of what a broker shall know.

    Attributes:
        crl: Revoked certificates, signed by the CA, PEM; its number is the revision.
        denied: Ids of devices that may not speak, whatever certificate they show.
    """

    revision: int
    crl: str
    denied: list[str]
    made_at: datetime


class Synced(Request):
    """`PUT /v1/broker-access/synced`: the revision that a broker follows."""

    revision: int = Field(ge=0, le=2**53)
