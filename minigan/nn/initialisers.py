"""How weights start: each initialiser draws an array on the host, ``init(rng, shape)``.

Weights have shape (I, O) or (kh, kw, I, O). fan_in is the number of inputs that one output
sums over, I * kh * kw (of a group: I is that of one); fan_out is O * kh * kw (of all groups, as in PyTorch). Strides
are not counted.
"""

import math
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from minigan.typing import Shape


class Initialiser(Protocol):
    """Anything that draws an array of a given shape."""

    def __call__(self, rng: np.random.Generator, shape: Shape) -> np.ndarray: ...


def fans(shape: Shape) -> tuple[int, int]:
    """(fan_in, fan_out) of a weight array."""
    window = math.prod(shape[:-2])
    return shape[-2] * window, shape[-1] * window


@dataclass(frozen=True)
class Constant:
    """The same value everywhere."""

    value: float = 0.0

    def __call__(self, rng: np.random.Generator, shape: Shape) -> np.ndarray:
        return np.full(shape, self.value)


@dataclass(frozen=True, eq=False)
class Values:
    """Given values, for instance a bias computed from the data: of the shape that is asked for, or flat.

    Weights of a transposed convolution are asked for as those of a convolution from its input: (kh, kw, I/groups, O).
    Raises ValueError for another shape.
    """

    array: np.ndarray

    def __call__(self, rng: np.random.Generator, shape: Shape) -> np.ndarray:
        if self.array.ndim != 1 and self.array.shape != shape:
            raise ValueError(f"Values are asked for in the shape {shape}, they have {self.array.shape}")
        return self.array.reshape(shape)


@dataclass(frozen=True)
class Normal:
    """N(mean, std^2)."""

    std: float
    mean: float = 0.0

    def __call__(self, rng: np.random.Generator, shape: Shape) -> np.ndarray:
        return rng.normal(self.mean, self.std, shape)


@dataclass(frozen=True)
class Uniform:
    """U(-bound, bound)."""

    bound: float

    def __call__(self, rng: np.random.Generator, shape: Shape) -> np.ndarray:
        return rng.uniform(-self.bound, self.bound, shape)


@dataclass(frozen=True)
class GlorotUniform:
    """U(-a, a) with a = gain sqrt(6 / (fan_in + fan_out)) (Glorot & Bengio 2010, eq. 16)."""

    gain: float = 1.0

    def __call__(self, rng: np.random.Generator, shape: Shape) -> np.ndarray:
        return Uniform(self.gain * math.sqrt(6 / sum(fans(shape))))(rng, shape)


@dataclass(frozen=True)
class HeNormal:
    """N(0, 2 / fan_in): keeps the variance through rectifiers (He et al. 2015, eq. 10)."""

    def __call__(self, rng: np.random.Generator, shape: Shape) -> np.ndarray:
        return Normal(math.sqrt(2 / fans(shape)[0]))(rng, shape)


@dataclass(frozen=True)
class FanInUniform:
    """U(-a, a) with a = 1 / sqrt(fan_in): what PyTorch gives to linear and convolution layers.

    A bias cannot tell the fan-in of its weights from its own shape: give it as `fan_in`.
    """

    fan_in: int | None = None

    def __call__(self, rng: np.random.Generator, shape: Shape) -> np.ndarray:
        return Uniform(1 / math.sqrt(self.fan_in or fans(shape)[0]))(rng, shape)


@dataclass(frozen=True)
class Orthogonal:
    """A random matrix with orthonormal rows, or columns if these are fewer, times `gain` (Saxe et al. 2014).

    x w is as long as x, times the gain, if there are at least as many outputs as inputs; else it is the length of a
    projection. The matrix of a kernel has its windows as rows and its outputs as columns.
    """

    gain: float = 1.0

    def __call__(self, rng: np.random.Generator, shape: Shape) -> np.ndarray:
        rows, columns = math.prod(shape[:-1]), shape[-1]
        q, r = np.linalg.qr(rng.standard_normal((max(rows, columns), min(rows, columns))))
        q *= np.sign(np.diag(r))  # so that all are equally likely (Mezzadri 2007)
        return (self.gain * (q if rows >= columns else q.T)).reshape(shape)
