"""Batch normalisation as a layer; see functional.batchnorm for the mathematics."""

from dataclasses import dataclass

import numpy as np

from minigan import ops
from minigan.nn.activations import LeakyReLU, ReLU
from minigan.nn.initialisers import Constant, Initialiser
from minigan.nn.layer import Cache, Layer
from minigan.nn.params import Grads, Views
from minigan.typing import Array, Rng, Shape


@dataclass(frozen=True)
class BatchNorm(Layer):
    """Batch normalisation over the last axis: of each feature of a vector, of each channel of an image (Ioffe & Szegedy
    2015): y = gamma (x - mean) / sqrt(var + eps) + beta, with the statistics of the batch, or with train=False the
    running ones.

    momentum: the weight of a new batch in the running statistics. gamma (C,) starts as `gamma_init` says, beta (C,) at
    0. Raises ValueError for eps that is not positive and for a momentum outside of [0, 1], and in training for a batch
    of one number a channel.
    """

    eps: float = 1e-5
    momentum: float = 0.1
    gamma_init: Initialiser = Constant(1.0)

    def __post_init__(self) -> None:
        if self.eps <= 0 or not 0 <= self.momentum <= 1:
            raise ValueError(f"batch normalisation needs eps > 0 and momentum in [0, 1], got {self}")

    @property
    def mixes_samples(self) -> bool:
        return True

    def param_shapes(self, in_shape: Shape) -> dict[str, Shape]:
        return {"gamma": in_shape[-1:], "beta": in_shape[-1:]}

    def statistic_shapes(self, in_shape: Shape) -> dict[str, Shape]:
        return {"mean": in_shape[-1:], "var": in_shape[-1:]}

    def init(self, theta: Views, rng: np.random.Generator) -> None:
        theta["gamma"] = self.gamma_init(rng, theta["gamma"].shape)
        theta["var"] = 1.0

    def forward(self, theta: Views, x: Array, *, train: bool, rng: Rng = None) -> tuple[Array, Cache]:
        gamma, beta = theta["gamma"], theta["beta"]
        if train:
            return ops.batchnorm(x, gamma, beta, self.eps)
        return ops.batchnorm_inference(x, gamma, beta, theta["mean"], theta["var"], self.eps)

    def backward(self, theta: Views, dy: Array, cache: Cache, grads: Grads, *, need_dx: bool = True) -> Array:
        dx, *gradients = self.gradients(dy, theta["gamma"], cache)
        add(gradients, grads)
        return dx if need_dx else None

    def gradients(self, dy: Array, gamma: Array, cache: Cache) -> tuple[Array, Array, Array]:
        """dx, dgamma, dbeta, in the mode of the forward pass that made `cache`."""
        constant = isinstance(cache, ops.BatchNormInferenceCache)
        return (ops.batchnorm_inference_backward if constant else ops.batchnorm_backward)(dy, gamma, cache)

    def double_backward(
        self, theta: Views, ddx: Array, dy: Array, cache: Cache, grads: Grads
    ) -> tuple[Array, Array | None]:
        through_x = None
        if isinstance(cache, ops.BatchNormInferenceCache):
            ddy, dgamma = ops.batchnorm_inference_double_backward(ddx, dy, theta["gamma"], cache)
        else:
            ddy, through_x, dgamma = ops.batchnorm_double_backward(ddx, dy, theta["gamma"], cache, self.mean_rows)
        if grads is not None:
            total = grads["gamma"]
            total += dgamma
        return ddy, through_x

    def mean_rows(self, rows: Array) -> Array:
        """Mean (C,) of the rows (R, C) of a batch."""
        return ops.mean_rows(rows)

    def update_statistics(self, theta: Views, cache: Cache) -> None:
        if isinstance(cache, ops.BatchNormInferenceCache):
            raise ValueError("running statistics are moved by a batch in training, not by one with train=False")
        ops.update_running_statistics(theta["mean"], theta["var"], cache, self.momentum)

    def fused(self, after: Layer) -> Layer | None:
        if isinstance(after, ReLU):
            return BatchNormLeaky(self, 0.0)
        return BatchNormLeaky(self, after.slope) if isinstance(after, LeakyReLU) else None


@dataclass(frozen=True)
class BatchNormLeaky(Layer):
    """BatchNorm and the rectifier after it in one operation: what a `Sequential` of the two computes."""

    norm: BatchNorm
    slope: float

    def forward(self, theta: Views, x: Array, *, train: bool, rng: Rng = None) -> tuple[Array, Cache]:
        if train:
            return ops.batchnorm_leaky(x, theta["gamma"], theta["beta"], self.norm.eps, self.slope)
        a, norm = self.norm.forward(theta, x, train=False)
        y, activation = ops.leaky_relu(a, self.slope)
        return y, ops.BatchNormLeakyCache(norm, activation)

    def backward(self, theta: Views, dy: Array, cache: Cache, grads: Grads, *, need_dx: bool = True) -> Array:
        dx, *gradients = self._gradients(dy, theta["gamma"], cache)
        add(gradients, grads)
        return dx if need_dx else None

    def _gradients(self, dy: Array, gamma: Array, cache: Cache) -> tuple[Array, Array, Array]:
        if isinstance(cache.norm, ops.BatchNormInferenceCache):
            return self.norm.gradients(ops.leaky_relu_backward(dy, cache.activation, self.slope), gamma, cache.norm)
        return ops.batchnorm_leaky_backward(dy, gamma, cache, self.slope)

    def update_statistics(self, theta: Views, cache: Cache) -> None:
        self.norm.update_statistics(theta, cache.norm)


def add(gradients: list[Array], grads: Grads) -> None:
    """Add dgamma and dbeta to those of the passes before."""
    if grads is not None:
        dgamma, dbeta = gradients
        ops.add_gradients(dgamma, dbeta, grads["gamma"], grads["beta"])
