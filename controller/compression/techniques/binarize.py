"""Binarizing: the weights of a filter become -1 or +1 times one scale.

The scale of a filter is the mean magnitude of its weights, which is the nearest such filter in the least-squares sense;
training goes on over the real weights, with the gradient passed straight through the sign. Source: Rastegari et al.
2016 (XNOR-Net), sections 3.1 and 3.2, arXiv:1603.05279; the clipped straight-through gradient by Courbariaux et al.
2016, section 2.3, arXiv:1602.02830.

First and last layers keep their weights, as the paper has them; so do depthwise convolutions, whose filters are so
small that a scale is most of what they would have. Not here: how two values a filter become bits (`packing`).
"""

import copy
from typing import Any, Final

import torch
from torch import Tensor, fx, nn
from torch.nn.utils import parametrize

from controller.compression.networks.layers import layers_of, outer_layers
from controller.compression.networks.refused import Refused
from controller.compression.networks.train import Lesson, Said, fit, ignore
from shoal.schemas.recipes import Binarize

MIN_FILTER: Final = 16  # weights: 16 bits and a scale of 32 are a tenth of what they were


def binary(weight: Tensor) -> Tensor:
    """Give the nearest filters of two values: sign(W) mean|W|, filter by filter.

    Args:
        weight: [filters, ...].

    >>> binary(torch.tensor([[1.0, -3.0], [0.5, 0.5]])).tolist()
    [[2.0, -2.0], [0.5, 0.5]]
    """
    axes = tuple(range(1, weight.ndim))
    sign = torch.where(weight >= 0, 1.0, -1.0)
    return sign * weight.abs().mean(dim=axes, keepdim=True)


def binarize(
    net: fx.GraphModule, settings: Binarize, lesson: Lesson, *, seed: int, said: Said = ignore
) -> tuple[fx.GraphModule, dict[str, Any]]:
    """Binarize a copy with fine-tuning; gives it with its figures.

    Raises:
        Refused: `binarize.nothing`: there is no layer between the first and the last that it could be done to.
    """
    learner = copy.deepcopy(net)
    layers = layers_of(learner)
    ends = set().union(*outer_layers(learner))
    inner = {
        name: layer for name, layer in layers.items() if name not in ends and layer.weight[0].numel() >= MIN_FILTER
    }
    if not inner:
        raise Refused("binarize.nothing", "No layer between the first and the last has filters that are worth it.")
    for layer in inner.values():
        parametrize.register_parametrization(layer, "weight", _Binary())
    fit(learner, lesson, settings.training, seed=seed, said=said)
    for layer in inner.values():
        parametrize.remove_parametrizations(layer, "weight", leave_parametrized=True)
    weights = {name: layer.weight.numel() for name, layer in layers.items()}
    figures = {
        "binary_layers": sorted(inner),
        "binary_weights": sum(weights[name] for name in inner),
        "weights": sum(weights.values()),
    }
    return learner, figures


class _Binary(nn.Module):
    """The filters of two values of real weights."""

    def forward(self, weight: Tensor) -> Tensor:
        axes = tuple(range(1, weight.ndim))
        scale = weight.abs().mean(dim=axes, keepdim=True)
        passed = weight.clamp(-1, 1)  # whose gradient is one inside and zero outside
        sign = passed + (torch.where(weight >= 0, 1.0, -1.0) - passed).detach()
        return sign * scale
