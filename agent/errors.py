"""What goes wrong on a device. `code` goes into reports and onto the screen."""


class AgentError(Exception):
    """A failure with a reason.

    Attributes:
        code: Stable, dotted: `enrollment.token_spent`, `artifact.digest_mismatch`.
        is_final: Trying again would not help without a person.
    """

    def __init__(self, code: str, message: str, *, is_final: bool = False) -> None:
        super().__init__(message)
        self.code = code
        self.is_final = is_final
