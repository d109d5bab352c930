"""An exported program with weights to one ONNX file."""

import logging
import warnings
from typing import Final

import torch

OPSET: Final = 18  # what ONNX Runtime and OpenVINO of the last years both read


def export_onnx(program: torch.export.ExportedProgram) -> bytes:
    """Give the ONNX file of an evaluation program: input `input`, output `output`, batch size free, weights inside.

    Raises:
        torch.onnx.errors.OnnxExporterError: An operator has no ONNX form.
    """
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the exporter about itself
        exported = torch.onnx.export(
            program,
            dynamo=True,
            opset_version=OPSET,
            input_names=["input"],
            output_names=["output"],
            external_data=False,
            verbose=False,
        )
    if exported is None:
        raise torch.onnx.errors.OnnxExporterError("the exporter gave no program")
    model = exported.model_proto
    for node in model.graph.node:  # the exporter's notes: stack traces and file names of whoever made the program
        del node.metadata_props[:]
        node.doc_string = ""
    for value in (*model.graph.input, *model.graph.output, *model.graph.value_info, *model.graph.initializer):
        del value.metadata_props[:]
    return bytes(model.SerializeToString())
