"""Telemetry as charts want it, the rules that watch it, the alerts that they raise, and webhooks."""

from datetime import datetime
from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from shoal.schemas.common import Name, Request, Response, Selector

Kind = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9._-]{0,95}$")]


class Latest(Response):
    """The newest figure of each kind of a device.

    Attributes:
        figures: Kind to value.
        at: When the newest sample was taken, by the controller's clock.
        dropped: Samples that the device threw away, ever: its byte budget or a full store.
    """

    device_id: str
    figures: dict[str, float]
    at: datetime
    received_at: datetime
    dropped: int


class Point(Response):
    """Figures of one step of time.

    Attributes:
        at: The beginning of the step.
        count: Samples in it, of all devices together.
    """

    at: datetime
    mean: float
    minimum: float
    maximum: float
    count: int


class Series(Response):
    """One kind over time, of one device or of a selector of devices.

    Attributes:
        step_s: The length of a step.
        source: `raw` or `rollup`: the samples themselves, or the sums that are kept for longer.
        points: Oldest first; a step without a sample is absent.
    """

    kind: str
    step_s: float
    source: Literal["raw", "rollup"]
    points: list[Point]


class AlertRuleRequest(Request):
    """`POST /v1/alert-rules`: watch one kind on the devices of a selector.

    Attributes:
        condition: `above` or `below` a threshold; `absent`: no sample for `for_s`; `rising` or `falling` by more than
            the threshold a second, over `window_s`.
        threshold: In the unit of the kind; of a rate, units a second; none for `absent`.
        for_s: How long it must hold before the alert fires.
        window_s: Of a rate: over how long it is measured.
    """

    name: Name
    selector: Selector
    kind: Kind
    condition: Literal["above", "below", "absent", "rising", "falling"]
    threshold: float | None = Field(default=None, ge=-1e18, le=1e18, allow_inf_nan=False)
    for_s: float = Field(default=0, ge=0, le=30 * 86_400)
    window_s: float = Field(default=300, ge=10, le=86_400)
    severity: Literal["info", "warning", "critical"] = "warning"


class AlertRule(Response):
    """A rule, and how many of its alerts stand.

    Attributes:
        firing: Alerts that fire now.
        pending: Alerts whose condition holds, but not for long enough yet.
    """

    name: str
    selector: str
    kind: str
    condition: str
    threshold: float | None
    for_s: float
    window_s: float
    severity: str
    is_enabled: bool
    firing: int
    pending: int
    created_by: str
    created_at: datetime


class AlertRuleChange(Request):
    """`PATCH /v1/alert-rules/{name}`; what is None stays."""

    is_enabled: bool | None = None
    threshold: float | None = Field(default=None, ge=-1e18, le=1e18, allow_inf_nan=False)
    for_s: float | None = Field(default=None, ge=0, le=30 * 86_400)


class Alert(Response):
    """A rule's condition on one device.

    Attributes:
        state: `pending`, `firing`, `resolved`.
        value: The figure, or rate, that was last seen; None where the sample is absent.
    """

    id: str
    rule: str
    device_id: str
    kind: str
    severity: str
    state: str
    value: float | None
    message: str
    since: datetime
    fired_at: datetime | None
    resolved_at: datetime | None
    acknowledged_by: str | None


class WebhookRequest(Request):
    """`POST /v1/webhooks`: have events posted to a URL.

    Attributes:
        events: Names, or beginnings that end with `*`: `alert.*`, `device.offline`.
    """

    name: Name
    url: str = Field(pattern=r"^https?://", max_length=2048)
    events: list[Annotated[str, StringConstraints(pattern=r"^(\*|[a-z_]+(\.[a-z_]+)*(\.\*)?)$", max_length=64)]] = (
        Field(min_length=1, max_length=32)
    )


class Webhook(Response):
    """A webhook, without its secret."""

    name: str
    url: str
    events: list[str]
    is_enabled: bool
    waiting: int
    failed: int
    last_code: int | None
    last_error: str
    last_at: datetime | None
    created_by: str
    created_at: datetime


class NewWebhook(Webhook):
    """As shown once.

    Attributes:
        secret: Signs each delivery: `X-Shoal-Signature: sha256=<HMAC of the body, hexadecimal>`.
    """

    secret: str


class WebhookDelivery(Response):
    """One event on its way to one webhook.

    Attributes:
        state: `waiting`, `delivered`, `failed` (given up).
    """

    id: str
    event_id: str
    event: str
    state: str
    attempts: int
    code: int | None
    error: str
    created_at: datetime
    next_at: datetime | None
    delivered_at: datetime | None
