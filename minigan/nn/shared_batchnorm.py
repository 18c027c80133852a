"""Batch normalisation where processes share the batch; see functional.shared_batchnorm for the mathematics."""

from dataclasses import dataclass
from functools import partial

from minigan import ops
from minigan.nn.batchnorm import BatchNorm
from minigan.nn.layer import Cache, Layer
from minigan.nn.params import Grads, Views
from minigan.nn.sequential import Sequential
from minigan.typing import Array, Rng


@dataclass(frozen=True, kw_only=True)
class SharedBatchNorm(BatchNorm):
    """Batch normalisation by the statistics of the parts of a batch that all processes have.

    `gather` stacks one array of each process; they all run forward and backward at the same time.
    """

    gather: ops.Gather

    def forward(self, theta: Views, x: Array, *, train: bool, rng: Rng = None) -> tuple[Array, Cache]:
        if not train:
            return super().forward(theta, x, train=False)
        return ops.shared_batchnorm(x, theta["gamma"], theta["beta"], self.eps, self.gather)

    def backward(self, theta: Views, dy: Array, cache: Cache, grads: Grads, *, need_dx: bool = True) -> Array:
        if isinstance(cache, ops.BatchNormInferenceCache):
            return super().backward(theta, dy, cache, grads, need_dx=need_dx)
        dx, dgamma, dbeta = ops.shared_batchnorm_backward(dy, theta["gamma"], cache, self.gather)
        if grads is not None:
            grads["gamma"] += dgamma
            grads["beta"] += dbeta
        return dx if need_dx else None


def share_batchnorm(net: Layer, gather: ops.Gather) -> Layer:
    """The network with a SharedBatchNorm in place of each BatchNorm, under the same names."""
    if isinstance(net, Sequential):
        return net.replaced(partial(share_batchnorm, gather=gather))
    if isinstance(net, BatchNorm):
        return SharedBatchNorm(eps=net.eps, momentum=net.momentum, gamma_init=net.gamma_init, gather=gather)
    return net
