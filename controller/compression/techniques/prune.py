"""Pruning: taking away what matters least, then fine-tuning.

Channels: whole channels go from all layers that depend on each other, the ones with the smallest norm first; the model
becomes smaller and faster. Source: Li et al. 2017, section 3.1, arXiv:1608.08710; the dependencies by Fang et al. 2023
(torch-pruning), arXiv:2301.12900.
Magnitude: the smallest weights of all layers together become zero and stay zero through the fine-tuning. Source: Han et
al. 2015, section 3, arXiv:1506.02626.
"""

import copy
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import torch
import torch_pruning
from torch import Tensor, fx, nn

from controller.compression.networks.layers import bare_parameters, cost, fixed_layers, layers_of, outer_layers
from controller.compression.networks.refused import Refused
from controller.compression.networks.train import Lesson, Said, fit, ignore, part
from shoal.schemas.recipes import Prune

_HALVINGS: Final = 10  # the share that is kept is found to a thousandth
_MOST: Final = 0.95  # of a layer's channels that may go: one that has none left gives nothing
_LATENCY_RUNS: Final = 60

Measure = Callable[[fx.GraphModule], float]


@dataclass(frozen=True)
class Pruned:
    """A pruned network with its figures."""

    net: fx.GraphModule
    figures: dict[str, Any]


def prune(
    net: fx.GraphModule,
    settings: Prune,
    lesson: Lesson,
    example_inputs: Sequence[Tensor],
    *,
    seed: int,
    latency_ms: Measure | None = None,
    said: Said = ignore,
) -> Pruned:
    """Prune a copy and fine-tune it.

    Args:
        latency_ms: Measures a network; needed where the target is `latency`.

    Raises:
        Refused: `recipe.unsupported_operator`, `prune.out_of_reach`, `training.diverged`, ...
    """
    before = cost(net, example_inputs)
    if settings.method == "magnitude":
        pruned, masks = _smallest_weights(net, settings.keep)
        fit(pruned, lesson, settings.training, seed=seed, said=said, after_step=lambda: _mask(pruned, masks))
        zeros = {"zero_weights": sum(int((~mask).sum()) for mask in masks.values())}
    else:
        said(0.0, f"Choosing channels until {settings.keep:.0%} of {settings.target} are left.")
        pruned = _fewer_channels(net, settings, example_inputs, _measure_of(settings, example_inputs, latency_ms))
        fit(pruned, lesson, settings.training, seed=seed, said=part(said, 0.2, 1.0))
        zeros = {}
    after = cost(pruned, example_inputs)
    figures = {
        "macs_before": before.macs,
        "macs": after.macs,
        "parameters_before": before.parameters,
        "parameters": after.parameters,
        **zeros,
    }
    return Pruned(pruned, figures)


def narrowed(net: fx.GraphModule, share: float, example_inputs: Sequence[Tensor]) -> fx.GraphModule:
    """Give a copy whose layers, but for the last ones, have about this share of their channels, the strongest ones.

    Raises:
        Refused: `recipe.unsupported_operator`.
    """
    for node in bare_parameters(net):
        message = f"{node.target} at {node.name} has parameters of its own, which cannot follow a layer's width."
        raise Refused("recipe.unsupported_operator", message)
    narrow = copy.deepcopy(net)
    for parameter in narrow.parameters():
        parameter.requires_grad_(True)
    layers = layers_of(narrow)
    try:
        pruner = torch_pruning.pruner.BasePruner(
            narrow,
            tuple(example_inputs),
            importance=torch_pruning.importance.GroupMagnitudeImportance(p=2),
            pruning_ratio=min(1 - share, _MOST),
            max_pruning_ratio=_MOST,
            ignored_layers=[layers[name] for name in outer_layers(narrow)[1] | fixed_layers(narrow)],
        )
        pruner.step()
        with torch.no_grad():
            narrow(*example_inputs)
    except MemoryError:
        raise
    except Exception as error:  # it fails in as many ways as there are graphs
        message = f"The channels of this program cannot be taken away: {type(error).__name__}: {error}"
        raise Refused("recipe.unsupported_operator", message) from error
    return narrow


def median_ms(run: Callable[[], Any]) -> float:
    """Measure a call: the median of repetitions in milliseconds."""
    for _ in range(5):
        run()
    found = []
    for _ in range(_LATENCY_RUNS):
        start = time.perf_counter()
        run()
        found.append((time.perf_counter() - start) * 1000)
    return float(np.median(found))


def _measure_of(settings: Prune, example_inputs: Sequence[Tensor], latency_ms: Measure | None) -> Measure:
    measures: dict[str, Measure | None] = {
        "macs": lambda net: float(cost(net, example_inputs).macs),
        "size": lambda net: float(cost(net, example_inputs).parameters),
        "latency": latency_ms,
    }
    measure = measures.get(settings.target)
    if measure is None:
        raise Refused("recipe.bad_step", f"Channels cannot be pruned to a share of {settings.target} here.")
    return measure


def _fewer_channels(
    net: fx.GraphModule, settings: Prune, example_inputs: Sequence[Tensor], measure: Measure
) -> fx.GraphModule:
    """Find by halving the widest network that costs no more than it may."""
    most = settings.keep * measure(net)
    narrow, wide = 0.0, 1.0
    best = None
    halvings = _HALVINGS if settings.target != "latency" else 5  # each is an export
    for _ in range(halvings):
        share = (narrow + wide) / 2
        candidate = narrowed(net, share, example_inputs)
        if measure(candidate) <= most:
            best, narrow = candidate, share
        else:
            wide = share
    if best is None:
        message = f"Even the narrowest form costs more than {settings.keep:.0%} of the {settings.target}."
        raise Refused("prune.out_of_reach", message)
    return best


def _smallest_weights(net: fx.GraphModule, keep: float) -> tuple[fx.GraphModule, dict[str, Tensor]]:
    pruned = copy.deepcopy(net)
    last = outer_layers(pruned)[1]
    weights = {name: layer.weight for name, layer in layers_of(pruned).items() if name not in last}
    if not weights:
        raise Refused("prune.out_of_reach", "There is no layer before the last one.")
    sizes = torch.cat([weight.detach().abs().flatten() for weight in weights.values()])
    kept = max(1, round(keep * len(sizes)))
    threshold = sizes.kthvalue(len(sizes) - kept + 1).values
    masks = {name: weight.detach().abs() >= threshold for name, weight in weights.items()}
    _mask(pruned, masks)
    return pruned, masks


def _mask(net: nn.Module, masks: dict[str, Tensor]) -> None:
    layers = layers_of(net)
    with torch.no_grad():
        for name, mask in masks.items():
            layers[name].weight *= mask
