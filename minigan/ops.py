"""The door to the operations: layers, losses and update rules call ``ops.NAME``, never functional/ or kernels/.

Behind each name stands the plain version, the one to study. Within ``with fast_kernels(threads):`` the hot spots
have a faster twin for NumPy arrays, tested against the plain one; arrays of a GPU always take the plain version.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from importlib import import_module
from typing import Any, TypeVar

import numpy as np
from threadpoolctl import threadpool_limits

from minigan.functional import activations, conv, upsample
from minigan.functional import batchnorm as _batchnorm
from minigan.functional import dense as _dense
from minigan.functional import maxout as _maxout
from minigan.functional import shared_batchnorm as _shared_batchnorm
from minigan.functional.activations import (
    elu,
    elu_backward,
    scaled_tanh,
    scaled_tanh_backward,
    sigmoid_backward,
    softplus,
    softplus_backward,
)
from minigan.functional.batchnorm import (
    BatchNormInferenceCache,
    batchnorm_inference,
    batchnorm_inference_backward,
    update_running_statistics,
)
from minigan.functional.dense import dense_bias_grad
from minigan.functional.dropout import draw_keep, dropout, dropout_backward
from minigan.functional.gan_losses import (
    discriminator_bce,
    discriminator_hinge,
    discriminator_least_squares,
    discriminator_wasserstein,
    generator_least_squares,
    generator_minimax,
    generator_non_saturating,
    generator_wasserstein,
)
from minigan.functional.losses import bce_with_logits, half_squared_error, mean_squares, softmax_cross_entropy
from minigan.functional.maxout import maxout_backward
from minigan.functional.patches import Geometry, add_patches, patches
from minigan.functional.pixel_shuffle import pixel_shuffle, pixel_unshuffle
from minigan.functional.pooling import (
    average_pool,
    average_pool_backward,
    global_average,
    global_average_backward,
    max_pool,
    max_pool_backward,
)
from minigan.functional.reshape import reshape, reshape_backward
from minigan.functional.shared_batchnorm import Gather
from minigan.functional.upsample import upsample_bilinear, upsample_bilinear_backward

Operation = TypeVar("Operation", bound=Callable[..., Any])

_twins: dict[str, Callable[..., Any]] = {}  # by name, while they are in use
WITH_TWINS: list[str] = []  # names of the operations that have one
ROOMS = ("batchnorm", "conv", "dense", "maxout", "pointwise", "resample")  # of kernels/, where they are


def _door(plain: Operation) -> Operation:
    """The operation; its twin, while that is in use, for arrays of NumPy."""
    WITH_TWINS.append(plain.__name__)

    @wraps(plain)
    def call(first: Any, *others: Any, **options: Any) -> Any:
        twin = _twins.get(plain.__name__) if isinstance(first, np.ndarray) else None
        return (twin or plain)(first, *others, **options)

    return call  # type: ignore[return-value]


batchnorm, batchnorm_backward = _door(_batchnorm.batchnorm), _door(_batchnorm.batchnorm_backward)
shared_batchnorm = _door(_shared_batchnorm.shared_batchnorm)
shared_batchnorm_backward = _door(_shared_batchnorm.shared_batchnorm_backward)
conv2d, conv2d_bias_grad = _door(conv.conv2d), _door(conv.conv2d_bias_grad)
conv2d_input_grad, conv2d_weight_grad = _door(conv.conv2d_input_grad), _door(conv.conv2d_weight_grad)
dense = _door(_dense.dense)
dense_input_grad, dense_weight_grad = _door(_dense.dense_input_grad), _door(_dense.dense_weight_grad)
maxout = _door(_maxout.maxout)
relu, relu_backward = _door(activations.relu), _door(activations.relu_backward)
leaky_relu, leaky_relu_backward = _door(activations.leaky_relu), _door(activations.leaky_relu_backward)
tanh, tanh_backward = _door(activations.tanh), _door(activations.tanh_backward)
sigmoid = _door(activations.sigmoid)
upsample_nearest = _door(upsample.upsample_nearest)
upsample_nearest_backward = _door(upsample.upsample_nearest_backward)


@_door
def in_pieces(first: Any, *others: Any, change: Callable[..., None]) -> None:
    """Call ``change(first, *others)``, which works element by element and in place: at once here, by pieces if fast."""
    change(first, *others)


@contextmanager
def fast_kernels(threads: int) -> Iterator[None]:
    """Use the faster twins on so many threads, and BLAS on one in each of them; everywhere in the process."""
    from minigan.kernels import workers  # not before: compiled loops take time to load

    rooms = [import_module(f"minigan.kernels.{room}") for room in ROOMS]
    before, threads_before = dict(_twins), workers.threads()
    workers.set_threads(threads)
    _twins.update({name: next(vars(room)[name] for room in rooms if name in vars(room)) for name in WITH_TWINS})
    try:
        with threadpool_limits(limits=1, user_api="blas"):
            yield
    finally:
        _twins.clear()
        _twins.update(before)
        workers.set_threads(threads_before)


def kernels_in_use() -> str:
    """Which kernels stand behind the names now, for people to read and for checkpoints to compare."""
    if not _twins:
        return "plain kernels"
    from minigan.kernels import loops, workers

    return f"fast kernels ({'numba' if loops.COMPILED else 'NumPy'}) x{workers.threads()}"
