"""Two small GANs trained by PyTorch in float64: the twins of mlp-mnist and mlp-2014, ten rounds each.

The networks are written out with torch.nn.functional and the gradients are autograd's. Parameters come
as flat vectors in minigan's order, weights (inputs, outputs); dropout masks are drawn from the generator
that is passed in, as `numpy.random.Generator.random(float32) >= rate`.
"""

from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from reference import Array
from reference.torch_twins import cross_entropy

ROUNDS = 10
LATENT, PIXELS, BATCH = 3, 6, 5

Shapes: TypeAlias = list[tuple[int, ...]]

# mlp-mnist: hidden layers (5, 4) in G and (6, 4) in D; BatchNorm's gamma and beta follow each weight of G.
MNIST_G: Shapes = [(LATENT, 5), (5,), (5,), (5, 4), (4,), (4,), (4, PIXELS), (PIXELS,)]
MNIST_D: Shapes = [(PIXELS, 6), (6,), (6, 4), (4,), (4, 1), (1,)]
# mlp-2014: 5 hidden units in G, 3 maxout units of 2 pieces in D.
MLP2014_G: Shapes = [(LATENT, 5), (5,), (5, 5), (5,), (5, PIXELS), (PIXELS,)]
MLP2014_D: Shapes = [(PIXELS, 6), (6,), (3, 6), (6,), (3, 1), (1,)]


def trajectory(
    shapes_g: Shapes, shapes_d: Shapes, play: Callable[..., tuple[Tensor, Tensor]], seed: int
) -> dict[str, Any]:
    """Random parameters and data, and what ten rounds make of them."""
    rng = np.random.default_rng(seed)
    theta_g, theta_d = (rng.normal(0, 0.5, sum(int(np.prod(s)) for s in shapes)) for shapes in (shapes_g, shapes_d))
    data = {
        "real": rng.uniform(-1, 1, (ROUNDS, BATCH, PIXELS)),
        "latent_d": rng.normal(size=(ROUNDS, BATCH, LATENT)),
        "latent_g": rng.normal(size=(ROUNDS, BATCH, LATENT)),
    }
    g, d = _views(theta_g, shapes_g), _views(theta_d, shapes_d)
    results: dict[str, list[Array]] = {"thetas_g": [], "thetas_d": [], "losses_d": [], "losses_g": []}
    memory: dict[str, Any] = {}
    for step in range(ROUNDS):
        batch = {name: torch.tensor(values[step]) for name, values in data.items()}
        losses = play(g, d, batch, memory, step)
        for name, value in zip(results, (_flat(g), _flat(d), *(loss.item() for loss in losses)), strict=True):
            results[name].append(np.array(value))
    tracked = [name for name in ("mean", "var") if name in memory]
    statistics = {f"running_{name}": np.concatenate([t.numpy() for t in memory[name]]) for name in tracked}
    return {"theta_g": theta_g, "theta_d": theta_d} | data | {k: np.array(v) for k, v in results.items()} | statistics


def play_mlp_mnist(
    g: list[Tensor], d: list[Tensor], batch: dict[str, Tensor], memory: dict[str, Any], step: int
) -> tuple[Tensor, Tensor]:
    """D first, then G on fresh samples; Adam(5e-4, 0.5, 0.999); targets 0.9 and 0; non-saturating."""
    if not memory:
        memory["rule_g"], memory["rule_d"] = (torch.optim.Adam(p, lr=5e-4, betas=(0.5, 0.999)) for p in (g, d))
        memory["mean"], memory["var"] = ([f(n, dtype=torch.float64) for n in (5, 4)] for f in (torch.zeros, torch.ones))

    def generator(z: Tensor, running: bool) -> Tensor:
        for layer in range(2):
            w, gamma, beta = g[3 * layer : 3 * layer + 3]
            mean, var = (memory["mean"][layer], memory["var"][layer]) if running else (None, None)
            z = F.leaky_relu(F.batch_norm(z @ w, mean, var, gamma, beta, training=True, momentum=0.1, eps=1e-5), 0.2)
        return torch.tanh(F.linear(z, g[6].T, g[7]))

    def discriminator(x: Tensor, rng: np.random.Generator) -> Tensor:
        for layer in range(2):
            w, b = d[2 * layer : 2 * layer + 2]
            x = _dropout(F.leaky_relu(F.linear(x, w.T, b), 0.2), 0.4, rng)
        return F.linear(x, d[4].T, d[5])

    rng = np.random.default_rng([step, 0])
    fake = generator(batch["latent_d"], running=False).detach()
    loss_d = cross_entropy(discriminator(batch["real"], rng), 0.9) + cross_entropy(discriminator(fake, rng), 0)
    _descend(memory["rule_d"], loss_d)
    rng = np.random.default_rng([step, 1])
    loss_g = cross_entropy(discriminator(generator(batch["latent_g"], running=True), rng), 1)
    _descend(memory["rule_g"], loss_g)
    return loss_d, loss_g


def play_mlp_2014(
    g: list[Tensor], d: list[Tensor], batch: dict[str, Tensor], memory: dict[str, Any], step: int
) -> tuple[Tensor, Tensor]:
    """Both players at once; classical momentum rising each second round, decaying learning rate; D's loss halved."""
    memory.setdefault("velocity", [torch.zeros_like(p) for p in (*g, *d)])
    rng = np.random.default_rng([step, 0])

    def discriminator(x: Tensor) -> Tensor:
        x = _dropout(x, 0.2, rng)
        for layer in range(2):
            w, b = d[2 * layer : 2 * layer + 2]
            x = _dropout(F.linear(x, w.T, b).unflatten(1, (3, 2)).amax(dim=2), 0.5, rng)
        return F.linear(x, d[4].T, d[5])

    hidden = F.relu(F.linear(F.relu(F.linear(batch["latent_d"], g[0].T, g[1])), g[2].T, g[3]))
    fake = torch.sigmoid(F.linear(hidden, g[4].T, g[5]))
    on_real, on_fake = discriminator(batch["real"]), discriminator(fake)
    loss_d = (cross_entropy(on_real, 1) + cross_entropy(on_fake, 0)) / 2
    loss_g = cross_entropy(on_fake, 1)
    gradients = [*torch.autograd.grad(loss_g, g, retain_graph=True), *torch.autograd.grad(loss_d, d)]
    lr, momentum = max(0.1 / 1.000004**step, 1e-6), 0.5 + 0.2 * min(1, step // 2 * 2 / 498)
    with torch.no_grad():
        for p, v, gradient in zip((*g, *d), memory["velocity"], gradients, strict=True):
            v.mul_(momentum).sub_(lr * gradient)
            p.add_(v)
    return loss_d, loss_g


def _views(theta: Array, shapes: Shapes) -> list[Tensor]:
    parts = torch.split(torch.tensor(theta), [int(np.prod(shape)) for shape in shapes])
    return [part.reshape(shape).clone().requires_grad_() for part, shape in zip(parts, shapes, strict=True)]


def _flat(parameters: list[Tensor]) -> Array:
    return np.concatenate([p.detach().numpy().ravel() for p in parameters])


def _dropout(x: Tensor, rate: float, rng: np.random.Generator) -> Tensor:
    keep = torch.tensor(rng.random(tuple(x.shape), dtype=np.float32) >= rate)
    return x * keep / (1 - rate)


def _descend(rule: torch.optim.Optimizer, loss: Tensor) -> None:
    rule.zero_grad()
    parameters = rule.param_groups[0]["params"]
    for p, gradient in zip(parameters, torch.autograd.grad(loss, parameters), strict=True):
        p.grad = gradient
    rule.step()
