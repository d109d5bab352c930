"""Why a command ends with 1, beside what the API refuses (`ApiError`) and its silence (`Unreachable`)."""


class CliError(Exception):
    """What the operator can mend.

    Attributes:
        code: Stable and dotted, as the API's: `port.in_use`.
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
