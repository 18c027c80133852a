"""DeepLearnToolbox's sigmoid networks as the toolbox writes them, and the script that makes a GAN of them.

Its conventions are not minigan's: W[i] is (outputs, inputs + 1) with the bias as first column, each layer's
output gets a column of ones, targets come with the loss, and every layer between the first and the last is
hidden, dropout included. The functions have the toolbox's names.
"""

from dataclasses import dataclass, field

import numpy as np

from reference import Array


@dataclass
class Net:
    """What nnsetup makes, with the weights given."""

    W: list[Array]
    learning_rate: float
    momentum: float
    weight_penalty: float
    dropout: list[float]  # of each hidden layer, from below
    learns: list[bool] = field(default_factory=list)  # each W; all of them in the toolbox
    cross_entropy: bool = False  # the toolbox has it for softmax only
    velocity: list[Array] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.learns = self.learns or [True] * len(self.W)
        self.velocity = [np.zeros_like(w) for w in self.W]


def sigm(x: Array) -> Array:
    return 1 / (1 + np.exp(-x))


def with_ones(x: Array) -> Array:
    return np.hstack([np.ones((len(x), 1)), x])


def nnff(net: Net, x: Array, y: Array, rng: np.random.Generator) -> tuple[list[Array], list[Array], Array]:
    """Activations of each layer, dropout masks of the hidden ones, and e = y - output."""
    a, masks = [with_ones(x)], []
    for i, w in enumerate(net.W):
        out = sigm(a[-1] @ w.T)
        if i < len(net.W) - 1:
            masks.append(np.where(rng.random(out.shape, dtype=np.float32) >= net.dropout[i], 1.0, 0.0))
            out = with_ones(out * masks[-1])
        a.append(out)
    return a, masks, y - a[-1]


def nnbp(net: Net, a: list[Array], masks: list[Array], e: Array) -> list[Array]:
    """dW of each layer, the mean over the batch."""
    d = [np.zeros(0)] * len(a)
    d[-1] = -e if net.cross_entropy else -e * (a[-1] * (1 - a[-1]))
    for i in range(len(a) - 2, 0, -1):
        above = d[i + 1] if i + 1 == len(a) - 1 else d[i + 1][:, 1:]  # without the column of the ones
        d[i] = (above @ net.W[i]) * (a[i] * (1 - a[i])) * with_ones(masks[i - 1])
    return [(delta if i == len(net.W) - 1 else delta[:, 1:]).T @ a[i] / len(e) for i, delta in enumerate(d[1:])]


def nnapplygrads(net: Net, gradients: list[Array]) -> None:
    for i, gradient in enumerate(gradients):
        if not net.learns[i]:
            continue
        penalty = net.weight_penalty * net.W[i]
        penalty[:, 0] = 0
        net.velocity[i] = net.momentum * net.velocity[i] + net.learning_rate * (gradient + penalty)
        net.W[i] = net.W[i] - net.velocity[i]


def nntrain(net: Net, x: Array, y: Array, minibatch: int, rng: np.random.Generator) -> float:
    """One epoch; returns the mean of the losses."""
    order, losses = rng.permutation(len(x)), []
    for start in range(0, len(x), minibatch):
        chosen = order[start : start + minibatch]
        a, masks, e = nnff(net, x[chosen], y[chosen], rng)
        losses.append(0.5 * (e**2).sum() / len(e))
        nnapplygrads(net, nnbp(net, a, masks, e))
    return float(np.mean(losses))


def play_round(d: Net, combined: Net, real: Array, z: Array, minibatch: int, rngs: tuple) -> tuple[float, float]:
    """One round of the script for the images and the noise of its index; the losses of D and of G."""
    fake = sigm(with_ones(z) @ combined.W[0].T)
    targets = np.vstack([np.ones((len(real), 1)), np.zeros((len(fake), 1))])
    loss_d = nntrain(d, np.vstack([real, fake]), targets, minibatch, rngs[0])
    combined.W[1:] = [w.copy() for w in d.W]
    return loss_d, nntrain(combined, z, np.ones((len(z), 1)), minibatch, rngs[1])
