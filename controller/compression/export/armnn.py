"""The TensorFlow Lite file that Arm NN takes: float32, or int8 with one scale a layer and without padding.

Measured on Arm NN 20.08: int8 weights with a scale a channel abort its process, and an int8 PAD silently gives wrong
answers (73-78 % agreement). Both are refused here, before a device has to find out.
"""

from dataclasses import replace
from typing import Final

from controller.compression.export import litert
from controller.compression.export.conversion import Conversion, ConversionError, Converted

_PADS: Final = frozenset({"PAD", "PADV2", "MIRROR_PAD"})


def convert(request: Conversion) -> Converted:
    """Give the file.

    Raises:
        ConversionError: `export.not_supported` where Arm NN would abort or answer wrongly; as `litert.convert`.
    """
    if request.source == "tflite":
        return Converted(model=request.model or b"", format=litert.FORMAT)
    if request.precision == "fp32":
        return litert.convert(request)
    made = litert.convert(replace(request, settings={**request.settings, "per_tensor": True}))
    pads = sorted(_PADS.intersection(litert.operators(made.model)))
    if pads:
        message = f"Arm NN gives wrong answers where {', '.join(pads)} is int8, and this model needs it: take fp32."
        raise ConversionError("export.not_supported", message)
    return made
