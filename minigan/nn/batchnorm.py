"""Batch normalisation as a layer; see functional.batchnorm for the mathematics."""

from dataclasses import dataclass

import numpy as np

from minigan import ops
from minigan.nn.initialisers import Constant, Initialiser
from minigan.nn.layer import Cache, Layer
from minigan.nn.params import Grads, Views
from minigan.typing import Array, Rng, Shape


@dataclass(frozen=True)
class BatchNorm(Layer):
    """Batch normalisation over the last axis: of each feature of a vector, of each channel of an image.

    `momentum` is the weight of a new batch in the running statistics, which `train=False` uses.
    """

    eps: float = 1e-5
    momentum: float = 0.1
    gamma_init: Initialiser = Constant(1.0)

    def __post_init__(self) -> None:
        if self.eps <= 0 or not 0 <= self.momentum <= 1:
            raise ValueError(f"batch normalisation needs eps > 0 and momentum in [0, 1], got {self}")

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
        constant = isinstance(cache, ops.BatchNormInferenceCache)
        rule = ops.batchnorm_inference_backward if constant else ops.batchnorm_backward
        dx, dgamma, dbeta = rule(dy, theta["gamma"], cache)
        if grads is not None:
            grads["gamma"] += dgamma
            grads["beta"] += dbeta
        return dx if need_dx else None

    def update_statistics(self, theta: Views, cache: Cache) -> None:
        ops.update_running_statistics(theta["mean"], theta["var"], cache, self.momentum)
