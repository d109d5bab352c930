"""Quantization-aware fine-tuning: the network trains with int8 simulated, and its float weights get used to it.

Weights are rounded with one symmetric scale a filter, the inputs of each layer with one scale a tensor, whose range is
a moving average of minima and maxima; gradients pass the rounding straight through. What comes out are plain float
weights, which each runtime's own static quantizer then handles better. Source: Jacob et al. 2018, section 3,
arXiv:1712.05877.
"""

import copy
from typing import Any, Final

import torch
from torch import Tensor, fx, nn
from torch.nn.utils import parametrize

from controller.compression.networks.layers import layers_of
from controller.compression.networks.train import Lesson, Said, fit, ignore
from shoal.schemas.recipes import Training

_MOVE: Final = 0.01  # of the range towards each batch's; the paper averages over thousands of steps
_MAX_WEIGHT: Final = 127  # symmetric: -128 is left out, as the quantizers do
_LEVELS: Final = 255
_SMALLEST: Final = 1e-8  # of a scale


def aware(
    net: fx.GraphModule, settings: Training, lesson: Lesson, *, seed: int, said: Said = ignore
) -> tuple[fx.GraphModule, dict[str, Any]]:
    """Fine-tune a copy; gives it with its figures."""
    learner = copy.deepcopy(net)
    layers = layers_of(learner)
    hooks = []
    for layer in layers.values():
        parametrize.register_parametrization(layer, "weight", _Rounded())
        hooks.append(layer.register_forward_pre_hook(_RoundedInput()))
    loss = fit(learner, lesson, settings, seed=seed, said=said)
    for layer, hook in zip(layers.values(), hooks, strict=True):
        hook.remove()
        real: Tensor = layer.get_parameter("parametrizations.weight.original").detach()
        parametrize.remove_parametrizations(layer, "weight", leave_parametrized=False)
        layer.weight = nn.Parameter(real)
    return learner, {"layers": len(layers), "loss": loss}


def rounded(weight: Tensor) -> Tensor:
    """Give weights as int8 would have them, one symmetric scale a filter; the gradient passes through.

    >>> rounded(torch.tensor([[1.27, 0.016]])).tolist()[0][1]  # a scale of 0.01
    0.019999999552965164
    """
    axes = tuple(range(1, weight.ndim))
    scale = (weight.detach().abs().amax(dim=axes, keepdim=True) / _MAX_WEIGHT).clamp(min=_SMALLEST)
    return weight + (torch.round(weight / scale) * scale - weight).detach()


class _Rounded(nn.Module):
    def forward(self, weight: Tensor) -> Tensor:
        return rounded(weight)


class _RoundedInput:
    """A layer's input as int8 would have it."""

    def __init__(self) -> None:
        self._low: Tensor | None = None
        self._high = torch.tensor(0.0)

    def __call__(self, layer: nn.Module, given: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        value = given[0]
        if layer.training or self._low is None:
            self._watch(value.detach())
        assert self._low is not None
        scale = ((self._high - self._low) / _LEVELS).clamp(min=_SMALLEST)
        zero = torch.round(-self._low / scale)
        codes = (torch.round(value / scale) + zero).clamp(0, _LEVELS)
        simulated = (codes - zero) * scale
        # The gradient passes where the value is inside the range.
        inside = value.clamp(float(self._low), float(self._high))
        return (inside + (simulated - inside).detach(), *given[1:])

    def _watch(self, value: Tensor) -> None:
        low, high = value.amin().clamp(max=0.0), value.amax().clamp(min=0.0)
        if self._low is None:
            self._low, self._high = low, high
        else:
            self._low = self._low + _MOVE * (low - self._low)
            self._high = self._high + _MOVE * (high - self._high)
