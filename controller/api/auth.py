"""`/v1/tokens`, `/v1/users`: log in, see and delete one's own tokens."""

from fastapi import APIRouter
from sqlalchemy import select

from controller import audit
from controller.api.deps import Known, Reading, Writing
from controller.api.pagination import Wanted, page
from controller.auth import service
from controller.auth.tables import TokenRow
from shoal.schemas.auth import LoginAnswer, LoginRequest, Token, User
from shoal.schemas.common import Page

router = APIRouter(tags=["auth"])


@router.post("/tokens", status_code=201)
def create_token(body: LoginRequest, reading: Reading, session: Writing) -> LoginAnswer:
    """Exchange a password for a bearer token, shown this once."""
    # Checked before the writing transaction begins: hashing takes long, and whoever guesses would block all writers.
    user = service.check_password(reading, body.username, body.password.get_secret_value())
    row, secret = service.create_token(session, user, name=body.name, expires_in_s=body.expires_in_s)
    audit.note(session, actor=user.name, action="token.create", subject=row.id)
    return LoginAnswer(id=row.id, token=secret, username=user.name, role=user.role, expires_at=row.expires_at)


@router.get("/tokens")
def list_tokens(caller: Known, session: Reading, window: Wanted) -> Page[Token]:
    """List one's own tokens, newest first."""
    query = select(TokenRow).where(TokenRow.user_id == caller.user_id)
    return page(session, query, TokenRow.id, window, Token.model_validate)


@router.delete("/tokens/{token_id}", status_code=204)
def delete_token(token_id: str, caller: Known, session: Writing) -> None:
    """Let one of one's own tokens open nothing from now on."""
    service.delete_token(session, caller.user_id, token_id)
    audit.note(session, actor=caller.name, action="token.delete", subject=token_id)


@router.get("/users/me")
def show_me(caller: Known, session: Reading) -> User:
    """Say who calls."""
    return User.model_validate(service.get_user(session, caller.user_id))
