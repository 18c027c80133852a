"""The losses of the two players on a GPU, each with its gradient, and what is measured: a launch each (losses.cu)."""

from typing import Any

import numpy as np

from minigan.backend import array_module, expect_shape
from minigan.cuda.aside import aside
from minigan.cuda.launch import launch, launch_each
from minigan.cuda.layout import contiguous, empty_like
from minigan.functional.gan_losses import BothLosses
from minigan.typing import Array

THREADS = 256  # of the only block


def discriminator_bce(
    real: Array, fake: Array, smoothing: float = 0.0, scale: float = 1.0
) -> tuple[Array, Array, Array]:
    """See `minigan.functional.gan_losses.discriminator_bce`."""
    real, fake, number = contiguous(real), contiguous(fake), real.dtype.type
    both = array_module(real).empty((real.size + fake.size,), real.dtype)  # one behind the other: see `concatenate`
    dreal, dfake = both[: real.size].reshape(real.shape), both[real.size :].reshape(fake.shape)
    loss = _zero_d(real)
    sizes = np.int64(real.size), np.int64(fake.size)
    _launch("discriminator_bce", real, fake, number(smoothing), number(scale), dreal, dfake, loss, *sizes)
    return loss, dreal, dfake


def both_bce(logits: Array, n: int, smoothing: float = 0.0, scale: float = 1.0, saturating: bool = False) -> BothLosses:
    """See `minigan.ops.both_bce`; all of it in one launch."""
    xp, number, first = array_module(logits), logits.dtype.type, logits[:n].size
    logits, found = contiguous(logits), xp.empty((4,), logits.dtype)
    dlogits, ratio = empty_like(logits), empty_like(logits[n:])
    numbers = number(smoothing), number(scale), np.bool_(saturating)
    _launch("both_bce", logits, *numbers, dlogits, ratio, found, np.int64(first), np.int64(logits.size - first))
    return BothLosses(found[0], found[1], found[2], found[3], dlogits, ratio)


def generator_minimax(fake: Array) -> tuple[Array, Array]:
    """See `minigan.functional.gan_losses.generator_minimax`."""
    return _generator("generator_minimax", fake)


def generator_non_saturating(fake: Array) -> tuple[Array, Array]:
    """See `minigan.functional.gan_losses.generator_non_saturating`."""
    return _generator("generator_non_saturating", fake)


def mean_probability(logits: Array) -> Array:
    """See `minigan.functional.gan_losses.mean_probability`; maybe aside, as nobody waits for it."""
    with aside(logits):
        mean = _zero_d(logits)
        _launch("mean_probability", contiguous(logits), mean, np.int64(logits.size))
    return mean


def safe_quotient(a: Array, b: Array) -> tuple[Array, Array]:
    """See `minigan.functional.gan_losses.safe_quotient`."""
    expect_shape("a", a, b.shape)
    a, b = contiguous(a), contiguous(b)
    divisor, quotient = empty_like(b), empty_like(b)
    launch_each("losses", "safe_quotient", a, b, divisor, quotient, n=b.size)
    return divisor, quotient


def _generator(kernel: str, fake: Array) -> tuple[Array, Array]:
    fake = contiguous(fake)
    loss, dfake = _zero_d(fake), empty_like(fake)
    _launch(kernel, fake, dfake, loss, np.int64(fake.size))
    return loss, dfake


def _zero_d(like: Array) -> Array:
    return array_module(like).empty((), like.dtype)


def _launch(kernel: str, *arguments: Any) -> None:
    launch("losses", kernel, (1,), (THREADS,), *arguments)
