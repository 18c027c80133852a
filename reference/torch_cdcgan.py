"""A narrow cdcgan-28 trained by PyTorch in float64, five rounds, of which the last three have a lower learning rate.

The networks are those of train_cond_dcgan.py, written out with torch.nn.functional: before each layer the one-hot
label is put behind what comes in, at every place of an image. The moves are in the source's order, G first, each on
latents of its own. The data come from seeds.
"""

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from reference import Array
from reference.torch_dcgan import channels_first, descend, flattened, parameters_of
from reference.torch_twins import cross_entropy

ROUNDS, BATCH, LATENT, CLASSES, WIDTH, UNITS = 5, 4, 3, 3, 2, 6
RATES = (2e-4, 2e-4, 1.5e-4, 1e-4, 0.5e-4)
SHAPES_G = [
    (LATENT + CLASSES, UNITS),
    (UNITS + CLASSES, 7 * 7 * 2 * WIDTH),
    (5, 5, WIDTH, 2 * WIDTH + CLASSES),
    (5, 5, 1, WIDTH + CLASSES),
]
SHAPES_D = [
    (5, 5, 1 + CLASSES, WIDTH),
    (5, 5, WIDTH + CLASSES, 2 * WIDTH),
    (7 * 7 * 2 * WIDTH + CLASSES, UNITS),
    (UNITS + CLASSES, 1),
]


def batch(step: int) -> tuple[Array, Array, Array, Array]:
    """(real images (N, 28, 28, 1), their classes (N,), latents of G's step and of D's (N, 3)) of a round."""
    rng = np.random.default_rng([29, step])
    latents = rng.uniform(-1, 1, (2, BATCH, LATENT))
    return rng.uniform(0, 1, (BATCH, 28, 28, 1)), rng.integers(0, CLASSES, BATCH), *latents


def trajectory() -> dict[str, Array]:
    """The parameters at the start and after five rounds, and both losses of each round."""
    rng = np.random.default_rng(29)
    theta_g, theta_d = (rng.normal(0, 0.3, sum(map(np.prod, s))) for s in (SHAPES_G, SHAPES_D))
    g, d = parameters_of(theta_g, SHAPES_G), parameters_of(theta_d, SHAPES_D)
    rule_g, rule_d = (torch.optim.Adam(p, lr=RATES[0], betas=(0.5, 0.999), weight_decay=2.5e-5) for p in (g, d))
    losses = []
    for step in range(ROUNDS):
        images, labels, z_g, z_d = batch(step)
        y = F.one_hot(torch.tensor(labels), CLASSES).double()
        for rule in (rule_g, rule_d):
            rule.param_groups[0]["lr"] = RATES[step]
        loss_g = cross_entropy(discriminator(generator(torch.tensor(z_g), y, g), y, d), 1)
        descend(rule_g, loss_g)
        fake = generator(torch.tensor(z_d), y, g).detach()
        on_real, on_fake = (discriminator(x, y, d) for x in (channels_first(images), fake))
        loss_d = cross_entropy(on_real, 1) + cross_entropy(on_fake, 0)
        descend(rule_d, loss_d)
        losses.append([loss_d.item(), loss_g.item()])
    ends = {"end_g": flattened(g), "end_d": flattened(d)}
    return {"theta_g": theta_g, "theta_d": theta_d, "losses": np.array(losses)} | ends


def told(x: Tensor, y: Tensor) -> Tensor:
    """y (N, K) behind the channels of x (N, C) or (N, C, H, W)."""
    places = x.shape[2:]
    return torch.cat([x, y.view(*y.shape, *(1 for _ in places)).expand(*y.shape, *places)], dim=1)


def normalised(x: Tensor) -> Tensor:
    """By the statistics of the batch, without gain and shift."""
    return F.batch_norm(x, None, None, training=True, eps=1e-8)


def generator(z: Tensor, y: Tensor, w: list[Tensor]) -> Tensor:
    """Two dense layers, two transposed convolutions; a vector becomes an image in the order (H, W, C)."""
    x = F.relu(normalised(F.linear(told(z, y), w[0].T)))
    x = F.relu(normalised(F.linear(told(x, y), w[1].T))).unflatten(1, (7, 7, 2 * WIDTH)).permute(0, 3, 1, 2)
    x = F.relu(normalised(F.conv_transpose2d(told(x, y), w[2], stride=2, padding=2, output_padding=1)))
    return torch.sigmoid(F.conv_transpose2d(told(x, y), w[3], stride=2, padding=2, output_padding=1))


def discriminator(x: Tensor, y: Tensor, w: list[Tensor]) -> Tensor:
    """Two convolutions, the first without BatchNorm, and two dense layers."""
    x = F.leaky_relu(F.conv2d(told(x, y), w[0], stride=2, padding=2), 0.2)
    x = F.leaky_relu(normalised(F.conv2d(told(x, y), w[1], stride=2, padding=2)), 0.2)
    x = F.leaky_relu(normalised(F.linear(told(x.permute(0, 2, 3, 1).flatten(1), y), w[2].T)), 0.2)
    return F.linear(told(x, y), w[3].T)
