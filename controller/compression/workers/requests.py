"""What the requests of the opener hold: files, steps, and signatures that name what is in them. Inside the sandbox."""

from pathlib import Path
from typing import Any, Final

import msgspec
import pydantic

from controller.compression.networks.refused import Refused
from shoal.schemas.recipes import Binarize, Distill, Prune, Quantize, RecipeStep
from shoal.wire.models import Signature

STEPS: Final[pydantic.TypeAdapter[Prune | Distill | Binarize | Quantize]] = pydantic.TypeAdapter(RecipeStep)

File = bytes | str  # or the path of one in the sandbox's inbox


def data_of(file: File) -> bytes:
    """Give a file's bytes."""
    return file if isinstance(file, bytes) else Path(file).read_bytes()


def step_of(step: dict[str, Any], kind: type[Any]) -> Any:
    """Give a step that has to be of a kind.

    Raises:
        Refused: `recipe.bad_step`.
        pydantic.ValidationError: It is no step at all.
    """
    wanted = STEPS.validate_python(step)
    if not isinstance(wanted, kind):
        raise Refused("recipe.bad_step", f"This operation is for a step of {kind.__name__.lower()}.")
    return wanted


def named(own: Signature, given: dict[str, Any]) -> Signature:
    """Give a file's tensors the names of the model's, by their order.

    Args:
        given: The model's signature, as JSON.

    Raises:
        Refused: `program.does_not_fit`.
    """
    model = msgspec.convert(given, Signature)
    found = {}
    for side in ("inputs", "outputs"):
        ours, theirs = getattr(own, side), getattr(model, side)
        if len(ours) != len(theirs):
            raise Refused("program.does_not_fit", f"The program has {len(ours)} {side}, the model {len(theirs)}.")
        found[side] = [msgspec.structs.replace(one, name=other.name) for one, other in zip(ours, theirs, strict=True)]
    return Signature(**found)


def said_of(error: Exception) -> str:
    """Give a foreign error in bounded words."""
    return f"{type(error).__name__}: {error}"[:1500]
