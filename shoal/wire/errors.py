"""What is wrong with a message. The `code` goes to its sender and is what is counted."""


class WireError(Exception):
    """A message that is refused.

    Attributes:
        code: Stable, dotted, e.g. `message.too_large`.
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
