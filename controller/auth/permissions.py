"""What each role may do. Pure."""

from enum import StrEnum
from typing import Final

from controller.errors import Forbidden


class Permission(StrEnum):
    """Something that a caller of the REST API may be allowed."""

    READ = "read"
    CHANGE = "change"
    UPLOAD_PROGRAM = "models.upload_program"  # an exported program is code, even without a pickle in it


class Role(StrEnum):
    """What a user is to this controller."""

    ADMIN = "admin"
    OPERATOR = "operator"
    VIEWER = "viewer"


PERMISSIONS: Final[dict[Role, frozenset[Permission]]] = {
    Role.ADMIN: frozenset(Permission),
    Role.OPERATOR: frozenset({Permission.READ, Permission.CHANGE}),
    Role.VIEWER: frozenset({Permission.READ}),
}


def require(role: Role, permission: Permission) -> None:
    """Let a role do something.

    Raises:
        Forbidden: `permission.missing`, with `permission`.

    >>> require(Role.ADMIN, Permission.UPLOAD_PROGRAM)
    """
    if permission not in PERMISSIONS[role]:
        raise Forbidden("permission.missing", f"This needs the permission {permission}.", permission=permission.value)
