"""Unrolled GANs by PyTorch's autograd (Metz et al. 2017): a small one in float64, for every rule of D.

Each update of D that G looks ahead is written out, and autograd goes back through all of them.
"""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from reference import Array
from reference.torch_dcgan import flattened, parameters_of

ROUNDS, UNROLL, BATCH, LATENT, DATA = 5, 3, 6, 4, 3
G_SHAPES = [(LATENT, 5), (5,), (5, DATA), (DATA,)]
D_SHAPES = [(DATA, 6), (6,), (6,), (6, 4), (4,), (4, 1), (1,)]

# (parameter, gradient, moments, number of the update) -> (new parameter, new moments)
Rule = Callable[[Tensor, Tensor, list[Tensor], int], tuple[Tensor, list[Tensor]]]


def sgd(w: Tensor, g: Tensor, moments: list[Tensor], _t: int) -> tuple[Tensor, list[Tensor]]:
    return w - 0.3 * g, moments


def momentum(w: Tensor, g: Tensor, moments: list[Tensor], _t: int) -> tuple[Tensor, list[Tensor]]:
    v = 0.9 * moments[0] - 0.1 * g
    return w + v, [v]


def adam(w: Tensor, g: Tensor, moments: list[Tensor], t: int) -> tuple[Tensor, list[Tensor]]:
    m, v = 0.5 * moments[0] + 0.5 * g, 0.99 * moments[1] + 0.01 * g**2
    # sqrt has no slope at 0, where a gradient has never been
    return w - 0.02 * (m / (1 - 0.5**t)) / ((v / (1 - 0.99**t)).sqrt() + 1e-8), [m, v]


def rmsprop(w: Tensor, g: Tensor, moments: list[Tensor], _t: int) -> tuple[Tensor, list[Tensor]]:
    v = 0.9 * moments[0] + 0.1 * g**2
    return w - 0.02 * g / (v.sqrt() + 1e-8), [v]


RULES: dict[str, tuple[Rule, int]] = {"sgd": (sgd, 0), "momentum": (momentum, 1), "adam": (adam, 2),
                                      "rmsprop": (rmsprop, 1)}  # fmt: skip


def batch(step: int) -> tuple[Array, Array]:
    """Real samples (N, 3) and latents (N, 4) of a round."""
    rng = np.random.default_rng([17, step])
    return rng.normal(1, 1, (BATCH, DATA)), rng.normal(size=(BATCH, LATENT))


def trajectories() -> dict[str, Array]:
    """By rule, the parameters at the start and after some rounds, and both losses of each."""
    found = {}
    for name, (rule, moments) in RULES.items():
        for key, array in trajectory(rule, moments).items():
            found[f"{name}/{key}"] = array
    return found


def trajectory(rule: Rule, moments: int) -> dict[str, Array]:
    """Of one rule, which both players have."""
    rng = np.random.default_rng(17)
    theta_g, theta_d = (rng.normal(0, 0.7, sum(map(int, map(np.prod, s)))) for s in (G_SHAPES, D_SHAPES))
    g, d = parameters_of(theta_g, G_SHAPES), parameters_of(theta_d, D_SHAPES)
    moments_g, moments_d = ([[torch.zeros_like(w)] * moments for w in net] for net in (g, d))
    losses = []
    for step in range(ROUNDS):
        real, z = map(torch.tensor, batch(step))
        fake, w, kept = generator(z, g), d, moments_d
        for k in range(UNROLL):
            w, kept = updated(rule, w, kept, gradients(loss_of(w, real, fake), w), step + 1 + k)
        loss_d, loss_g = loss_of(d, real, fake), -loss_of(w, real, fake)
        of_d, of_g = gradients(loss_d, d), gradients(loss_g, g)
        (d, moments_d), (g, moments_g) = (
            leaves(*updated(rule, *player, step + 1)) for player in ((d, moments_d, of_d), (g, moments_g, of_g))
        )
        losses.append([loss_d.item(), loss_g.item()])
    ends = {"end_g": flattened(g), "end_d": flattened(d)}
    return {"theta_g": theta_g, "theta_d": theta_d, "losses": np.array(losses)} | ends


def gradients(loss: Tensor, w: list[Tensor]) -> list[Tensor]:
    return list(torch.autograd.grad(loss, w, create_graph=True))


def updated(
    rule: Rule, w: list[Tensor], moments: list[list[Tensor]], g: list[Tensor], t: int
) -> tuple[list[Tensor], list[list[Tensor]]]:
    pairs = [rule(*each, t) for each in zip(w, g, moments, strict=True)]
    return [new for new, _ in pairs], [kept for _, kept in pairs]


def leaves(w: list[Tensor], moments: list[list[Tensor]]) -> tuple[list[Tensor], list[list[Tensor]]]:
    """The same numbers, and nothing of how they were made."""
    return [each.detach().requires_grad_() for each in w], [[m.detach() for m in kept] for kept in moments]


def loss_of(d: list[Tensor], real: Tensor, fake: Tensor) -> Tensor:
    """L_D = -E log D(x) - E log(1 - D(G(z)))."""
    return F.softplus(-discriminator(real, d)).mean() + F.softplus(discriminator(fake, d)).mean()


def generator(z: Tensor, g: list[Tensor]) -> Tensor:
    return torch.tanh(z @ g[0] + g[1]) @ g[2] + g[3]


def discriminator(x: Tensor, d: list[Tensor]) -> Tensor:
    """With batch normalisation, a smooth activation, and a rectifier."""
    a = torch.tanh(F.batch_norm(x @ d[0], None, None, d[1], d[2], training=True))
    return F.leaky_relu(a @ d[3] + d[4], 0.2) @ d[5] + d[6]
