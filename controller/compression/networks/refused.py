"""How a technique says no."""


class Refused(Exception):
    """What cannot be done to this model with this data, or is not worth having.

    Attributes:
        code: Stable, dotted: `recipe.unsupported_operator`, `calibration.not_finite`, `distill.no_gain`.
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message[:2000])
        self.code = code
