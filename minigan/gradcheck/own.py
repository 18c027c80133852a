"""A layer of your own in one call: its gradients, and what `minigan.nn.layer` asks of every layer; or a loss."""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from minigan import nn
from minigan.games import GANLoss
from minigan.gradcheck.cases import BATCH, LayerCase, layer_problem, twice_problem
from minigan.gradcheck.method import Problem, Row, check
from minigan.typing import Array, Shape

ROUNDING = 1e-3  # of the largest number: far above that of float32 in a sum of a few
FLOOR = 3e-4  # with upstream gradients of about 1: smaller numbers may be what rounding leaves of larger ones


class BrokenPromise(AssertionError):
    """A layer does not do what every layer promises, or a loss; the message lists all that is wrong."""


def check_layer(layer: nn.Layer, in_shape: Shape, *, train: bool = True, seed: int = 0) -> list[Row]:
    """The worst error of each gradient of a layer, for random inputs and an upstream gradient of random numbers; and of
    each second gradient, of a layer that has a double_backward.

    Parameters: the shape of one sample; the mode; the seed of all numbers. Where a layer has a kink, as max(x, 0) has,
    an input may lie on it by chance, and another seed then gives another error. Raises BrokenPromise if the layer keeps
    something between calls, changes what it is given, gives other shapes or precisions than it says, other numbers in
    float32 than in float64 (by more than 3e-4 and a thousandth of the largest), mixes samples without saying so, has
    statistics and does not move them, or takes another number of random numbers. A layer that computes something else
    in inference is checked with train=False as well.
    """
    if broken := list(broken_promises(layer, in_shape, train, seed)):
        raise BrokenPromise(f"{type(layer).__name__}: {'; '.join(broken)}")
    case = LayerCase(type(layer).__name__, layer, in_shape, train)
    rows = check(layer_problem(case, seed=seed))
    return rows if nn.without_second_gradient(layer) else rows + check(twice_problem(case, seed=seed))


def check_loss(loss: GANLoss, logits: Shape = (1,), *, seed: int = 0) -> list[Row]:
    """The worst error of each gradient of a loss for both players, for random logits of that shape for a sample.

    D's loss sees more generated samples than real ones, so that exchanging them is noticed, and each loss is a mean,
    the same for samples that come twice. Of a loss with a double_backward also the gradients of its gradients. Raises
    BrokenPromise if it is not, if it is no array without axes, or if a gradient has another shape or precision than the
    logits.
    """
    rng = np.random.default_rng(seed)
    real, fake, ddreal, ddfake = (rng.normal(size=(BATCH + more, *logits)) for more in (0, 1, 0, 1))
    rows = _check_player("discriminator", loss.discriminator, {"real": real, "fake": fake})
    rows += _check_player("generator", loss.generator, {"fake": fake})
    if loss.double_backward is None:
        return rows

    def value() -> float:
        _, dreal, dfake = loss.discriminator(real, fake)
        return float((dreal * ddreal).sum() + (dfake * ddfake).sum())

    on_real, on_fake = loss.double_backward(ddreal, ddfake, real, fake)
    return rows + check(Problem("discriminator, twice", value, {"real": (real, on_real), "fake": (fake, on_fake)}))


def _check_player(player: str, loss: Callable[..., tuple[Array, ...]], logits: dict[str, Array]) -> list[Row]:
    value, *gradients = loss(*logits.values())
    claims = dict(zip(logits, zip(logits.values(), gradients, strict=True), strict=True))
    wrong = [] if np.ndim(value) == 0 else [f"the loss has the shape {np.shape(value)}, not that of a number"]
    for name, (array, gradient) in claims.items():
        if gradient.shape != array.shape or gradient.dtype != array.dtype:
            wrong.append(
                f"the gradient on {name} is {gradient.dtype} {gradient.shape}, not {array.dtype} {array.shape}"
            )
    if not wrong:
        twice = loss(*(np.concatenate([array, array]) for array in logits.values()))[0]
        wrong += (
            [] if np.isclose(twice, value, rtol=1e-12) else ["it is no mean: of samples that come twice it is another"]
        )
    if wrong:
        raise BrokenPromise(f"loss of the {player}: {'; '.join(wrong)}")
    return check(Problem(player, lambda: float(loss(*logits.values())[0]), claims))


def broken_promises(layer: nn.Layer, in_shape: Shape, train: bool, seed: int) -> Iterator[str]:
    """What is wrong, one thing after the other."""
    theta = nn.init_params(layer, in_shape, np.random.default_rng(seed))
    draw = np.random.default_rng([seed, 1])
    x, other = draw.standard_normal((2, BATCH, *in_shape), dtype=np.float32)
    before = [x.copy(), theta.flat.copy()]
    y, cache = _forward(layer, theta, x, train, seed)
    dy = draw.standard_normal(y.shape, dtype=np.float32)
    before.append(dy.copy())
    yield from _shapes(layer, in_shape, theta, y, dy, cache)
    dx, gradients = _backward(layer, theta, dy, cache)
    _forward(layer, theta, other, train, seed)
    if not _same(_backward(layer, theta, dy, cache), (dx, gradients)):
        yield "backward gives something else after another forward pass: what it needs belongs into the cache"
    for name, array, was in zip(("x", "the parameters", "dy"), (x, theta.flat, dy), before, strict=True):
        if not np.array_equal(array, was):
            yield f"{name} was changed"
    if not _same([layer.backward(theta, dy, cache, None)], [dx]):
        yield "without a place for gradients (grads=None), backward gives another dx"
    alone = theta.gradients()
    if layer.backward(theta, dy, cache, alone, need_dx=False) is not None:
        yield "with need_dx=False, backward returns a gradient"
    if not _same([alone.flat], [gradients]):
        yield "with need_dx=False, backward gives other gradients of the parameters"
    if train and not layer.mixes_samples and any(_depend(layer, theta, x, other, y, n, seed) for n in range(BATCH)):
        yield "the output for one sample depends on the others, and mixes_samples says that it does not"
    yield from _precisions(layer, theta, x, dy, train, seed)
    if not nn.without_second_gradient(layer):
        yield from _second_gradients(layer.unfused(), theta, x, dy, train, seed)
    if train and layer.statistic_shapes(in_shape):
        yield from _statistics(layer, theta, cache)
    if train:
        yield from _random_numbers(layer, in_shape, theta, x, seed)


def _shapes(layer: nn.Layer, in_shape: Shape, theta: nn.Params, y: Array, dy: Array, cache: Any) -> Iterator[str]:
    if y.shape != (BATCH, *layer.out_shape(in_shape)):
        yield f"the output has shape {y.shape}, and out_shape says {('N', *layer.out_shape(in_shape))}"
    dx, gradients = _backward(layer, theta, dy, cache)
    if dx is None:
        raise BrokenPromise(f"{type(layer).__name__}: backward returns no gradient on the input")
    if dx.shape != (BATCH, *in_shape):
        yield f"dx has shape {dx.shape} for inputs of {(BATCH, *in_shape)}"
    for name, array in (("the output", y), ("dx", dx), ("the gradient", gradients)):
        if array.dtype != np.float32:
            yield f"{name} is {array.dtype} where everything is float32 (a NumPy number, such as np.sqrt(2), does that)"


def _depend(layer: nn.Layer, theta: nn.Params, x: Array, other: Array, y: Array, n: int, seed: int) -> bool:
    """Whether any output but that of sample n changes with it."""
    changed = x.copy()
    changed[n] = other[n]
    there = _forward(layer, theta, changed, True, seed)[0]
    return not _same([np.delete(there, n, axis=0)], [np.delete(y, n, axis=0)])


def _precisions(layer: nn.Layer, theta: nn.Params, x: Array, dy: Array, train: bool, seed: int) -> Iterator[str]:
    """The difference quotients look at float64 alone."""
    exact = nn.init_params(layer, x.shape[1:], np.random.default_rng(seed), dtype=np.float64)
    exact.flat[...] = theta.flat

    def all_of(theta: nn.Params, x: Array, dy: Array) -> tuple[Array, Array, Array]:
        y, cache = _forward(layer, theta, x, train, seed)
        return y, *_backward(layer, theta, dy, cache)

    both = zip(all_of(theta, x, dy), all_of(exact, x.astype(np.float64), dy.astype(np.float64)), strict=True)
    for name, (ours, right) in zip(("the output", "dx", "the gradient"), both, strict=True):
        allowed = ROUNDING * abs(right).max(initial=0) + FLOOR
        if ours.shape == right.shape and abs(ours - right).max(initial=0) > allowed:
            yield f"{name} in float32 is not that in float64, beyond rounding"


def _second_gradients(layer: nn.Layer, theta: nn.Params, x: Array, dy: Array, train: bool, seed: int) -> Iterator[str]:
    _, cache = _forward(layer, theta, x, train, seed)
    _, kept = layer.input_gradient(theta, dy, cache)
    ddx = np.random.default_rng([seed, 2]).standard_normal(x.shape, dtype=np.float32)
    ddtheta = theta.gradients()
    ddtheta.flat += np.random.default_rng([seed, 3]).standard_normal(ddtheta.flat.size, dtype=np.float32)
    given = {"ddx": ddx, "ddtheta": ddtheta.flat, "dy": dy, "x": x, "the parameters": theta.flat}
    yield from _adjoint(layer, "double_backward", (theta, ddx, kept, cache, theta.gradients()), given)
    with contextlib.suppress(NotImplementedError):  # penalties do not need it
        yield from _adjoint(layer, "grads_double_backward", (theta, ddtheta, kept, cache, theta.gradients()), given)


def _adjoint(layer: nn.Layer, name: str, arguments: tuple[Any, ...], given: dict[str, Array]) -> Iterator[str]:
    """What is wrong with what one of both double backwards returns, or does to the arrays that it is given."""
    before = [array.copy() for array in given.values()]
    found = getattr(layer, name)(*arguments)
    if not (isinstance(found, tuple) and len(found) == 2):
        raise BrokenPromise(
            f"{type(layer).__name__}: {name} returns ddy and the gradient on x, or None in its place, "
            f"got {type(found).__name__}"
        )
    may_be_none = (name == "grads_double_backward", True)
    for what, array, like, none in zip(
        ("ddy", "the gradient on x"), found, (given["dy"], given["x"]), may_be_none, strict=True
    ):
        if array is None and none:
            continue
        if array is None or (array.shape, array.dtype) != (like.shape, like.dtype):
            got = "None" if array is None else f"{array.dtype} {array.shape}"
            yield f"{what} of {name} is {got}, where {like.dtype} {like.shape} is meant"
    for (what, array), was in zip(given.items(), before, strict=True):
        if not np.array_equal(array, was):
            yield f"{what} was changed by {name}"


def _statistics(layer: nn.Layer, theta: nn.Params, cache: Any) -> Iterator[str]:
    moved = theta.copy()
    layer.update_statistics(moved, cache)
    if np.array_equal(moved.flat, theta.flat):
        yield "update_statistics moves none of the statistics, which samples are drawn with (of layers inside, too)"
    elif not np.isfinite(moved.flat).all():
        yield "update_statistics makes numbers that are not finite"


def _random_numbers(layer: nn.Layer, in_shape: Shape, theta: nn.Params, x: Array, seed: int) -> Iterator[str]:
    used, told = np.random.default_rng(seed), np.random.default_rng(seed)
    layer.forward(theta, x, train=True, rng=used)
    told.random(BATCH * layer.random_numbers(in_shape), dtype=np.float32)
    if used.random() != told.random():
        yield "forward takes other random numbers than the float32 of U[0, 1) that random_numbers counts"


def _forward(layer: nn.Layer, theta: nn.Params, x: Array, train: bool, seed: int) -> tuple[Array, Any]:
    return layer.forward(theta, x, train=train, rng=np.random.default_rng(seed))


def _backward(layer: nn.Layer, theta: nn.Params, dy: Array, cache: Any) -> tuple[Array, Array]:
    """dx and the gradients of all parameters; a layer that keeps something may fail here."""
    grads = theta.gradients()
    return layer.backward(theta, dy, cache, grads), grads.flat


def _same(ours: Any, theirs: Any) -> bool:
    return all(np.array_equal(a, b) for a, b in zip(ours, theirs, strict=True))
