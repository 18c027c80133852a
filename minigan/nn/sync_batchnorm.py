"""Batch normalisation where processes share the batch; see functional.sync_batchnorm for the mathematics."""

from dataclasses import dataclass
from functools import partial

from minigan import ops
from minigan.nn.batchnorm import BatchNorm, settings
from minigan.nn.layer import Cache, Layer
from minigan.nn.params import Views
from minigan.nn.sequential import Sequential
from minigan.typing import Array, Rng


@dataclass(frozen=True, kw_only=True)
class SyncBatchNorm(BatchNorm):
    """Batch normalisation by the statistics of the parts of a batch that all processes have.

    `gather` stacks one array of each process; they all run forward and backward at the same time.
    """

    gather: ops.Gather

    def forward(self, theta: Views, x: Array, *, train: bool, rng: Rng = None) -> tuple[Array, Cache]:
        if not train:  # what one process draws, the others do not know of
            return super().forward(theta, x, train=False)
        return ops.sync_batchnorm(x, *self.gain(theta, x), self.eps, self.gather)

    def gradients(self, dy: Array, gamma: Array, cache: Cache) -> tuple[Array, Array, Array]:
        if isinstance(cache, ops.BatchNormInferenceCache):
            return super().gradients(dy, gamma, cache)
        return ops.sync_batchnorm_backward(dy, gamma, cache, self.gather)

    def mean_rows(self, rows: Array) -> Array:
        return self.gather(ops.mean_rows(rows)).mean(axis=0)  # parts are equal

    def fused(self, after: Layer) -> None:
        return None


def convert_sync_batchnorm(net: Layer, gather: ops.Gather) -> Layer:
    """The network with a SyncBatchNorm in place of each BatchNorm, under the same names.

    Raises ValueError for other layers that mix samples or measure them, which know nothing of those of other processes.
    """
    if isinstance(net, Sequential):
        return net.replaced(partial(convert_sync_batchnorm, gather=gather))
    if type(net) is BatchNorm:
        return SyncBatchNorm(**settings(net), gather=gather)
    if net.mixes_samples or net.measures_batches:
        raise ValueError(
            f"processes cannot share the batches of a {type(net).__name__}: "
            "its mixes_samples or measures_batches says that it looks at more than one sample at a time"
        )
    return net
