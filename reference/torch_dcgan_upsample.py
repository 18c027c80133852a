"""A narrow dcgan-upsample trained by PyTorch in float64, six rounds, with D's two batches apart and joined.

The networks are those of the source, written out with torch.nn.functional, and so is the order of the moves: G
first, then D on the same samples. Dropout's masks are drawn as minigan draws them. The data come from seeds.
"""

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from reference import Array
from reference.torch_dcgan import channels_first, descend
from reference.torch_twins import cross_entropy

ROUNDS, BATCH, LATENT, WIDTH, WIDTH_D, SIZE = 6, 3, 4, 2, 1, 64
CHANNELS_D = [WIDTH_D * factor for factor in (1, 2, 4, 8, 32)]
RATE, EPS, MOMENTUM = 0.25, 0.8, 0.1


def batch(step: int) -> tuple[Array, Array]:
    """(real images (N, 64, 64, 1), latents (N, 4)) of a round."""
    rng = np.random.default_rng([65, step])
    return rng.uniform(-1, 1, (BATCH, SIZE, SIZE, 1)), rng.normal(size=(BATCH, LATENT))


def trajectories() -> dict[str, Array]:
    """The parameters at the start, and what six rounds of each kind make of them."""
    rng = np.random.default_rng(65)
    starts = {name: rng.normal(0.1, 0.3, sum(map(np.prod, shapes()))) for name, shapes in SHAPES.items()}
    ends: dict[str, Array] = {}
    for kind in ("apart", "joined"):
        ends |= {f"{kind}/{name}": array for name, array in _trajectory(starts, kind == "joined").items()}
    return {f"theta_{name}": start for name, start in starts.items()} | ends


def _trajectory(starts: dict[str, Array], joined: bool) -> dict[str, Array]:
    g, d = (_parameters(starts[name], list(SHAPES[name]())) for name in ("g", "d"))
    rule_g, rule_d = (torch.optim.Adam(p, lr=2e-4, betas=(0.5, 0.999)) for p in (g, d))
    statistics = [(torch.zeros(n, dtype=torch.float64), torch.ones(n, dtype=torch.float64)) for n in CHANNELS_D[1:]]
    losses = []
    for step in range(ROUNDS):
        real, latent = channels_first(batch(step)[0]), torch.tensor(batch(step)[1])
        fake = generator(latent, g)
        loss_g = cross_entropy(discriminator(fake, d, np.random.default_rng([step, 1]), None), 1)
        descend(rule_g, loss_g)
        rng, fake = np.random.default_rng([step, 0]), fake.detach()
        if joined:
            on_real, on_fake = discriminator(torch.cat([real, fake]), d, rng, statistics).split(BATCH)
        else:
            on_real, on_fake = (discriminator(x, d, rng, statistics) for x in (real, fake))
        loss_d = (cross_entropy(on_real, 1) + cross_entropy(on_fake, 0)) / 2
        descend(rule_d, loss_d)
        losses.append([loss_d.item(), loss_g.item()])
    running = np.concatenate([numbers.numpy() for pair in statistics for numbers in pair])
    return {"losses": np.array(losses), "end_g": _flat(g), "end_d": _flat(d), "running_d": running}


def generator(z: Tensor, parameters: list[Tensor]) -> Tensor:
    """Linear to 16 x 16, BatchNorm; twice copies, convolution, BatchNorm, leaky ReLU; convolution, tanh."""
    rest = iter(parameters)
    x = F.linear(z, next(rest), next(rest)).reshape(-1, 16, 16, WIDTH).permute(0, 3, 1, 2)
    x = F.batch_norm(x, None, None, next(rest), next(rest), training=True, eps=1e-5)
    for _ in range(2):
        x = F.conv2d(F.interpolate(x, scale_factor=2, mode="nearest"), next(rest), next(rest), padding=1)
        x = F.leaky_relu(F.batch_norm(x, None, None, next(rest), next(rest), training=True, eps=EPS), 0.2)
    return torch.tanh(F.conv2d(x, next(rest), next(rest), padding=1))


def discriminator(
    x: Tensor, parameters: list[Tensor], rng: np.random.Generator, statistics: list[tuple[Tensor, Tensor]] | None
) -> Tensor:
    """Five times convolution 3/2/1, leaky ReLU, dropout of channels, BatchNorm but in the first; Linear.

    `statistics`, running mean and variance of each BatchNorm, are moved where they are given.
    """
    rest = iter(parameters)
    for layer, channels in enumerate(CHANNELS_D):
        x = F.leaky_relu(F.conv2d(x, next(rest), next(rest), stride=2, padding=1), 0.2)
        keep = torch.tensor(rng.random((len(x), channels, 1, 1), dtype=np.float32) >= RATE)
        x = x * keep / (1 - RATE)
        if layer:
            mean, var = statistics[layer - 1] if statistics else (None, None)
            x = F.batch_norm(x, mean, var, next(rest), next(rest), training=True, momentum=MOMENTUM, eps=EPS)
    return F.linear(x.permute(0, 2, 3, 1).flatten(1), next(rest), next(rest))


def _shapes_g() -> Iterator[tuple[int, ...]]:
    """minigan's shapes: dense w (I, O), convolution w (3, 3, I, O); b; gamma, beta."""
    yield from [(LATENT, 16 * 16 * WIDTH), (16 * 16 * WIDTH,), (WIDTH,), (WIDTH,)]
    for _ in range(2):
        yield from [(3, 3, WIDTH, WIDTH), (WIDTH,), (WIDTH,), (WIDTH,)]
    yield from [(3, 3, WIDTH, 1), (1,)]


def _shapes_d() -> Iterator[tuple[int, ...]]:
    inputs = 1
    for layer, outputs in enumerate(CHANNELS_D):
        yield from [(3, 3, inputs, outputs), (outputs,)]
        inputs = outputs
        if layer:
            yield from [(outputs,), (outputs,)]
    yield from [(4 * CHANNELS_D[-1], 1), (1,)]


SHAPES = {"g": _shapes_g, "d": _shapes_d}


def _parameters(theta: Array, all_shapes: list[tuple[int, ...]]) -> list[Tensor]:
    """PyTorch's weights are (O, I) and (O, I, kh, kw)."""
    parts = torch.split(torch.tensor(theta), [int(np.prod(shape)) for shape in all_shapes])
    tensors = [part.reshape(shape) for part, shape in zip(parts, all_shapes, strict=True)]
    axes = {4: (3, 2, 0, 1), 2: (1, 0), 1: (0,)}
    return [t.permute(axes[t.ndim]).contiguous().clone().requires_grad_() for t in tensors]


def _flat(parameters: list[Tensor]) -> Array:
    axes = {4: (2, 3, 1, 0), 2: (1, 0), 1: (0,)}
    return np.concatenate([p.permute(axes[p.ndim]).detach().numpy().ravel() for p in parameters])
