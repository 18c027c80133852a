"""A narrow dcgan-64 trained by PyTorch in float64, ten rounds: the twin of the recipe at width 2.

The networks are those of pytorch/examples, dcgan/main.py, written out with torch.nn.functional, and so is
the order of the moves. The data come from seeds, so that only parameters and losses need be stored.
"""

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from reference import Array
from reference.torch_twins import cross_entropy

ROUNDS, BATCH, LATENT, WIDTH, SIZE = 10, 3, 5, 2, 64


def batch(step: int) -> tuple[Array, Array]:
    """(real images (N, 64, 64, 1), latents (N, 5)) of a round."""
    rng = np.random.default_rng([64, step])
    return rng.uniform(-1, 1, (BATCH, SIZE, SIZE, 1)), rng.uniform(-2, 2, (BATCH, LATENT))


def shapes(inputs: int, channels: list[int], normalised: set[int], transposed: bool) -> Iterator[tuple[int, ...]]:
    """minigan's shapes of each layer's parameters: w (4, 4, I, O), or (4, 4, O, I) if transposed; gamma; beta."""
    for index, outputs in enumerate(channels):
        yield (4, 4, outputs, inputs) if transposed else (4, 4, inputs, outputs)
        if index in normalised:
            yield (outputs,)
            yield (outputs,)
        inputs = outputs


def trajectory() -> dict[str, Array]:
    """The parameters at the start and after ten rounds, and both losses of each round."""
    rng = np.random.default_rng(64)
    g_shapes = list(shapes(LATENT, [8 * WIDTH, 4 * WIDTH, 2 * WIDTH, WIDTH, 1], {0, 1, 2, 3}, transposed=True))
    d_shapes = list(shapes(1, [WIDTH, 2 * WIDTH, 4 * WIDTH, 8 * WIDTH, 1], {1, 2, 3}, transposed=False))
    theta_g, theta_d = (rng.normal(0.1, 0.3, sum(map(np.prod, s))) for s in (g_shapes, d_shapes))
    g, d = parameters_of(theta_g, g_shapes), parameters_of(theta_d, d_shapes)
    rule_g, rule_d = (torch.optim.Adam(p, lr=2e-4, betas=(0.5, 0.999)) for p in (g, d))
    losses = []
    for step in range(ROUNDS):
        real, latent = batch(step)
        fake = generator(torch.tensor(latent), g)
        on_real, on_fake = (discriminator(x, d) for x in (channels_first(real), fake.detach()))
        loss_d = cross_entropy(on_real, 1) + cross_entropy(on_fake, 0)
        descend(rule_d, loss_d)
        loss_g = cross_entropy(discriminator(fake, d), 1)
        descend(rule_g, loss_g)
        losses.append([loss_d.item(), loss_g.item()])
    ends = {"end_g": flattened(g), "end_d": flattened(d)}
    return {"theta_g": theta_g, "theta_d": theta_d, "losses": np.array(losses)} | ends


def generator(z: Tensor, parameters: list[Tensor]) -> Tensor:
    """Transposed convolutions 4/1/0, then 4/2/1 four times; BatchNorm and ReLU between them; tanh."""
    x, rest = z[:, :, None, None], iter(parameters)
    for layer in range(4):
        x = F.conv_transpose2d(x, next(rest), stride=2 if layer else 1, padding=1 if layer else 0)
        x = F.relu(F.batch_norm(x, None, None, next(rest), next(rest), training=True, eps=1e-5))
    return torch.tanh(F.conv_transpose2d(x, next(rest), stride=2, padding=1))


def discriminator(x: Tensor, parameters: list[Tensor]) -> Tensor:
    """Convolutions 4/2/1 four times, leaky ReLU, BatchNorm but in the first; 4/1/0 to one logit."""
    rest = iter(parameters)
    for layer in range(4):
        x = F.conv2d(x, next(rest), stride=2, padding=1)
        if layer:
            x = F.batch_norm(x, None, None, next(rest), next(rest), training=True, eps=1e-5)
        x = F.leaky_relu(x, 0.2)
    return F.conv2d(x, next(rest)).flatten(1)


def parameters_of(theta: Array, all_shapes: list[tuple[int, ...]]) -> list[Tensor]:
    """PyTorch's weights are (O, I, kh, kw), transposed ones (I, O, kh, kw): minigan's last axis comes first in both."""
    parts = torch.split(torch.tensor(theta), [int(np.prod(shape)) for shape in all_shapes])
    tensors = [part.reshape(shape) for part, shape in zip(parts, all_shapes, strict=True)]
    return [(t.permute(3, 2, 0, 1) if t.ndim == 4 else t).contiguous().clone().requires_grad_() for t in tensors]


def flattened(parameters: list[Tensor]) -> Array:
    arrays = [p.permute(2, 3, 1, 0) if p.ndim == 4 else p for p in parameters]
    return np.concatenate([array.detach().numpy().ravel() for array in arrays])


def channels_first(images: Array) -> Tensor:
    """(N, H, W, C) to (N, C, H, W)."""
    return torch.tensor(images).permute(0, 3, 1, 2).contiguous()


def descend(rule: torch.optim.Optimizer, loss: Tensor) -> None:
    """One update from the gradient of this loss alone; the graph stays for another."""
    rule.zero_grad()
    loss.backward(inputs=rule.param_groups[0]["params"], retain_graph=True)
    rule.step()
