"""Update rules on a GPU: one launch for all parameters of a network (updates.cu).

Coefficients that change from update to update lie on the GPU; those that are numbers are put there first.
"""

from collections.abc import Callable, Sequence
from typing import Any

from minigan.backend import array_module, expect_shape
from minigan.cuda.launch import launch_each
from minigan.cuda.layout import contiguous
from minigan.typing import Array

Coefficient = Array | float


def in_pieces(first: Array, *others: Array, change: Callable[..., None]) -> None:
    """See `minigan.ops.in_pieces`; if the change is by an update rule with a kernel of its own, in one launch."""
    rule = RULES.get(getattr(change, "rule_name", ""))
    if rule is None:
        change(first, *others)
    else:
        for other in others:
            expect_shape("a vector", other, first.shape)
        rule(change, first, *others)


def _sgd(change: Any, theta: Array, g: Array) -> None:
    _launch("sgd", theta, g, *_on_device(change, theta))


def _momentum(change: Any, theta: Array, g: Array, velocity: Array) -> None:
    _launch("momentum", theta, g, velocity, *_on_device(change, theta))


def _rmsprop(change: Any, theta: Array, g: Array, v: Array) -> None:
    real, rule = theta.dtype.type, change.optimiser
    constants = real(rule.rho), real(1 - rule.rho), real(rule.eps)
    _launch("rmsprop", theta, g, v, *_on_device(change, theta), *constants)


def _adam(change: Any, theta: Array, g: Array, *moments: Array) -> None:
    real, rule, named = theta.dtype.type, change.optimiser, dict(zip(change.names, moments, strict=True))
    constants = [real(each) for each in (rule.beta1, 1 - rule.beta1, rule.beta2, 1 - rule.beta2, rule.eps)]
    _launch("adam", theta, g, named["m"], named["v"], *_on_device(change, theta), *constants)


# By the `rule_name` of a change.
RULES: dict[str, Callable[..., None]] = {"SGD": _sgd, "Momentum": _momentum, "RMSprop": _rmsprop, "Adam": _adam}


def move_average(average: Array, theta: Array, coefficients: Sequence[Coefficient]) -> None:
    """See `minigan.ops.move_average`."""
    expect_shape("theta", theta, average.shape)
    _launch("move_average", average, contiguous(theta), *(_array(each, theta) for each in coefficients))


def _on_device(change: Any, like: Array) -> list[Array]:
    return [_array(each, like) for each in change.coefficients]


def _array(coefficient: Coefficient, like: Array) -> Array:
    """A number travels with the launch of the kernel that writes it: nothing waits."""
    if isinstance(coefficient, int | float):
        return array_module(like).full((), coefficient, like.dtype)
    return coefficient


def _launch(kernel: str, theta: Array, *others: Any) -> None:
    launch_each("updates", kernel, theta, *others, n=theta.size)
