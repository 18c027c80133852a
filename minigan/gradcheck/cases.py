"""What is checked: every layer, also twice, every loss, the steps, and the networks of recipes with their losses."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from minigan import nn, ops
from minigan.backend import CPU, Device, array_module, put_like, to_host
from minigan.games import (
    LEAST_SQUARES,
    GANLoss,
    GradientPenalty,
    UnrolledGame,
    discriminator_step,
    discriminator_step_at_once,
    joined_discriminator_step,
    minimax,
    non_saturating,
    r1,
    wgan_gp,
)
from minigan.games.player import Player
from minigan.games.toolbox import squared_error
from minigan.games.unrolled import look_ahead
from minigan.gradcheck.method import STEP, Problem
from minigan.optim import SGD, Adam, Moments, Momentum, Optimiser, RMSprop
from minigan.parallel.team import ALONE
from minigan.recipes import CDCGAN28, DCGAN64, MLP2014, MLPMnist
from minigan.typing import Array, Shape

BATCH = 5
MARGIN = 10 * STEP  # how far from a kink every input stays


@dataclass(frozen=True)
class LayerCase:
    """A layer (or a few), the shape of one sample, and the mode."""

    name: str
    layer: nn.Layer
    in_shape: Shape
    train: bool = True


LAYERS = [
    LayerCase("dense", nn.Dense(4), (3,)),
    LayerCase("dense, no bias", nn.Dense(4, bias=False), (3,)),
    LayerCase("batchnorm, vectors", nn.BatchNorm(), (3,)),
    LayerCase("batchnorm, images", nn.BatchNorm(), (3, 2, 4)),
    LayerCase("batchnorm, large eps", nn.BatchNorm(eps=0.8), (3,)),
    LayerCase("batchnorm, inference", nn.BatchNorm(), (3, 2, 4), train=False),
    LayerCase("batchnorm without gain", nn.BatchNorm(affine=False), (3,)),
    LayerCase(
        "batchnorm without running statistics", nn.BatchNorm(track_running_stats=False), (3, 2, 4), train=False
    ),
    LayerCase("ghost batchnorm", nn.GhostBatchNorm(parts=BATCH), (3, 2, 4)),
    LayerCase("ghost batchnorm, inference", nn.GhostBatchNorm(parts=BATCH), (3, 2, 4), train=False),
    LayerCase(
        "ghost batchnorm, leaky relu", nn.Sequential(nn.GhostBatchNorm(parts=BATCH), nn.LeakyReLU(0.2)), (3, 2, 4)
    ),
    LayerCase("sync batchnorm", nn.SyncBatchNorm(gather=ALONE.gather), (3, 2, 4)),
    LayerCase("relu", nn.ReLU(), (3, 2)),
    LayerCase("leaky relu", nn.LeakyReLU(0.2), (3, 2)),
    LayerCase("elu", nn.ELU(0.7), (3, 2)),
    LayerCase("softplus", nn.Softplus(), (3, 2)),
    LayerCase("sigmoid", nn.Sigmoid(), (3, 2)),
    LayerCase("tanh", nn.Tanh(), (3, 2)),
    LayerCase("scaled tanh", nn.ScaledTanh(), (3, 2)),
    LayerCase("maxout", nn.Maxout(3), (6,)),
    LayerCase("dropout, inverted", nn.Dropout(0.4), (6,)),
    LayerCase("dropout, classic", nn.Dropout(0.4, "classic"), (6,)),
    LayerCase("dropout, classic, inference", nn.Dropout(0.4, "classic"), (6,), train=False),
    LayerCase("dropout, whole channels", nn.Dropout(0.4, "channel"), (2, 2, 6)),
    LayerCase("reshape", nn.Reshape((2, 3)), (6,)),
    LayerCase("flatten", nn.Flatten(), (2, 3)),
    LayerCase("conv 3/1/1", nn.Conv2D(3, 3, padding=1), (4, 5, 2)),
    LayerCase("conv 4/2/1, no bias", nn.Conv2D(3, 4, 2, 1, bias=False), (6, 6, 2)),
    LayerCase("conv 5/2/same, tall", nn.Conv2D(2, (5, 3), 2, "same"), (6, 5, 2)),
    LayerCase("conv, dilated, asymmetric", nn.Conv2D(2, 3, 2, (1, 0, 2, 1), dilation=2), (6, 7, 1)),
    LayerCase("conv, each axis its own", nn.Conv2D(2, (2, 3), (1, 2), (1, 0), (2, 1)), (4, 5, 1)),
    LayerCase("conv, grouped", nn.Conv2D(4, 3, 1, 1, groups=2), (3, 4, 4)),
    LayerCase("conv, depthwise", nn.Conv2D(3, 3, 2, 1, groups=3), (4, 4, 3)),
    LayerCase("transposed conv 4/2/1", nn.ConvTranspose2D(2, 4, 2, 1), (3, 2, 3)),
    LayerCase("transposed conv 5/2/2, output padding", nn.ConvTranspose2D(2, 5, 2, 2, 1), (2, 3, 2)),
    LayerCase("transposed conv, grouped, dilated", nn.ConvTranspose2D(4, 3, 2, 1, dilation=2, groups=2), (2, 2, 2)),
    LayerCase("average pool", nn.AveragePool(3, 2, 1), (5, 4, 2)),
    LayerCase("max pool", nn.MaxPool(2), (4, 6, 2)),
    LayerCase("max pool, overlapping", nn.MaxPool(3, 2, 1), (5, 4, 2)),
    LayerCase("global average", nn.GlobalAveragePool(), (3, 4, 2)),
    LayerCase("upsample, nearest", nn.Upsample(2), (2, 3, 2)),
    LayerCase("upsample, bilinear", nn.Upsample(3, "bilinear"), (2, 3, 2)),
    LayerCase("pixel shuffle", nn.PixelShuffle(2), (2, 3, 8)),
    LayerCase("pixel unshuffle", nn.PixelUnshuffle(2), (4, 2, 2)),
    LayerCase("conditioned, vectors", nn.Conditioned(2, nn.Dense(3), nn.Tanh()), (3,)),
    LayerCase("conditioned, images", nn.Conditioned(2, nn.Conv2D(3, 3, 2, 1), nn.BatchNorm()), (4, 3, 3)),
    LayerCase("conditioned, one after the other", nn.Sequential(
        nn.Conditioned(2, nn.Conv2D(2, 3, 1, 1), nn.LeakyReLU(0.2)), nn.Conditioned(2, nn.Flatten(), nn.Dense(3)),
        nn.Dense(1)), (2, 3, 3)),
    LayerCase("dense, batchnorm, leaky relu, dense", nn.Sequential(
        nn.Dense(3, bias=False), nn.BatchNorm(), nn.LeakyReLU(0.2), nn.Dense(3)), (3,)),
]  # fmt: skip

# A loss of logits and whatever it is compared with: (loss, gradient, ...) for the logits.
LOSSES: dict[str, Callable[..., tuple[Array, ...]]] = {
    "bce with logits": lambda s: ops.bce_with_logits(s, put_like(np.linspace(0, 1, s.size).reshape(s.shape), s)),
    "bce with logits, smoothing": lambda s: ops.bce_with_logits(s, 1.0, smoothing=0.2),
    "softmax cross-entropy": lambda s: ops.softmax_cross_entropy(s, put_like(np.arange(len(s)) % s.shape[1], s)),
    "softmax cross-entropy, smoothing": lambda s: ops.softmax_cross_entropy(
        s, put_like(np.arange(len(s)) % s.shape[1], s), smoothing=0.1
    ),
    "mean squared error": lambda y: ops.mean_squared_error(y, 0.3),
    "half squared error": lambda y: ops.half_squared_error(y, 0.3),
    "toolbox: squared error of sigmoids": lambda y: squared_error(y, 0.3),
}
DISCRIMINATOR_LOSSES: dict[str, Callable[[Array, Array], tuple[Array, Array, Array]]] = {
    "discriminator: bce": ops.discriminator_bce,
    "discriminator: bce, smoothing, halved": lambda r, f: ops.discriminator_bce(r, f, smoothing=0.1, scale=0.5),
    "discriminator: least squares": ops.discriminator_least_squares,
    "discriminator: hinge": ops.discriminator_hinge,
    "discriminator: wasserstein": ops.discriminator_wasserstein,
}
GENERATOR_LOSSES: dict[str, Callable[[Array], tuple[Array, Array]]] = {
    "generator: minimax": ops.generator_minimax,
    "generator: non-saturating": ops.generator_non_saturating,
    "generator: least squares": ops.generator_least_squares,
    "generator: wasserstein, hinge": ops.generator_wasserstein,
}

Step = Callable[..., object]
STEPS: dict[str, tuple[Step, GradientPenalty | None]] = {
    "step of D, apart": (discriminator_step, None),
    "step of D, at once": (discriminator_step_at_once, None),
    "step of D, joined": (joined_discriminator_step, None),
    "step of D, apart, WGAN-GP": (discriminator_step, wgan_gp(0.7)),
    "step of D, at once, WGAN-GP": (discriminator_step_at_once, wgan_gp(0.7)),
    "step of D, joined, R1": (joined_discriminator_step, r1(3.0)),
}

# D's loss and its rule, which G goes back through
UNROLLED: dict[str, tuple[GANLoss, Optimiser]] = {
    "step of G, unrolled, sgd": (minimax(smoothing=0.1, scale=0.5), SGD(lr=0.6)),
    "step of G, unrolled, momentum": (LEAST_SQUARES, Momentum(lr=0.2, momentum=0.7)),
    "step of G, unrolled, rmsprop": (minimax(), RMSprop(lr=0.05, rho=0.7)),
    "step of G, unrolled, adam": (minimax(), Adam(lr=0.05, beta1=0.5, beta2=0.8)),
}
UNROLL = 3

Checked = MLPMnist | MLP2014 | DCGAN64 | CDCGAN28
# The recipes' own networks, narrow enough to vary every parameter,
RECIPES: list[Checked] = [
    MLPMnist(batch_size=BATCH, latent=3, hidden_g=(5, 4), hidden_d=(6, 4)),
    MLP2014(batch_size=BATCH, latent=3, hidden_g=5, hidden_d=3, pieces=2, weights_g=0.7, weights_d=0.7),
]
# and with convolutions: too many parameters for that, and more rectifiers than can be kept away from their kinks.
DCGANS: list[Checked] = [
    DCGAN64(batch_size=12, latent=3, size=(32, 32), width=1, init_std=0.4),
    CDCGAN28(batch_size=12, latent=3, classes=3, width=1, units=3, init_std=0.4),
]
IMAGE_SHAPE = (3, 2, 1)  # where the recipe leaves it open
DIRECTIONS = 4  # of each array of a DCGAN


def all_problems(device: Device = CPU, seed: int = 0) -> Iterator[Problem]:
    """Everything there is to check, one problem after the other."""
    for build in builders(device, seed).values():
        yield from build()


def builders(device: Device = CPU, seed: int = 0) -> dict[str, Callable[[], Iterator[Problem]]]:
    """What makes the problems, by the name of a layer, a loss, a step or a recipe."""
    made: dict[str, Callable[[], Iterator[Problem]]] = {}
    for case in LAYERS:
        made[case.name] = partial(_one, layer_problem, case, device, seed)
    for case in filter(_differentiable_twice, LAYERS):
        made[f"{case.name}, twice"] = partial(_one, twice_problem, case, device, seed)
    for name, loss in (LOSSES | DISCRIMINATOR_LOSSES | GENERATOR_LOSSES).items():
        logits = 2 if name in DISCRIMINATOR_LOSSES else 1
        made[name] = partial(_one, loss_problem, name, loss, logits, device, seed)
    for name, (step, penalty) in STEPS.items():
        made[name] = partial(_one, step_problem, name, step, penalty, device, seed)
    for name, unrolled in UNROLLED.items():
        made[name] = partial(_one, unrolled_problem, name, *unrolled, device, seed)
    for recipe in RECIPES + DCGANS:
        made[recipe.name] = partial(recipe_problems, recipe, device, seed)
    return made


def _one(make: Callable[..., Problem], *arguments: object) -> Iterator[Problem]:
    yield make(*arguments)


def layer_problem(case: LayerCase, device: Device = CPU, seed: int = 0) -> Problem:
    """f = sum(y * dy) for a random dy: then df/dx is what backward returns for dy."""
    rng, theta, x = _draw_away_from_kinks(case, device, seed)
    layer = case.layer
    y, cache = layer.forward(theta, x, train=case.train, rng=np.random.default_rng(seed))
    dy = device.put(rng.normal(size=y.shape))
    before = device.put(rng.normal(size=theta.trainable_size))  # backward must add to what is there
    grads = theta.gradients()
    grads.flat += before
    dx = layer.backward(theta, dy, cache, grads)
    grads.flat -= before

    def value() -> float:
        out, _ = layer.forward(theta, x, train=case.train, rng=np.random.default_rng(seed))
        return float((out * dy).sum())

    return Problem(case.name, value, {name: (theta[name], grads[name]) for name in grads} | {"input": (x, dx)})


def _differentiable_twice(case: LayerCase) -> bool:
    return not nn.without_second_gradient(case.layer)


def twice_problem(case: LayerCase, device: Device = CPU, seed: int = 0) -> Problem:
    """f = sum(dx * ddx) + sum(dtheta * ddtheta) for random ddx and ddtheta: then df/d(dy, x, theta) is what
    double_backward and grads_double_backward return and add together, and df/dddx the dx of input_gradient."""
    rng, theta, x = _draw_away_from_kinks(case, device, seed)
    layer = case.layer.unfused()
    y, cache = layer.forward(theta, x, train=case.train, rng=np.random.default_rng(seed))
    dy, ddx = device.put(rng.normal(size=y.shape)), device.put(rng.normal(size=x.shape))
    before = device.put(rng.normal(size=theta.trainable_size))  # double_backward must add to what is there
    grads = theta.gradients()
    grads.flat += before
    dx, kept = layer.input_gradient(theta, dy, cache)
    ddtheta, dtheta, more = theta.gradients(), theta.gradients(), theta.gradients()
    ddtheta.flat += device.put(rng.normal(size=theta.trainable_size))
    of_dx = layer.double_backward(theta, ddx, kept, cache, grads)
    grads.flat -= before
    try:
        of_grads = layer.grads_double_backward(theta, ddtheta, kept, cache, more)
        grads.flat += more.flat
    except NotImplementedError:  # somebody's layer, of which penalties only ask the other one
        ddtheta.flat.fill(0)
        of_grads = (None, None)
    ddy, on_x = (sum(part for part in parts if part is not None) for parts in zip(of_dx, of_grads, strict=True))

    def value() -> float:
        _, cache = layer.forward(theta, x, train=case.train, rng=np.random.default_rng(seed))
        dtheta.flat.fill(0)
        dx = layer.backward(theta, dy, cache, dtheta)
        return float((dx * ddx).sum() + (dtheta.flat * ddtheta.flat).sum())

    inputs = {"ddx": (ddx, dx), "dy": (dy, ddy), "input": (x, on_x + array_module(x).zeros_like(x))}
    return Problem(f"{case.name}, twice", value, {name: (theta[name], grads[name]) for name in grads} | inputs)


def loss_problem(
    name: str, loss: Callable[..., tuple[Array, ...]], inputs: int, device: Device = CPU, seed: int = 0
) -> Problem:
    """f = the loss itself, of one or two arrays of logits."""
    rng = np.random.default_rng(seed)
    logits = [device.put(_away_from(rng, (BATCH + k, 3), [-1.0, 1.0])) for k in range(inputs)]  # hinge bends at 1, -1
    _, *claimed = loss(*logits)
    names = ["real", "fake"] if inputs == 2 else ["logits"]
    claims = {what: (array, grad) for what, array, grad in zip(names, logits, claimed, strict=True)}
    return Problem(name, lambda: float(loss(*logits)[0]), claims)


class _Keep(Optimiser):
    """An update that changes nothing and keeps the gradient."""

    moment_names = ("g",)

    def rule(self, theta: Array, g: Array, moments: Moments, *coefficients: float | Array) -> None:
        moments["g"] += g


def step_problem(
    name: str, step: Step, penalty: GradientPenalty | None, device: Device = CPU, seed: int = 0
) -> Problem:
    """f = D's loss on real and generated samples, through BatchNorm and dropout; the gradient is the step's.

    The samples go apart to compute f, also for the step that takes both at once; for the others there are more
    generated ones, unless a penalty looks between them.
    """
    net = nn.Sequential(nn.Dense(4, bias=False), nn.BatchNorm(), nn.Tanh(), nn.Dropout(0.3), nn.Dense(1))
    rng, loss = np.random.default_rng(seed), non_saturating(smoothing=0.1)
    d = Player.new(net, _Keep(), (3,), rng, dtype=np.float64, device=device)
    _jitter(d.theta, rng)
    equal = step is discriminator_step_at_once or (penalty is not None and penalty.at == "between")
    joined = step is joined_discriminator_step
    real, fake = (device.put(rng.normal(shift, 1, (BATCH + shift * (not equal), 3))) for shift in (0, 1))
    share = device.put(rng.random(BATCH))

    def value() -> float:
        masks = np.random.default_rng(seed)
        batches = [array_module(real).concatenate([real, fake])] if joined else [real, fake]
        logits = [d.net.forward(d.theta, batch, train=True, rng=masks)[0] for batch in batches]
        on_real, on_fake = (logits[0][:BATCH], logits[0][BATCH:]) if joined else logits
        total = float(loss.discriminator(on_real, on_fake)[0])
        if penalty is not None:
            there, cache = d.net.forward(d.theta, penalty.points(real, fake, share), train=True, rng=masks)
            dx = d.net.backward(d.theta, array_module(there).ones_like(there), cache, None)
            total += penalty.weight * float(((((dx * dx).sum(axis=1)) ** 0.5 - penalty.centre) ** 2).mean())
        return total

    rng = np.random.default_rng(seed)
    add = penalty and (lambda d, real, fake: penalty.add(d, penalty.points(real, fake, share), rng))
    step(loss, d, real, fake, rng, add)
    grads = nn.Params(d.moments["g"], d.theta.trainable_shapes, {}, (3,))
    return Problem(name, value, {name: (d.theta[name], grads[name]) for name in grads})


def unrolled_problem(name: str, loss: GANLoss, rule: Optimiser, device: Device = CPU, seed: int = 0) -> Problem:
    """f = minus the loss that D will have after some updates; its gradient on the generated samples is G's."""
    net = nn.Sequential(nn.Dense(4, bias=False), nn.BatchNorm(), nn.Tanh(), nn.Dropout(0.3), nn.Dense(1))
    rng = np.random.default_rng(seed)
    d = Player.new(net, rule, (3,), rng, dtype=np.float64, device=device)
    _jitter(d.theta, rng)
    for moment in d.moments.values():  # as after some rounds
        moment += device.put(rng.uniform(0.1, 0.3, moment.shape))
    d.updates = 2
    real, fake = (device.put(rng.normal(shift, 1, (BATCH + shift, 3))) for shift in (0, 1))

    def value() -> float:
        _, last = look_ahead(loss, net.unfused(), d, real, fake, UNROLL, np.random.default_rng(seed))
        return -float(last.value)

    gradient = UnrolledGame(loss, UNROLL).gradient_on_samples(d, real, fake, np.random.default_rng(seed))
    return Problem(name, value, {"fake": (fake, gradient)})


def recipe_problems(recipe: Checked, device: Device = CPU, seed: int = 0) -> Iterator[Problem]:
    """Both losses of a recipe's game, with respect to every parameter of the player who minimises it."""
    rng = np.random.default_rng(seed)
    image_shape = (*recipe.image_size, 1) if recipe.image_size else IMAGE_SHAPE
    images = rng.integers(0, 256, (recipe.batch_size, *image_shape), dtype=np.uint8)
    nets: list[nn.Layer] = [recipe.generator(images), recipe.discriminator(images)]
    g_net, d_net = map(_smooth, nets) if recipe in DCGANS else nets
    for attempt in range(1000):
        rng = np.random.default_rng([seed, attempt])
        theta_g = nn.init_params(g_net, recipe.latent_shape, rng, dtype=np.float64, device=device)
        theta_d = nn.init_params(d_net, recipe.judged_shape(image_shape), rng, dtype=np.float64, device=device)
        _jitter(theta_g, rng)
        _jitter(theta_d, rng)
        z = device.put(recipe.told(recipe.draw_latents(rng, recipe.batch_size)).astype(np.float64))
        real = recipe.encode(device.put(images), np.dtype(np.float64))
        if recipe.condition:
            real = ops.with_condition(real, device.put(recipe.codes(recipe.batch_size).astype(np.float64)))
        clear = _distance_to_kinks(g_net, theta_g, z, True, seed)
        fake, _ = g_net.forward(theta_g, z, train=True, rng=np.random.default_rng(seed))
        clear = min(clear, _distance_to_kinks(d_net, theta_d, real, True, seed))
        clear = min(clear, _distance_to_kinks(d_net, theta_d, fake, True, seed))
        if clear > MARGIN:
            directions = DIRECTIONS if recipe in DCGANS else None
            yield replace(_discriminator_problem(recipe, d_net, theta_d, real, fake, seed), directions=directions)
            yield replace(_generator_problem(recipe, g_net, theta_g, d_net, theta_d, z, seed), directions=directions)
            return
    raise RuntimeError(f"no inputs away from all kinks found for {recipe.name}")


def _discriminator_problem(
    recipe: Checked, net: nn.Layer, theta: nn.Params, real: Array, fake: Array, seed: int
) -> Problem:
    loss = recipe.game().loss.discriminator

    def forward() -> tuple:
        on_real = net.forward(theta, real, train=True, rng=np.random.default_rng(seed))
        on_fake = net.forward(theta, fake, train=True, rng=np.random.default_rng(seed))
        return on_real, on_fake, loss(on_real[0], on_fake[0])

    (_, cache_real), (_, cache_fake), (_, d_real, d_fake) = forward()
    grads = theta.gradients()
    dx_real = net.backward(theta, d_real, cache_real, grads)
    dx_fake = net.backward(theta, d_fake, cache_fake, grads)
    claims = {name: (theta[name], grads[name]) for name in grads}
    claims |= {"real": (real, dx_real), "fake": (fake, dx_fake)}
    return Problem(f"{recipe.name}, narrow: discriminator", lambda: float(forward()[2][0]), claims)


def _generator_problem(
    recipe: Checked,
    g_net: nn.Layer,
    theta_g: nn.Params,
    d_net: nn.Layer,
    theta_d: nn.Params,
    z: Array,
    seed: int,
) -> Problem:
    loss = recipe.game().loss.generator

    def forward() -> tuple:
        fake, cache_g = g_net.forward(theta_g, z, train=True, rng=np.random.default_rng(seed))
        logits, cache_d = d_net.forward(theta_d, fake, train=True, rng=np.random.default_rng(seed))
        return cache_g, cache_d, loss(logits)

    cache_g, cache_d, (_, d_fake) = forward()
    grads = theta_g.gradients()
    dx = d_net.backward(theta_d, d_fake, cache_d, None)
    dz = g_net.backward(theta_g, dx, cache_g, grads)
    claims = {name: (theta_g[name], grads[name]) for name in grads} | {"z": (z, dz)}
    return Problem(f"{recipe.name}, narrow: generator through D", lambda: float(forward()[2][0]), claims)


def _smooth(layer: nn.Layer) -> nn.Layer:
    """A network with softplus in the place of rectifiers, which have kinks."""
    if isinstance(layer, nn.Sequential):
        return layer.replaced(_smooth)
    return nn.Softplus() if isinstance(layer, nn.ReLU | nn.LeakyReLU) else layer


def _draw_away_from_kinks(case: LayerCase, device: Device, seed: int) -> tuple[np.random.Generator, nn.Params, Array]:
    """Random parameters and inputs for which no kinked activation is within MARGIN of its kink."""
    for attempt in range(1000):
        rng = np.random.default_rng([seed, attempt])
        theta = nn.init_params(case.layer, case.in_shape, rng, dtype=np.float64, device=device)
        _jitter(theta, rng)
        x = device.put(rng.normal(size=(BATCH, *case.in_shape)))
        if _distance_to_kinks(case.layer, theta, x, case.train, seed) > MARGIN:
            return rng, theta, x
    raise RuntimeError(f"no input away from all kinks found for {case.name}")


def _jitter(theta: nn.Params, rng: np.random.Generator) -> None:
    """Move every number, so that no gain is exactly 1 and no bias exactly 0; keep variances positive."""
    theta.flat += put_like(rng.uniform(-0.3, 0.3, theta.flat.shape), theta.flat)


def _away_from(rng: np.random.Generator, shape: Shape, kinks: list[float]) -> np.ndarray:
    x = rng.normal(size=shape)
    for kink in kinks:
        x = np.where(abs(x - kink) < MARGIN, kink + 2 * MARGIN, x)
    return x


def _distance_to_kinks(layer: nn.Layer, theta: nn.Views, x: Array, train: bool, seed: int) -> float:
    """The smallest distance of any input of a kinked activation to its kink."""
    if not isinstance(layer, nn.Sequential):
        return _distance(layer, x)
    nearest = math.inf
    for _, inner, y, _ in layer.trace(theta, x, train=train, rng=np.random.default_rng(seed)):
        nearest, x = min(nearest, _distance(inner, x)), y
    return nearest


def _distance(layer: nn.Layer, x: Array) -> float:
    if isinstance(layer, nn.ReLU | nn.LeakyReLU | nn.ELU):
        return float(abs(x).min())
    if isinstance(layer, nn.Maxout):
        return _smallest_lead(to_host(x).reshape(len(x), -1, layer.pieces))
    if isinstance(layer, nn.MaxPool):
        windows = ops.patches(x, nn.pair(layer.kernel), layer.geometry(x.shape[1:3]), border=-math.inf)
        return _smallest_lead(to_host(windows.reshape(*windows.shape[:3], -1, x.shape[3]).swapaxes(3, 4)))
    return math.inf


def _smallest_lead(groups: np.ndarray) -> float:
    """The smallest distance between the two largest of a group: a kink where they are equal."""
    if groups.shape[-1] == 1:
        return math.inf
    ordered = np.sort(groups, axis=-1)
    return float((ordered[..., -1] - ordered[..., -2]).min())
