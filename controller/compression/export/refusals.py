"""What the exporters say when they cannot, as refusals of ours: those for want of an operator name it and its node."""

import re
from collections.abc import Iterator, Mapping
from typing import Final

from controller.compression.export.conversion import ConversionError

_SAYINGS: Final = (
    re.compile(r"No ONNX function found for <OpOverload\(op='([\w.]+)'"),  # torch.onnx
    re.compile(r"Lowering not found: ([\w.]+)"),  # litert-torch
    re.compile(r"Operator (?:torch\._ops\.)?([\w.]+) is not in Core ATen"),  # ExecuTorch's edge dialect
    re.compile(r"Missing out variants?: \{'?([\w:.]+)"),  # ExecuTorch's own kernels
    re.compile(r"No (?:translator|conversion rule)\w* found for:?\s+([\w.]+)"),  # OpenVINO
)
_MEMORY: Final = re.compile(r"allocate memory|bad_alloc|failed to map segment|out of memory", re.IGNORECASE)
_NODE: Final = re.compile(r"%(\w+) : \[num_users")
_LINE: Final = 500


def refusal(error: Exception, exporter: str, nodes: Mapping[str, str] | None = None) -> ConversionError:
    """Give `export.unsupported_operator` where that is what an exporter says, `converter.over_limit` where memory ran
    out, `export.failed` otherwise.

    Args:
        nodes: Names by operator, for exporters that do not say which node it was.

    >>> lacking = "Lowering not found: aten.foo.default\\nWhile executing %foo_1 : [num_users=1] = ..."
    >>> str(refusal(RuntimeError(lacking), "It"))
    'It has no form of the operator aten.foo.default (node foo_1).'
    >>> refusal(ValueError("odd"), "It").code
    'export.failed'
    """
    text = "\n".join(_said(error))
    for saying in _SAYINGS:
        if found := saying.search(text):
            node = _NODE.search(text)
            name = node.group(1) if node else (nodes or {}).get(found.group(1), "")
            where = f" (node {name})" if name else ""
            message = f"{exporter} has no form of the operator {found.group(1)}{where}."
            return ConversionError("export.unsupported_operator", message)
    code = "converter.over_limit" if _MEMORY.search(text) else "export.failed"
    return ConversionError(code, f"{exporter} refuses it: {type(error).__name__}: {brief(error)}")


def brief(error: Exception) -> str:
    """Give the first line of what an error says: what follows are traces with paths of this machine."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0][:_LINE] if lines else "no reason given"


def _said(error: BaseException | None) -> Iterator[str]:
    while error is not None:
        yield str(error)
        error = error.__cause__ or error.__context__
