"""The catalogue of boards: a file beside this one, or the operator's own in its place."""

from functools import lru_cache
from pathlib import Path
from typing import Annotated, Final, Literal

import msgspec

from controller.errors import Invalid

_OURS: Final = Path(__file__).with_name("boards.json")
_MAX_FILE_BYTES: Final = 1024 * 1024
_Text = Annotated[str, msgspec.Meta(min_length=1, max_length=256)]
_Name = Annotated[str, msgspec.Meta(pattern=r"^[a-z0-9][a-z0-9-]{0,62}\Z")]
FigureName = Literal[
    "memory_bytes",
    "fp32_flops",
    "int8_ops_per_s",
    "memory_bandwidth",
    "idle_w",
    "load_w",
    "temperature_min_c",
    "temperature_max_c",
]


class Figure(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """A figure of a specification, with the document that says it.

    Attributes:
        most: Where the figure is a range, or the board is sold in sizes: its upper end; `value` is the lower one.
        needs: What has to be set up first for it to count: an `accelerator`'s driver, and files compiled for it.
    """

    value: float
    unit: _Text
    source: Annotated[str, msgspec.Meta(min_length=1, max_length=500)]
    most: float | None = None
    needs: Literal["accelerator"] | None = None


class BoardSpec(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A board.

    Attributes:
        facts: By what its devices are known: parts of the words of their hardware classes.
        runtimes: That Shoal has for it; none where the agent does not run there.
        figures: A figure that nobody states is absent, never guessed.
    """

    name: _Name
    title: _Text
    facts: Annotated[list[_Text], msgspec.Meta(max_length=16)] = []
    runtimes: Annotated[list[_Name], msgspec.Meta(max_length=16)] = []
    connectivity: Annotated[list[_Name], msgspec.Meta(max_length=32)] = []
    figures: dict[FigureName, Figure] = {}


class _Catalogue(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    boards: Annotated[list[BoardSpec], msgspec.Meta(min_length=1, max_length=500)]


def read(path: Path | None = None) -> list[BoardSpec]:
    """Read the catalogue.

    Args:
        path: The operator's own; None: Shoal's.

    Raises:
        Invalid: `boards.malformed`, naming what is wrong.
    """
    file = path or _OURS
    try:
        with file.open("rb") as opened:
            data = opened.read(_MAX_FILE_BYTES + 1)
    except OSError as error:
        raise Invalid("boards.malformed", f"The catalogue {file} cannot be read: {error.strerror}.") from error
    if len(data) > _MAX_FILE_BYTES:
        raise Invalid("boards.malformed", f"The catalogue {file} has more than {_MAX_FILE_BYTES} bytes.")
    return _parse(data, str(file))


@lru_cache(maxsize=4)
def _parse(data: bytes, named: str) -> list[BoardSpec]:
    try:
        boards = msgspec.json.decode(data, type=_Catalogue).boards
    except msgspec.DecodeError as error:
        raise Invalid("boards.malformed", f"The catalogue {named} is not valid: {error}.") from error
    if len({board.name for board in boards}) < len(boards):
        raise Invalid("boards.malformed", f"The catalogue {named} names a board twice.")
    wrong = [
        f"{name} of {board.name}"
        for board in boards
        for name, figure in board.figures.items()
        if figure.most is not None and figure.most < figure.value
    ]
    if wrong:
        raise Invalid("boards.malformed", f"The catalogue {named} has a range that ends before it begins: {wrong[0]}.")
    return boards
