"""Batch normalisation as a layer; see functional.batchnorm for the mathematics."""

from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from minigan import ops
from minigan.backend import array_module
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
    0; with affine=False there are none, gamma is 1 and beta 0. With track_running_stats=False there are no running
    statistics, and the batch's own are used with train=False too: what comes out for a sample depends on those beside
    it. Raises ValueError for eps that is not positive and for a momentum outside of [0, 1], and for a batch of one
    number a channel where its statistics are used.
    """

    eps: float = 1e-5
    momentum: float = 0.1
    gamma_init: Initialiser = Constant(1.0)
    affine: bool = True
    track_running_stats: bool = True

    def __post_init__(self) -> None:
        if self.eps <= 0 or not 0 <= self.momentum <= 1:
            raise ValueError(f"batch normalisation needs eps > 0 and momentum in [0, 1], got {self}")

    @property
    def mixes_samples(self) -> bool:
        return True

    @property
    def measures_batches(self) -> bool:
        return self.track_running_stats

    def param_shapes(self, in_shape: Shape) -> dict[str, Shape]:
        return {"gamma": in_shape[-1:], "beta": in_shape[-1:]} if self.affine else {}

    def statistic_shapes(self, in_shape: Shape) -> dict[str, Shape]:
        return {"mean": in_shape[-1:], "var": in_shape[-1:]} if self.track_running_stats else {}

    def init(self, theta: Views, rng: np.random.Generator) -> None:
        if self.affine:
            theta["gamma"] = self.gamma_init(rng, theta["gamma"].shape)
        if self.track_running_stats:
            theta["var"] = 1.0

    def by_batch(self, train: bool) -> bool:
        """Whether forward takes the statistics of the batch, and no running ones."""
        return train or not self.track_running_stats

    def gain(self, theta: Views, x: Array) -> tuple[Array, Array]:
        """gamma and beta for x, (C,) each."""
        if self.affine:
            return theta["gamma"], theta["beta"]
        xp, channels = array_module(x), x.shape[-1]
        return xp.ones(channels, x.dtype), xp.zeros(channels, x.dtype)

    def forward(self, theta: Views, x: Array, *, train: bool, rng: Rng = None) -> tuple[Array, Cache]:
        gamma, beta = self.gain(theta, x)
        if self.by_batch(train):
            return ops.batchnorm(x, gamma, beta, self.eps)
        return ops.batchnorm_inference(x, gamma, beta, theta["mean"], theta["var"], self.eps)

    def backward(self, theta: Views, dy: Array, cache: Cache, grads: Grads, *, need_dx: bool = True) -> Array:
        dx, *gradients = self.gradients(dy, self.gain(theta, dy)[0], cache)
        self.add(gradients, grads)
        return dx if need_dx else None

    def add(self, gradients: list[Array], grads: Grads) -> None:
        """Add dgamma and dbeta to those of the passes before, if they are parameters."""
        if grads is not None and self.affine:
            dgamma, dbeta = gradients
            ops.add_gradients(dgamma, dbeta, grads["gamma"], grads["beta"])

    def gradients(self, dy: Array, gamma: Array, cache: Cache) -> tuple[Array, Array, Array]:
        """dx, dgamma, dbeta, in the mode of the forward pass that made `cache`."""
        constant = isinstance(cache, ops.BatchNormInferenceCache)
        return (ops.batchnorm_inference_backward if constant else ops.batchnorm_backward)(dy, gamma, cache)

    def double_backward(
        self, theta: Views, ddx: Array, dy: Array, cache: Cache, grads: Grads
    ) -> tuple[Array, Array | None]:
        through_x, gamma = None, self.gain(theta, dy)[0]
        if isinstance(cache, ops.BatchNormInferenceCache):
            ddy, dgamma = ops.batchnorm_inference_double_backward(ddx, dy, gamma, cache)
        else:
            ddy, through_x, dgamma = ops.batchnorm_double_backward(ddx, dy, gamma, cache, self.mean_rows)
        if grads is not None and self.affine:
            total = grads["gamma"]
            total += dgamma
        return ddy, through_x

    def grads_double_backward(
        self, theta: Views, ddtheta: Views, dy: Array, cache: Cache, grads: Grads
    ) -> tuple[Array | None, Array | None]:
        if not self.affine:
            return None, None
        ddy = (cache.x_hat * ddtheta["gamma"] + ddtheta["beta"]).reshape(dy.shape)  # forward, with another gain
        return ddy, self.gradients(dy, ddtheta["gamma"], cache)[0]  # and backward

    def mean_rows(self, rows: Array) -> Array:
        """Mean (C,) of the rows (R, C) of a batch."""
        return ops.mean_rows(rows)

    def update_statistics(self, theta: Views, cache: Cache) -> None:
        if not self.track_running_stats:
            return
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
        if self.norm.by_batch(train):
            return ops.batchnorm_leaky(x, *self.norm.gain(theta, x), self.norm.eps, self.slope)
        a, norm = self.norm.forward(theta, x, train=False)
        y, activation = ops.leaky_relu(a, self.slope)
        return y, ops.BatchNormLeakyCache(norm, activation)

    def backward(self, theta: Views, dy: Array, cache: Cache, grads: Grads, *, need_dx: bool = True) -> Array:
        dx, *gradients = self._gradients(dy, self.norm.gain(theta, dy)[0], cache)
        self.norm.add(gradients, grads)
        return dx if need_dx else None

    def _gradients(self, dy: Array, gamma: Array, cache: Cache) -> tuple[Array, Array, Array]:
        if isinstance(cache.norm, ops.BatchNormInferenceCache):
            return self.norm.gradients(ops.leaky_relu_backward(dy, cache.activation, self.slope), gamma, cache.norm)
        return ops.batchnorm_leaky_backward(dy, gamma, cache, self.slope)

    def update_statistics(self, theta: Views, cache: Cache) -> None:
        self.norm.update_statistics(theta, cache.norm)


def settings(norm: BatchNorm) -> dict[str, Any]:
    """By name, those that every kind of BatchNorm has."""
    return {field.name: getattr(norm, field.name) for field in fields(BatchNorm)}
