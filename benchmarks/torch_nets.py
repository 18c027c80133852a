"""Networks of minigan as torch.nn.Sequential, and its update rules as torch.optim has them."""

from collections import OrderedDict
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import nn

from minigan.errors import UsageError
from minigan.games.player import Player
from minigan.interchange.torch_layout import state_dict, twin
from minigan.optim import Adam, Momentum, Optimiser
from minigan.optim.schedules import at


class Conditioned(nn.Sequential):
    """Its modules f of [x, y], where y are the last `size` channels: [f([x, y]), y]. See minigan.nn.Conditioned."""

    def __init__(self, size: int, modules: Mapping[str, nn.Module]) -> None:
        super().__init__(OrderedDict(modules))
        self.size = size

    def forward(self, h: torch.Tensor) -> torch.Tensor:
        made = super().forward(h)
        y = h[:, -self.size :].flatten(2)[..., 0] if h.ndim > 2 else h[:, -self.size :]  # (N, K)
        return torch.cat([made, y.reshape(*y.shape, *[1] * (made.ndim - 2)).expand(-1, -1, *made.shape[2:])], dim=1)


def sequential(layers: Iterable[tuple[str, str, dict[str, Any]]]) -> nn.Sequential:
    """Modules from (name, kind, arguments); names like "3.0" are those of a Sequential within, or of a Conditioned."""
    groups: OrderedDict[str, list[tuple[str, str, dict[str, Any]]]] = OrderedDict()
    for name, kind, arguments in layers:
        number, _, rest = name.partition(".")
        groups.setdefault(number, []).append((rest, kind, arguments))
    modules: OrderedDict[str, nn.Module] = OrderedDict()
    for number, inside in groups.items():
        *within, (rest, kind, arguments) = inside
        if kind == "Conditioned" and not rest:  # comes behind its own
            modules[number] = Conditioned(arguments["size"], dict(sequential(within).named_children()))
        else:
            modules[number] = sequential(inside) if rest or within else getattr(nn, kind)(**arguments)
    return nn.Sequential(modules)


def net_of(player: Player) -> nn.Sequential:
    """A player's network with its weights; rectifiers work in place, as in the published codes."""
    whole = twin(player.net, player.theta.in_shape)
    net = sequential((name, kind, arguments) for name, (kind, arguments) in whole.modules.items())
    tensors = state_dict(whole, player.theta)
    # Assigned, to keep the precision; cloned, so that PyTorch's own memory holds them.
    net.load_state_dict({name: torch.from_numpy(array).clone() for name, array in tensors.items()}, assign=True)
    for module in net.modules():
        if isinstance(module, nn.ReLU | nn.LeakyReLU):
            module.inplace = True
    return net


class Rule:
    """An update rule of minigan by torch.optim, with its schedules; `fused`: one kernel for all parameters."""

    def __init__(self, rule: Optimiser, parameters: Iterable[nn.Parameter], fused: bool) -> None:
        self._rule, self._updates = rule, 0
        self._optimiser: torch.optim.Optimizer
        if isinstance(rule, Adam):
            self._optimiser = torch.optim.Adam(
                parameters,
                at(rule.lr, 1),
                (rule.beta1, rule.beta2),
                rule.eps,
                rule.weight_decay,
                fused=fused or None,
            )
        elif isinstance(rule, Momentum):  # the learning rate outside the velocity: the same while it hardly changes
            self._optimiser = torch.optim.SGD(parameters, at(rule.lr, 1), at(rule.momentum, 1), fused=fused or None)
        else:
            raise UsageError(f"no PyTorch optimiser is known for {type(rule).__name__}")
        self.zero_grad = self._optimiser.zero_grad

    def step(self) -> None:
        """One update from the gradients of the parameters."""
        self._updates += 1
        settings = {name: getattr(self._rule, name) for name in ("lr", "momentum") if hasattr(self._rule, name)}
        for name, value in settings.items():
            if callable(value):
                self._optimiser.param_groups[0][name] = value(self._updates)
        self._optimiser.step()
