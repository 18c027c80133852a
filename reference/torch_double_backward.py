"""Second gradients by PyTorch's autograd, and a narrow wgan-gp-28 that it trains in float64: the twin of the recipe.

`cases` gives inputs and results of single operations: of ddx, a gradient on dx, what <dx, ddx> asks of dy ("ddy"), of x
("on_x") and of BatchNorm's gamma ("on_gamma").
"""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from reference import Array
from reference.torch_dcgan import channels_first, descend, flattened, parameters_of

ROUNDS, D_STEPS, BATCH, LATENT, WIDTH = 4, 2, 3, 5, 2


def second_gradients(
    function: Callable[..., Tensor], inputs: dict[str, Array], dy: Array, ddx: Array
) -> dict[str, Array]:
    """Of <ddx, dx> with dx = d<y, dy>/dx, y = function(*inputs); x is the first input."""
    leaves = [torch.tensor(value, requires_grad=True) for value in inputs.values()]
    upstream = torch.tensor(dy, requires_grad=True)
    (dx,) = torch.autograd.grad(function(*leaves), leaves[0], upstream, create_graph=True)
    wanted = {"ddy": upstream} | {f"on_{name}": leaf for name, leaf in zip(inputs, leaves, strict=True)}
    found = torch.autograd.grad((dx * torch.tensor(ddx)).sum(), list(wanted.values()), allow_unused=True)
    gradients = {
        name: torch.zeros_like(leaf) if gradient is None else gradient
        for (name, leaf), gradient in zip(wanted.items(), found, strict=True)
    }
    return inputs | {"dy": dy, "ddx": ddx} | {name: gradient.detach().numpy() for name, gradient in gradients.items()}


ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "elu": lambda x: F.elu(x, 0.7),
    "softplus": lambda x: F.softplus(x, threshold=1000),
    "sigmoid": torch.sigmoid,
    "tanh": torch.tanh,
    "scaled_tanh": lambda x: 1.7159 * torch.tanh(2 / 3 * x),
}


def cases() -> dict[str, Array]:
    """Everything by operation/name."""
    rng, found = np.random.default_rng(2017), {}
    for name, function in ACTIVATIONS.items():
        x, dy, ddx = rng.normal(0, 2, (3, 6, 5))
        found[name] = second_gradients(function, {"x": x}, dy, ddx)
    for number, (shape, eps) in enumerate([((7, 3), 1e-5), ((2, 3, 5, 3), 0.1), ((2, 1), 0.8)]):
        x, dy, ddx = rng.normal(1, 2, (3, *shape))
        inputs = {"x": x, "gamma": rng.uniform(0.5, 2, shape[-1]), "beta": rng.normal(size=shape[-1])}

        def training(x: Tensor, gamma: Tensor, beta: Tensor, eps: float = eps) -> Tensor:
            rows = x.reshape(-1, x.shape[-1])
            return F.batch_norm(rows, None, None, gamma, beta, training=True, eps=eps).reshape(x.shape)

        found[f"batchnorm-{number}"] = second_gradients(training, inputs, dy, ddx) | {"eps": np.array(eps)}
    x, dy, ddx = rng.normal(1, 2, (3, 6, 4))
    mean, var = rng.normal(size=4), rng.uniform(0.1, 4, 4)

    def inference(x: Tensor, gamma: Tensor, beta: Tensor) -> Tensor:
        return F.batch_norm(x, torch.tensor(mean), torch.tensor(var), gamma, beta, training=False, eps=1e-5)

    inputs = {"x": x, "gamma": rng.uniform(0.5, 2, 4), "beta": rng.normal(size=4)}
    statistics = {"mean": mean, "var": var, "eps": np.array(1e-5)}
    found["batchnorm_inference"] = second_gradients(inference, inputs, dy, ddx) | statistics
    for centre in (0.0, 1.0):
        dx = torch.tensor(rng.normal(size=(5, 3, 2)), requires_grad=True)
        value = ((dx.flatten(1).norm(2, dim=1) - centre) ** 2).mean()
        (ddx,) = torch.autograd.grad(value, dx)
        arrays = {"dx": dx.detach(), "value": value.detach(), "ddx": ddx}
        found[f"gradient_penalty-{centre:g}"] = {name: tensor.numpy() for name, tensor in arrays.items()}
    return {f"{name}/{key}": array for name, results in found.items() for key, array in results.items()}


def batch(step: int, k: int) -> tuple[Array, Array, Array]:
    """(real images (N, 28, 28, 1), latents (N, 5), shares (N,)) of the k-th step of a round; k = 2: of G's."""
    rng = np.random.default_rng([28, step, k])
    return rng.uniform(0, 1, (BATCH, 28, 28, 1)), rng.normal(size=(BATCH, LATENT)), rng.random(BATCH)


G_SHAPES = [(LATENT, 64 * WIDTH), (64 * WIDTH,), (5, 5, 2 * WIDTH, 4 * WIDTH), (2 * WIDTH,),
            (5, 5, WIDTH, 2 * WIDTH), (WIDTH,), (5, 5, 1, WIDTH), (1,)]  # fmt: skip
D_SHAPES = [(5, 5, 1, WIDTH), (WIDTH,), (5, 5, WIDTH, 2 * WIDTH), (2 * WIDTH,),
            (5, 5, 2 * WIDTH, 4 * WIDTH), (4 * WIDTH,), (64 * WIDTH, 1), (1,)]  # fmt: skip


def trajectory() -> dict[str, Array]:
    """The parameters at the start and after some rounds, and both losses of each round."""
    rng = np.random.default_rng(28)
    theta_g, theta_d = (rng.normal(0, 0.2, sum(map(int, map(np.prod, s)))) for s in (G_SHAPES, D_SHAPES))
    g, d = parameters_of(theta_g, G_SHAPES), parameters_of(theta_d, D_SHAPES)
    rule_g, rule_d = (torch.optim.Adam(p, lr=1e-3, betas=(0.5, 0.9)) for p in (g, d))
    losses = []
    for step in range(ROUNDS):
        for k in range(D_STEPS):
            real, z, share = batch(step, k)
            loss_d = critic_loss(d, channels_first(real), generator(torch.tensor(z), g).detach(), torch.tensor(share))
            descend(rule_d, loss_d)
        loss_g = -critic(generator(torch.tensor(batch(step, D_STEPS)[1]), g), d).mean()
        descend(rule_g, loss_g)
        losses.append([loss_d.item(), loss_g.item()])
    ends = {"end_g": flattened(g), "end_d": flattened(d)}
    return {"theta_g": theta_g, "theta_d": theta_d, "losses": np.array(losses)} | ends


def critic_loss(d: list[Tensor], real: Tensor, fake: Tensor, share: Tensor) -> Tensor:
    """E f(fake) - E f(real) + 10 E (|df/dx| - 1)^2 at points between (Gulrajani et al. 2017, eq. 3)."""
    between = (share[:, None, None, None] * real + (1 - share[:, None, None, None]) * fake).requires_grad_()
    (slope,) = torch.autograd.grad(critic(between, d).sum(), between, create_graph=True)
    penalty = ((slope.flatten(1).norm(2, dim=1) - 1) ** 2).mean()
    return critic(fake, d).mean() - critic(real, d).mean() + 10 * penalty


def generator(z: Tensor, g: list[Tensor]) -> Tensor:
    """As the source: transposed convolutions with TensorFlow's padding; of 8 x 8 pixels 7 x 7 are kept."""
    x = F.relu(F.linear(z, g[0].T, g[1])).unflatten(1, (4, 4, 4 * WIDTH)).permute(0, 3, 1, 2)
    for layer, size in ((1, 7), (2, 14), (3, 28)):
        x = F.conv_transpose2d(x, g[2 * layer], g[2 * layer + 1], stride=2)  # the whole image, border and all
        x = x[:, :, 1 : 1 + size, 1 : 1 + size]
        x = torch.sigmoid(x) if layer == 3 else F.relu(x)
    return x


def critic(x: Tensor, d: list[Tensor]) -> Tensor:
    """As the source: convolutions 5/2 with TensorFlow's padding, leaky rectifiers."""
    for layer, border in ((0, (1, 2)), (1, (1, 2)), (2, (2, 2))):
        x = F.leaky_relu(F.conv2d(F.pad(x, (*border, *border)), d[2 * layer], d[2 * layer + 1], stride=2), 0.2)
    return F.linear(x.permute(0, 2, 3, 1).flatten(1), d[6].T, d[7])
