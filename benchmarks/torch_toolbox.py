"""The round of toolbox-mlp in PyTorch: an epoch of D, one of G below a copy of D; see `minigan.games.toolbox`."""

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.rounds import start
from minigan.backend import CPU
from minigan.games.player import Player
from minigan.optim import Momentum, Optimiser
from minigan.recipes import ToolboxMLP


def layer(player: Player, name: str) -> nn.Linear:
    """One dense layer with minigan's numbers."""
    w, b = player.theta[f"{name}.w"], player.theta[f"{name}.b"]
    found = nn.Linear(w.shape[0], w.shape[1])
    tensors = {"weight": torch.from_numpy(w.T.copy()), "bias": torch.from_numpy(b.copy())}
    found.load_state_dict(tensors, assign=True)  # in minigan's precision
    return found


class Discriminator(nn.Module):
    """Dense, sigmoid, dropout that scales nothing, dense."""

    def __init__(self, player: Player, drop: float) -> None:
        super().__init__()
        self.hidden, self.out, self.drop = layer(player, "dense1"), layer(player, "dense2"), drop

    def forward(self, x: Tensor) -> Tensor:
        return self.out(dropped(torch.sigmoid(self.hidden(x)), self.drop))


def dropped(x: Tensor, rate: float) -> Tensor:
    """Some of the numbers set to zero, the others as they are."""
    return x * (torch.rand_like(x) >= rate)


def updates(net: nn.Module, rule: Optimiser, fused: bool) -> torch.optim.SGD:
    """Momentum with weight decay, but for biases."""
    assert isinstance(rule, Momentum)
    weights = [p for p in net.parameters() if p.ndim > 1]
    biases = [p for p in net.parameters() if p.ndim == 1]
    groups: list[dict[str, Any]] = [{"params": weights, "weight_decay": rule.weight_decay}, {"params": biases}]
    assert isinstance(rule.lr, float)
    assert isinstance(rule.momentum, float)
    return torch.optim.SGD(groups, rule.lr, rule.momentum, fused=fused or None)


class ToolboxMatch:
    """Both players, and a round of their game; `tuned` as in `benchmarks.torch_side`."""

    def __init__(self, recipe: ToolboxMLP, images: np.ndarray, tuned: bool, precision: str = "float32") -> None:
        state = start(recipe, images, CPU, precision).state
        game, self._recipe, self._tuned = recipe.game(), recipe, tuned
        self.g, self.d = layer(state.g, "dense1"), Discriminator(state.d, recipe.drop)
        self._judge = self.d if recipe.copy_of_d == "frozen" else copy.deepcopy(self.d)
        self._rule_g, self._rule_d, self._rule_copy = (
            updates(net, rule, tuned)
            for net, rule in (
                (self.g, state.g.optimiser),
                (self.d, state.d.optimiser),
                (self._judge, (state.d.copy or state.d).optimiser),
            )
        )
        self._step = game.minibatch

    def play(self, source: Any) -> tuple[Tensor, Tensor]:
        """One round; the mean losses of D's and of G's epoch."""
        real = source.real(0)
        with torch.no_grad():
            x = torch.cat([real, torch.sigmoid(self.g(source.latent_d(0)))])
        targets = torch.cat([torch.ones(len(real), 1, dtype=x.dtype), torch.zeros(len(real), 1, dtype=x.dtype)])
        losses_d = [self._discriminator_step(x[some], targets[some]) for some in source.orders(0, len(x), self._step)]
        self._renew_copy()
        z = source.latent_g()
        losses_g = [self._generator_step(z[some]) for some in source.orders(1, len(z), self._step)]
        return torch.stack(losses_d).mean(), torch.stack(losses_g).mean()

    def _discriminator_step(self, x: Tensor, targets: Tensor) -> Tensor:
        self._rule_d.zero_grad()
        loss = self._loss(self.d(x), targets)
        loss.backward()
        self._rule_d.step()
        return loss.detach()

    def _generator_step(self, z: Tensor) -> Tensor:
        frozen = self._recipe.copy_of_d == "frozen"
        self._rule_g.zero_grad()
        self._rule_copy.zero_grad()
        self._judge.requires_grad_(not (frozen and self._tuned))
        logits = self._judge(dropped(torch.sigmoid(self.g(z)), self._recipe.drop_pixels))
        loss = self._loss(logits, torch.ones_like(logits))
        loss.backward()
        self._judge.requires_grad_(True)
        self._rule_g.step()
        if not frozen:
            self._rule_copy.step()
        return loss.detach()

    def _renew_copy(self) -> None:
        if self._judge is not self.d:
            self._judge.load_state_dict(self.d.state_dict())
        if self._recipe.copy_of_d == "forgets":
            self._rule_copy.state.clear()

    @property
    def _loss(self) -> Callable[[Tensor, Tensor], Tensor]:
        if self._recipe.loss == "squared":
            return lambda logits, targets: 0.5 * F.mse_loss(torch.sigmoid(logits), targets)
        if self._tuned:
            return F.binary_cross_entropy_with_logits
        return lambda logits, targets: F.binary_cross_entropy(torch.sigmoid(logits), targets)
