"""The toys: what data, what noise, which two networks, which rule."""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import TypeAlias

import numpy as np

from minigan.evaluation.modes import GRID_STD, RING_STD, draw_gaussians, grid, ring
from minigan.games import WASSERSTEIN, Game, UnrolledGame, non_saturating, wgan_gp
from minigan.nn import BatchNorm, Cache, Dense, Layer, LeakyReLU, Maxout, ReLU, Sequential, Softplus, Tanh
from minigan.nn.initialisers import HeNormal, Initialiser, Normal, Orthogonal
from minigan.nn.layer import LinearMap
from minigan.nn.params import Grads, Views
from minigan.optim import Adam, Momentum, Optimiser
from minigan.typing import Array, Rng

# (generator of random numbers, how many) -> (count, dimensions) float32
Sampler: TypeAlias = Callable[[np.random.Generator, int], np.ndarray]


@dataclass(frozen=True)
class Toy:
    """One problem with its networks; D's network ends in a logit, or in the score of a critic."""

    about: str
    dimensions: int
    real: Sampler
    latent: int  # numbers in z
    latents: Sampler
    generator: Sequential
    discriminator: Sequential
    rule: Callable[[float], Optimiser]  # of both players, by the learning rate
    lr: float
    steps: int  # rounds of a default run
    batch_size: int
    window: float  # pictures show -window ... window of each coordinate
    density: Callable[[np.ndarray], np.ndarray] | None = None  # p_data at x (N,), where it is known
    pretrain: int = 0  # steps in which D learns the density first
    modes: tuple[np.ndarray, float] | None = None  # centres (K, 2) and their standard deviation
    counted: int | None = None  # samples in which modes are looked for; None: all that are drawn for densities
    game: Game | UnrolledGame = Game(non_saturating())


@dataclass(frozen=True)
class Times(LinearMap):
    """y = c x, dx = c dy."""

    factor: float

    def forward(self, theta: Views, x: Array, *, train: bool, rng: Rng = None) -> tuple[Array, Cache]:
        return x * self.factor, None

    def backward(self, theta: Views, dy: Array, cache: Cache, grads: Grads, *, need_dx: bool = True) -> Array:
        return dy * self.factor if need_dx else None


def stratified(rng: np.random.Generator, count: int, reach: float) -> np.ndarray:
    """U(-reach, reach), one number from each of `count` equal parts, in their order: (count, 1) float32.

    So that the batch shows all of G, which is what makes a smooth figure of few samples.
    """
    parts = (np.arange(count) + rng.random(count)) / count  # (count,) in [0, 1)
    return ((2 * parts - 1) * reach).astype(np.float32)[:, None]


def normal_latents(rng: np.random.Generator, count: int, size: int = 2) -> np.ndarray:
    """N(0, 1), (count, size) float32."""
    return rng.standard_normal((count, size), dtype=np.float32)


def normal_samples(rng: np.random.Generator, count: int, mean: float, std: float) -> np.ndarray:
    """(count, 1) float32."""
    return (mean + std * rng.standard_normal((count, 1))).astype(np.float32)


def normal_density(x: np.ndarray, mean: float, std: float) -> np.ndarray:
    """N(mean, std^2) at x."""
    return np.exp(-(((x - mean) / std) ** 2) / 2) / (std * math.sqrt(2 * math.pi))


def swiss_roll(rng: np.random.Generator, count: int) -> np.ndarray:
    r"""A spiral in the plane with noise, (count, 2) float32.

    .. math:: \tfrac{1}{7.5}\,(t \cos t, t \sin t) + \epsilon, \qquad
              t = 1.5 \pi (1 + 2u), \quad u \sim U(0, 1), \quad \epsilon \sim N(0, (0.25 / 7.5)^2)

    The scale is that of the toys of WGAN-GP (Gulrajani et al. 2017).
    """
    t = 1.5 * math.pi * (1 + 2 * rng.random(count))
    points = np.stack([t * np.cos(t), t * np.sin(t)], axis=1) + 0.25 * rng.standard_normal((count, 2))
    return (points / 7.5).astype(np.float32)


def _network(widths: tuple[int, ...], activation: Layer, outputs: int, init: Initialiser) -> Sequential:
    """Dense layers with one activation between them."""
    hidden: list[Layer] = []
    for units in widths:
        hidden += [Dense(units, w_init=init), activation]
    return Sequential(*hidden, Dense(outputs, w_init=init))


def _gaussian_a() -> Toy:
    """N(-1, 1); both networks 1-6-5-1 with tanh, G's output times 5; D has seen the density before."""
    return Toy(
        about="N(-1, 1); G and D 1-6-5-1 with tanh, momentum; D is trained on the density first",
        dimensions=1, real=partial(normal_samples, mean=-1.0, std=1.0),
        latent=1, latents=partial(stratified, reach=5.0),
        generator=Sequential(*_network((6, 5), Tanh(), 1, Normal(1.0)).layers, Tanh(), Times(5.0)),
        discriminator=_network((6, 5), Tanh(), 1, Normal(1.0)),
        rule=lambda lr: Momentum(lr=lr, momentum=0.6), lr=0.001, steps=10_000, batch_size=200, window=5.0,
        density=partial(normal_density, mean=-1.0, std=1.0), pretrain=1000,
    )  # fmt: skip


def _gaussian_b() -> Toy:
    """N(4, 0.5^2); G has 4 softplus units, D two layers of 8 rectifiers."""
    return Toy(
        about="N(4, 0.5^2); G with 4 softplus units, D with 8 and 8 rectifiers, Adam",
        dimensions=1, real=partial(normal_samples, mean=4.0, std=0.5),
        latent=1, latents=partial(stratified, reach=8.0),
        generator=_network((4,), Softplus(), 1, Normal(1.0)),
        discriminator=_network((8, 8), ReLU(), 1, Normal(1.0)),
        rule=lambda lr: Adam(lr=lr), lr=0.001, steps=5000, batch_size=200, window=8.0,
        density=partial(normal_density, mean=4.0, std=0.5),
    )  # fmt: skip


def _plane(about: str, real: Sampler, window: float, modes: tuple[np.ndarray, float] | None = None) -> Toy:
    """The plane: 128-128 units in both, Adam with a short memory."""
    return Toy(
        about=f"{about}; G and D with 128 and 128 leaky rectifiers, Adam",
        dimensions=2, real=real, latent=2, latents=normal_latents,
        generator=_network((128, 128), LeakyReLU(0.2), 2, HeNormal()),
        discriminator=_network((128, 128), LeakyReLU(0.2), 1, HeNormal()),
        rule=lambda lr: Adam(lr=lr, beta1=0.5), lr=0.0003, steps=6000, batch_size=256, window=window, modes=modes,
    )  # fmt: skip


def _gaussians(rng: np.random.Generator, count: int, centres: np.ndarray, std: float) -> np.ndarray:
    return draw_gaussians(centres, std, count, rng)


def _mixture(about: str, centres: np.ndarray, std: float, window: float) -> Toy:
    return _plane(about, partial(_gaussians, centres=centres, std=std), window, (centres, std))


def _pacgan(about: str, centres: np.ndarray, std: float, window: float) -> Toy:
    """The plain GAN that Lin et al. 2018 ("PacGAN", section 4.1) compare with, as in their code.

    Both players move at once, every weight starts from N(0, 0.02^2), and modes are counted in 2,500 samples. They draw
    100,000 points once and pass over them 400 times; here every batch is new.
    """
    init = Normal(0.02)
    g = [Dense(400, bias=False, w_init=init), BatchNorm(eps=1e-4, momentum=0.05), ReLU()]
    d = [Dense(1000, w_init=init), Maxout(5)]
    return Toy(
        about=f"{about}; G with 4 layers of 400 rectifiers and BatchNorm, D with 3 of 200 maxout units, Adam",
        dimensions=2, real=partial(_gaussians, centres=centres, std=std), latent=2, latents=normal_latents,
        generator=Sequential(*4 * g, Dense(2, w_init=init)), discriminator=Sequential(*3 * d, Dense(1, w_init=init)),
        rule=lambda lr: Adam(lr=lr, beta1=0.8), lr=1e-4, steps=400_000, batch_size=100, window=window,
        modes=(centres, std), counted=2500, game=Game(non_saturating(), order="simultaneous"),
    )  # fmt: skip


def _wgan_gp(toy: Toy) -> Toy:
    """The same data and networks by the rules of WGAN-GP's own toys (Gulrajani et al. 2017, gan_toy.py): five steps of
    the critic a round, the penalty's weight 0.1, Adam. Their networks have three layers of 512 units.
    """
    return replace(
        toy, about=f"{toy.about}; WGAN-GP", game=Game(WASSERSTEIN, d_steps=5, penalty=wgan_gp(0.1)),
        rule=lambda lr: Adam(lr=lr, beta1=0.5, beta2=0.9), steps=5000,
    )  # fmt: skip


def _unrolled() -> Toy:
    """The ring of Metz et al. 2017 ("Unrolled GANs", appendix A); batches and rounds are those of the authors' demo.

    Both players move at once, as in the demo; in the paper they take turns.
    """
    init = Orthogonal(0.8)
    d = _network((128,), ReLU(), 1, init)
    return Toy(
        about="8 Gaussians on a ring; G with 128 and 128 rectifiers, D with 128, Adam",
        dimensions=2, real=partial(_gaussians, centres=ring(), std=RING_STD),
        latent=256, latents=partial(normal_latents, size=256),
        generator=_network((128, 128), ReLU(), 2, init), discriminator=Sequential(Times(0.25), *d.layers),
        rule=lambda lr: Adam(lr=lr, beta1=0.5), lr=1e-4, steps=25_000, batch_size=512, window=3.0,
        modes=(ring(), RING_STD), game=UnrolledGame(unroll=10),
    )  # fmt: skip


# By toy, then by setting; the first setting is the default.
TOYS: dict[str, dict[str, Callable[[], Toy]]] = {
    "gaussian-1d": {"a": _gaussian_a, "b": _gaussian_b},
    "ring": {
        "": lambda: _mixture("8 Gaussians on a ring", ring(), RING_STD, 3.0),
        "wgan-gp": lambda: _wgan_gp(TOYS["ring"][""]()),
        "pacgan": lambda: _pacgan("8 Gaussians on a ring of radius 1", ring(radius=1.0), 0.01, 1.5),
        "unrolled": _unrolled,
    },
    "grid": {
        "": lambda: _mixture("25 Gaussians on a grid", grid(), GRID_STD, 5.5),
        "wgan-gp": lambda: _wgan_gp(TOYS["grid"][""]()),
        "pacgan": lambda: _pacgan("25 Gaussians on a grid", grid(), GRID_STD, 5.5),
    },
    "swiss-roll": {
        "": lambda: _plane("a spiral with noise", swiss_roll, 2.4),
        "wgan-gp": lambda: _wgan_gp(TOYS["swiss-roll"][""]()),
    },
}
