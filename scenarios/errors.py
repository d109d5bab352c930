"""Why a scenario ends early."""


class StepFailed(Exception):
    """A step did not do what it shall; the message says what was seen and where to look."""
