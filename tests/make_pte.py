"""Makes ExecuTorch files of the networks of `tests/runtime_files.py`; run by the toolchain's Python."""

import sys
from pathlib import Path

import torch
from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
from executorch.exir import to_edge_transform_and_lower
from torch import nn

WEIGHTS = torch.tensor([[1, 0, 0], [0, 1, 0], [0, 0, 1], [0.5, 0.5, 0.5]])  # as tests/models.py has them


class Linear(nn.Module):
    def __init__(self, weights: torch.Tensor = WEIGHTS) -> None:
        super().__init__()
        self.w = nn.Parameter(weights)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x @ self.w


class Pair(Linear):
    def forward(  # type: ignore[override]
        self, left: torch.Tensor, right: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        return left + right, (left + right) @ self.w


def write(path: Path, module: Linear, *, inputs: int = 1, batch: int = 1, most: int = 0) -> None:
    example = tuple(torch.zeros(batch, module.w.shape[0]) for _ in range(inputs))
    free = tuple({0: torch.export.Dim("batch", max=most)} for _ in example) if most else None
    program = torch.export.export(module.eval(), example, dynamic_shapes=free)
    lowered = to_edge_transform_and_lower(program, partitioner=[XnnpackPartitioner()])
    path.write_bytes(lowered.to_executorch().buffer)


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    write(folder / "linear.pte", Linear())
    write(folder / "linear-free.pte", Linear(), batch=2, most=8)
    write(folder / "linear-4.pte", Linear(), batch=4)
    write(folder / "pair.pte", Pair(), inputs=2)
    write(folder / "large.pte", Linear(torch.ones(2048, 2048)))
