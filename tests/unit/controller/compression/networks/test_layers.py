"""A program as layers and back: the same outputs, the same names, and widths that may change."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.export import Dim

from controller.compression.networks.layers import (
    cost,
    examples_of,
    exported,
    fixed_layers,
    layered,
    layers_of,
    outer_layers,
    signature_of,
)
from controller.compression.networks.refused import Refused
from controller.compression.techniques.prune import narrowed


class Squeezed(nn.Module):
    """A depthwise convolution, squeeze and excite, a residual, a concatenation, views with fixed sizes."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16), nn.ReLU(inplace=True))
        self.deep = nn.Conv2d(16, 16, 3, padding="same", groups=16)
        self.wide = nn.Conv2d(16, 16, 1)
        self.squeeze = nn.Linear(16, 8)
        self.excite = nn.Linear(8, 16)
        self.pool = nn.AdaptiveAvgPool2d(2)
        self.head = nn.Linear(32 * 4, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        y = nn.functional.hardswish(self.deep(x))
        gate = torch.sigmoid(self.excite(nn.functional.relu6(self.squeeze(y.mean((2, 3))))))
        y = y * gate.view(y.shape[0], 16, 1, 1) + x
        z = self.pool(torch.cat([y, self.wide(y)], dim=1))
        logits: Tensor = self.head(z.view(z.shape[0], 128))
        return logits


class Series(nn.Module):
    """1-D convolutions with stride and dilation, a batch norm without weights, a map over time, a flattened end."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv1d(4, 8, 5, stride=2, padding=2)
        self.norm = nn.BatchNorm1d(8, affine=False)
        self.second = nn.Conv1d(8, 8, 3, dilation=2, padding=2, bias=False)
        self.each = nn.Linear(8, 6, bias=False)
        self.dense = nn.Linear(6 * 16, 12)
        self.after = nn.BatchNorm1d(12)
        self.head = nn.Linear(12, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.nn.functional.gelu(self.norm(self.first(x)))
        x = self.each(self.second(x).transpose(1, 2))
        x = self.after(self.dense(torch.flatten(x, 1)))
        logits: Tensor = self.head(nn.functional.dropout(torch.tanh(x), 0.3, self.training))
        return logits


class Twice(nn.Module):
    """One layer at two places, two inputs, two outputs."""

    def __init__(self) -> None:
        super().__init__()
        self.shared = nn.Linear(6, 6)
        self.head = nn.Linear(12, 2)

    def forward(self, left: Tensor, right: Tensor) -> tuple[Tensor, Tensor]:
        both = torch.cat([self.shared(left), self.shared(right)], dim=1)
        return self.head(both), both.sum(dim=1, keepdim=True)


NETS = {"squeezed": (Squeezed, [(3, 8, 8)]), "series": (Series, [(4, 32)]), "twice": (Twice, [(6,), (6,)])}


def program_of(net: nn.Module, shapes: list[tuple[int, ...]]) -> torch.export.ExportedProgram:
    batch = Dim("batch")
    inputs = tuple(torch.zeros(2, *shape) for shape in shapes)
    return torch.export.export(net.eval(), inputs, dynamic_shapes=tuple({0: batch} for _ in shapes))


@pytest.fixture(params=NETS)
def case(request: pytest.FixtureRequest) -> tuple[nn.Module, torch.export.ExportedProgram, list[Tensor]]:
    torch.manual_seed(0)
    kind, shapes = NETS[request.param]
    net = kind()
    for module in net.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.running_mean = torch.randn(module.num_features)
            module.running_var = torch.rand(module.num_features) + 0.5
    return net, program_of(net, shapes), [torch.randn(7, *shape) for shape in shapes]


def outputs(net: Any, inputs: list[Tensor]) -> list[Tensor]:
    given = net(*inputs)
    return [given] if isinstance(given, Tensor) else list(given)


@pytest.mark.filterwarnings("ignore:.*LeafSpec:FutureWarning")  # of torch about itself, in run_decompositions
def test_program_when_layered_and_exported_then_gives_the_same_under_the_same_names(
    case: tuple[nn.Module, torch.export.ExportedProgram, list[Tensor]],
) -> None:
    """1e-5: what another order of float32 sums may make."""
    net, program, inputs = case
    wanted = outputs(net, inputs)
    signature = signature_of(program)
    for source in (program, program.run_decompositions()):
        layers = layered(source)
        again = exported(layers, examples_of(signature), signature)
        assert set(layers.state_dict()) == set(again.state_dict) == set(net.state_dict())
        for made in (layers, again.module(), layered(again)):
            for got, want in zip(outputs(made, inputs), wanted, strict=True):
                torch.testing.assert_close(got, want, atol=1e-5, rtol=1e-5)
        assert [spec.shape for spec in signature_of(again).inputs] == [spec.shape for spec in signature.inputs]


def test_layers_when_named_then_are_all_there_and_know_the_ends(
    case: tuple[nn.Module, torch.export.ExportedProgram, list[Tensor]],
) -> None:
    net, program, _ = case
    layers = layered(program)
    kinds = (nn.Conv1d, nn.Conv2d, nn.Linear)
    assert set(layers_of(layers)) == {name for name, module in net.named_modules() if isinstance(module, kinds)}
    first, last = outer_layers(layers)
    assert first <= {"stem.0", "first", "shared"}
    assert last == {"head"}


@pytest.mark.parametrize("name", ["squeezed", "series"])
def test_layers_when_narrowed_then_sizes_follow_and_the_program_takes_any_batch(name: str) -> None:
    torch.manual_seed(0)
    kind, shapes = NETS[name]
    program = program_of(kind(), shapes)
    signature = signature_of(program)
    examples = examples_of(signature)
    whole = layered(program)
    narrow = narrowed(whole, 0.5, examples)
    assert cost(narrow, examples).macs < cost(whole, examples).macs
    # What a flattening mixes with time, or after a concatenation, keeps its width.
    assert fixed_layers(whole) == {"squeezed": {"stem.0", "deep", "excite", "wide"}, "series": {"each"}}[name]
    assert narrow.get_submodule("head").out_features == whole.get_submodule("head").out_features
    again = exported(narrow, examples, signature).module()
    for count in (1, 3):
        x = torch.randn(count, *shapes[0])
        torch.testing.assert_close(again(x), narrow(x), atol=1e-5, rtol=1e-5)


def test_layers_when_grouped_then_keep_their_width_and_that_of_the_layers_before_them() -> None:
    net = nn.Sequential(
        nn.Conv2d(1, 8, 3), nn.ReLU(), nn.Conv2d(8, 8, 1, groups=2), nn.Conv2d(8, 8, 3), nn.Conv2d(8, 2, 1)
    )
    layers = layered(program_of(net, [(1, 8, 8)]))
    assert fixed_layers(layers) == {"0", "2"}
    narrow = narrowed(layers, 0.5, [torch.zeros(2, 1, 8, 8)])
    assert [layer.weight.shape[0] for layer in layers_of(narrow).values()] == [8, 8, 4, 2]


def test_weights_when_given_then_are_those_of_the_layers() -> None:
    program = program_of(nn.Sequential(nn.Linear(4, 3)), [(4,)])
    weights = {"0.weight": torch.ones(3, 4).numpy(), "0.bias": torch.zeros(3).numpy()}
    assert layered(program, weights)(torch.ones(1, 4)).tolist() == [[4.0, 4.0, 4.0]]


def test_layers_when_changed_then_the_program_is_not() -> None:
    program = program_of(nn.Sequential(nn.Linear(4, 3), nn.LayerNorm(3)), [(4,)])
    x = torch.randn(5, 4)
    before = program.module()(x)
    with torch.no_grad():
        for parameter in layered(program).parameters():
            parameter.zero_()
    torch.testing.assert_close(program.module()(x), before)


class Branching(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        chosen: Tensor = torch.cond(x.sum() > 0, lambda y: y + 1, lambda y: y - 1, (x,))
        return chosen


class Transposed(nn.Module):
    """A layer that is left as it is."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(1, 4, 3)
        self.up = nn.ConvTranspose2d(4, 2, 2)

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.up(self.first(x))
        return found


def test_program_when_it_branches_then_is_refused_naming_the_node() -> None:
    with pytest.raises(Refused) as caught:
        layered(program_of(Branching(), [(4,)]))
    assert (caught.value.code, "cond" in str(caught.value)) == ("recipe.unsupported_operator", True)


def test_operator_when_it_has_weights_and_is_no_layer_then_works_and_is_not_narrowed() -> None:
    net = Transposed()
    layers = layered(program_of(net, [(1, 6, 6)]))
    x = torch.randn(3, 1, 6, 6)
    torch.testing.assert_close(layers(x), net(x))
    with pytest.raises(Refused) as caught:
        narrowed(layers, 0.5, [x])
    assert (caught.value.code, "conv_transpose2d" in str(caught.value)) == ("recipe.unsupported_operator", True)
