"""A program to one float32 ONNX file by torch's exporter; int8 and fp16 are made of that file by `quantize`."""

import logging
import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from controller.compression.export.conversion import Conversion, ConversionError, Converted
from controller.compression.export.programs import open_program
from controller.compression.export.refusals import refusal

if TYPE_CHECKING:
    import torch

FORMAT: Final = "onnx"
OPSET: Final = 18  # what ONNX Runtime and OpenVINO of the last years both read


def convert(request: Conversion) -> Converted:
    """Give the file.

    Raises:
        ConversionError: `export.unsupported_operator`, `export.failed`, `program.*`, `model.*`.
    """
    return Converted(model=onnx_of(request), format=FORMAT, notes={"opset": OPSET})


def onnx_of(request: Conversion) -> bytes:
    """Give the float32 ONNX file of a program, or the one that is the source.

    Raises:
        ConversionError: As `convert`.
    """
    if request.source == "onnx":
        return request.model or b""
    program = open_program(request)
    signature = request.signature
    return export_onnx(program, [spec.name for spec in signature.inputs], [spec.name for spec in signature.outputs])


def export_onnx(
    program: "torch.export.ExportedProgram", inputs: Sequence[str] = ("input",), outputs: Sequence[str] = ("output",)
) -> bytes:
    """Give the ONNX file of an evaluation program: what is free in the program is free in the file, weights inside.

    Args:
        inputs, outputs: Names, in the program's order.

    Raises:
        ConversionError: `export.unsupported_operator`, `export.failed`.
    """
    import torch

    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of the exporter about itself
            exported = torch.onnx.export(
                program,
                dynamo=True,
                opset_version=OPSET,
                input_names=list(inputs),
                output_names=list(outputs),
                external_data=False,
                verbose=False,
            )
    except MemoryError:
        raise
    except Exception as error:  # the exporter fails in as many ways as there are programs
        raise refusal(error, "ONNX") from error
    if exported is None:
        raise ConversionError("export.failed", "The exporter gave no program.")
    model = exported.model_proto
    for node in model.graph.node:  # the exporter's notes: stack traces and file names of whoever made the program
        del node.metadata_props[:]
        node.doc_string = ""
    for value in (*model.graph.input, *model.graph.output, *model.graph.value_info, *model.graph.initializer):
        del value.metadata_props[:]
    return bytes(model.SerializeToString())
