"""`/v1/enrollment-tokens`: let machines become devices."""

from fastapi import APIRouter
from sqlalchemy import select

from controller import audit
from controller.api.deps import Changer, PartsOf, Reader, Reading, Writing
from controller.api.pagination import Wanted, page
from controller.devices import enrollment
from controller.devices.tables import EnrollmentTokenRow
from shoal.schemas.common import Page
from shoal.schemas.devices import EnrollmentToken, EnrollmentTokenRequest, NewEnrollmentToken

router = APIRouter(tags=["devices"])


@router.post("/enrollment-tokens", status_code=201)
def create_enrollment_token(
    body: EnrollmentTokenRequest, caller: Changer, session: Writing, parts: PartsOf
) -> NewEnrollmentToken:
    """Make an enrolment token, shown this once."""
    row, token = enrollment.create_token(session, body, ca_digest=parts.ca_digest, actor=caller.name)
    audit.note(session, actor=caller.name, action="enrollment_token.create", subject=row.id)
    shown = EnrollmentToken.model_validate(row)
    return NewEnrollmentToken(**shown.model_dump(), token=token, device_url=parts.settings.resolved_device_url())


@router.get("/enrollment-tokens")
def list_enrollment_tokens(_caller: Reader, session: Reading, window: Wanted) -> Page[EnrollmentToken]:
    """List enrolment tokens, newest first."""
    return page(session, select(EnrollmentTokenRow), EnrollmentTokenRow.id, window, EnrollmentToken.model_validate)


@router.delete("/enrollment-tokens/{token_id}", status_code=204)
def revoke_enrollment_token(token_id: str, caller: Changer, session: Writing) -> None:
    """Let a token enrol nobody from now on; devices that it enrolled stay."""
    enrollment.revoke_token(session, token_id)
    audit.note(session, actor=caller.name, action="enrollment_token.revoke", subject=token_id)
