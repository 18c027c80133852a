"""Batch normalisation of several batches in one array; see functional.ghost_batchnorm for the mathematics."""

from dataclasses import dataclass, replace
from functools import partial

from minigan import ops
from minigan.nn.activations import LeakyReLU, ReLU
from minigan.nn.batchnorm import BatchNorm, BatchNormLeaky, settings
from minigan.nn.layer import Cache, Layer
from minigan.nn.params import Grads, Views
from minigan.nn.sequential import Sequential
from minigan.nn.sync_batchnorm import SyncBatchNorm
from minigan.typing import Array, Rng


@dataclass(frozen=True, kw_only=True)
class GhostBatchNorm(BatchNorm):
    """Batch normalisation of so many equal parts of a batch, one after the other, each by its own statistics.

    `slope`: of the rectifier behind it; 1 is none. In training a batch must be a multiple of `parts` (ValueError);
    inference has one set of running statistics, so any batch will do, and without them goes by parts as well.
    Not exported to ONNX or PyTorch, which have no
    such layer: export the network with BatchNorm, whose parameters are the same.
    """

    parts: int
    slope: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.parts < 1:
            raise ValueError(f"a batch has at least one part, got {self.parts}")

    def forward(self, theta: Views, x: Array, *, train: bool, rng: Rng = None) -> tuple[Array, Cache]:
        if not self.by_batch(train):
            return self._whole().forward(theta, x, train=False)
        return ops.ghost_batchnorm(x, *self.gain(theta, x), self.eps, self.slope, self.parts)

    def backward(self, theta: Views, dy: Array, cache: Cache, grads: Grads, *, need_dx: bool = True) -> Array:
        if isinstance(cache, ops.BatchNormLeakyCache):  # of inference
            return self._whole().backward(theta, dy, cache, grads, need_dx=need_dx)
        dx, *gradients = ops.ghost_batchnorm_backward(dy, self.gain(theta, dy)[0], cache, self.slope)
        self.add(gradients, grads)
        return dx if need_dx else None

    double_backward = Layer.double_backward  # there is none: penalties take one batch at a time
    grads_double_backward = Layer.grads_double_backward

    def update_statistics(self, theta: Views, cache: Cache) -> None:
        if isinstance(cache, ops.BatchNormLeakyCache):
            self._whole().update_statistics(theta, cache)  # raises
        if self.track_running_stats:
            ops.update_ghost_statistics(theta["mean"], theta["var"], cache, self.momentum)

    def fused(self, after: Layer) -> Layer | None:
        if self.slope != 1 or not isinstance(after, ReLU | LeakyReLU):
            return None
        return replace(self, slope=0.0 if isinstance(after, ReLU) else after.slope)

    def _whole(self) -> BatchNormLeaky:
        """What uses running statistics, of which there is one set."""
        return BatchNormLeaky(BatchNorm(**settings(self)), self.slope)


def takes_parts(net: Layer) -> bool:
    """Whether `in_parts` knows a way for every layer that mixes samples, or measures them."""
    if isinstance(net, Sequential):
        return all(map(takes_parts, net.layers))
    return type(net) in (BatchNorm, GhostBatchNorm) or not (net.mixes_samples or net.measures_batches)


def in_parts(net: Layer, parts: int) -> Layer:
    """The network for so many batches in one array: it computes what it would for each alone, dropout aside.

    Each of them may have parts of its own already. Parameters keep their names. Raises ValueError where processes share
    the batches, and for another layer that mixes samples or measures them.
    """
    if isinstance(net, Sequential):
        return net.replaced(partial(in_parts, parts=parts))
    if isinstance(net, SyncBatchNorm):
        raise ValueError("a batch that processes share cannot be one of several in an array")
    if isinstance(net, GhostBatchNorm):
        return replace(net, parts=parts * net.parts)
    if not takes_parts(net):
        raise ValueError(f"a {type(net).__name__} mixes or measures the samples of several batches in a way of its own")
    if isinstance(net, BatchNorm):
        return GhostBatchNorm(**settings(net), parts=parts)
    return net
