"""The door to the operations: layers, losses and update rules call ``ops.NAME``, never functional/ or kernels/.

Behind each name stands the plain version, the one to study. Within ``with fast_kernels(threads):`` the hot spots
have a faster twin, tested against the plain one: in kernels/ for NumPy's arrays, in cuda/ for those of a GPU.
"""

import threading
from collections.abc import Callable, Container, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import cache, partial, wraps
from importlib import import_module
from typing import Any, TypeVar

import numpy as np
from threadpoolctl import ThreadpoolController

from minigan.backend import array_module, gpu_in_use, put_like
from minigan.functional import activations, conv, gan_losses, upsample
from minigan.functional import batchnorm as _batchnorm
from minigan.functional import batchnorm_leaky as _batchnorm_leaky
from minigan.functional import conditioning as _conditioning
from minigan.functional import dense as _dense
from minigan.functional import dropout as _dropout
from minigan.functional import ghost_batchnorm as _ghost_batchnorm
from minigan.functional import maxout as _maxout
from minigan.functional import sync_batchnorm as _sync_batchnorm
from minigan.functional.activations import (
    elu,
    elu_backward,
    elu_double_backward,
    scaled_tanh,
    scaled_tanh_backward,
    scaled_tanh_double_backward,
    sigmoid_double_backward,
    softplus,
    softplus_backward,
    softplus_double_backward,
    tanh_double_backward,
)
from minigan.functional.batchnorm import (
    BatchNormInferenceCache,
    batchnorm_double_backward,
    batchnorm_inference,
    batchnorm_inference_backward,
    batchnorm_inference_double_backward,
)
from minigan.functional.batchnorm_leaky import BatchNormLeakyCache
from minigan.functional.conditioning import condition_of
from minigan.functional.gan_losses import (
    BothLosses,
    discriminator_bce_double_backward,
    discriminator_hinge,
    discriminator_least_squares,
    discriminator_least_squares_double_backward,
    discriminator_wasserstein,
    generator_least_squares,
    generator_wasserstein,
    mean_position,
)
from minigan.functional.gradient_penalty import gradient_penalty
from minigan.functional.losses import bce_with_logits, half_squared_error, mean_squared_error, softmax_cross_entropy
from minigan.functional.maxout import maxout_double_backward
from minigan.functional.patches import Geometry, add_patches, patches
from minigan.functional.pixel_shuffle import pixel_shuffle, pixel_unshuffle
from minigan.functional.pooling import (
    average_pool,
    average_pool_backward,
    global_average,
    global_average_backward,
    max_pool,
    max_pool_backward,
    max_pool_double_backward,
)
from minigan.functional.reshape import reshape, reshape_backward
from minigan.functional.sums import mean_rows
from minigan.functional.sync_batchnorm import Gather
from minigan.functional.upsample import upsample_bilinear, upsample_bilinear_backward
from minigan.typing import Array, Shape

Operation = TypeVar("Operation", bound=Callable[..., Any])

Twins = dict[str, Callable[..., Any]]
_host_twins: Twins = {}  # for arrays of NumPy: by name, while they are in use
_gpu_twins: Twins = {}  # and for those of a GPU
WITH_TWINS: set[str] = set()  # names of the operations that have one, here or there
NUMBERS = frozenset({np.dtype(np.float32), np.dtype(np.float64), None})  # what twins know; a generator has no dtype
HOST_ROOMS = ("batchnorm", "conv", "dense", "dropout", "maxout", "pointwise", "resample", "updates")  # of kernels/
GPU_ROOMS = (  # of cuda/
    "aside", "batchnorm", "conditioning", "conv", "dense", "dropout", "losses", "maxout", "pointwise", "updates",
)  # fmt: skip


def _twins_for(first: Any) -> Twins:
    """Those of a GPU for all but NumPy's arrays; what a generator draws goes where the networks are."""
    if isinstance(first, np.ndarray) or (isinstance(first, np.random.Generator) and not _gpu_twins):
        return _host_twins
    return _gpu_twins


def with_twins(array: Array) -> bool:
    """Whether fast kernels are in use for arrays of this kind."""
    return bool(_twins_for(array))


def _door(plain: Operation, known: Container[np.dtype | None] = NUMBERS) -> Operation:
    """The operation; its twin for arrays of that kind, if one is in use that does not answer NotImplemented.

    Of numbers that the twin does not know, such as integers, the plain operation makes what NumPy makes.
    """
    WITH_TWINS.add(plain.__name__)

    @wraps(plain)
    def call(first: Any, *others: Any, **options: Any) -> Any:
        twin = _twins_for(first).get(plain.__name__)
        if twin is not None and getattr(first, "dtype", None) not in known:
            twin = None
        result = NotImplemented if twin is None else twin(first, *others, **options)
        return plain(first, *others, **options) if result is NotImplemented else result

    return call  # type: ignore[return-value]


add_gradients = _door(_batchnorm.add_gradients)
batchnorm, batchnorm_backward = _door(_batchnorm.batchnorm), _door(_batchnorm.batchnorm_backward)
batchnorm_leaky = _door(_batchnorm_leaky.batchnorm_leaky)
batchnorm_leaky_backward = _door(_batchnorm_leaky.batchnorm_leaky_backward)
ghost_batchnorm = _door(_ghost_batchnorm.ghost_batchnorm)
ghost_batchnorm_backward = _door(_ghost_batchnorm.ghost_batchnorm_backward)
sync_batchnorm = _door(_sync_batchnorm.sync_batchnorm)
sync_batchnorm_backward = _door(_sync_batchnorm.sync_batchnorm_backward)
condition_of_backward = _door(_conditioning.condition_of_backward)
conv2d, conv2d_bias_grad = _door(conv.conv2d), _door(conv.conv2d_bias_grad)
conv2d_input_grad, conv2d_weight_grad = _door(conv.conv2d_input_grad), _door(conv.conv2d_weight_grad)
dense, dense_bias_grad = _door(_dense.dense), _door(_dense.dense_bias_grad)
dense_input_grad, dense_weight_grad = _door(_dense.dense_input_grad), _door(_dense.dense_weight_grad)
discriminator_bce = _door(gan_losses.discriminator_bce)
draw_keep = _door(_dropout.draw_keep)
dropout, dropout_backward = _door(_dropout.dropout), _door(_dropout.dropout_backward)
generator_minimax = _door(gan_losses.generator_minimax)
generator_non_saturating = _door(gan_losses.generator_non_saturating)
mean_probability, safe_quotient = _door(gan_losses.mean_probability), _door(gan_losses.safe_quotient)
maxout, maxout_backward = _door(_maxout.maxout), _door(_maxout.maxout_backward)
relu, relu_backward = _door(activations.relu), _door(activations.relu_backward)
leaky_relu, leaky_relu_backward = _door(activations.leaky_relu), _door(activations.leaky_relu_backward)
tanh, tanh_backward = _door(activations.tanh), _door(activations.tanh_backward)
sigmoid, sigmoid_backward = _door(activations.sigmoid), _door(activations.sigmoid_backward)
update_ghost_statistics = _door(_ghost_batchnorm.update_ghost_statistics)
update_running_statistics = _door(_batchnorm.update_running_statistics)
upsample_nearest = _door(upsample.upsample_nearest)
upsample_nearest_backward = _door(upsample.upsample_nearest_backward)
with_condition = _door(_conditioning.with_condition)
with_condition_backward = _door(_conditioning.with_condition_backward)

# By name, for the operations that add a bias first.
ACTIVATIONS: dict[str, tuple[Callable, Callable]] = {
    "relu": (relu, relu_backward),
    "leaky_relu": (leaky_relu, leaky_relu_backward),
    "tanh": (tanh, tanh_backward),
    "sigmoid": (sigmoid, sigmoid_backward),
    "maxout": (maxout, maxout_backward),
}


@_door
def in_pieces(first: Any, *others: Any, change: Callable[..., None]) -> None:
    """Call ``change(first, *others)``, which works element by element and in place: at once here, by pieces if fast."""
    change(first, *others)


@_door
def activated(a: Array, b: Array, activation: str, *numbers: float) -> tuple[Array, Any]:
    """Add a bias (C,) to a (..., C), which is lost by that, and apply one of ACTIVATIONS, with its numbers: the slope
    of leaky_relu, the pieces of maxout.

    Returns y and the cache, as the operation of that name.
    """
    a += b
    forward, _ = ACTIVATIONS[activation]
    return forward(a, *numbers)


@_door
def conv2d_and_seen(x: Array, w: Array, geometry: Geometry) -> tuple[Array, Any]:
    """`conv2d`, and what to give to `conv2d_weight_grad` in the place of x, which may spare it work done here."""
    return conv2d(x, w, geometry), x


def image_of(seen: Any) -> Array:
    """The x that `conv2d_and_seen` has seen."""
    return getattr(seen, "x", seen)


@_door
def drawn_dropout(x: Array, rng: Any, shape: Shape, rate: float, scale: float) -> tuple[Array, Any]:
    """Dropout with a mask of this shape, drawn where the generator is: `draw_keep`, then `dropout`."""
    return dropout(x, put_like(draw_keep(rng, shape, rate), x), scale)


@_door
def activated_dropout(
    a: Array, b: Array, rng: Any, rate: float, scale: float, activation: str, *numbers: float
) -> tuple[Array, Any]:
    """`activated`, then `drawn_dropout` with a mask for each number: y = scale k act(a + b), as a kernel does in one.

    Parameters: a (..., C), which may be lost, and b (C,); `rate`, the probability that k is 0. Returns y, (..., C), or
    (N, C / pieces) of maxout, and the cache. Raises what the two operations raise.
    """
    y, before = activated(a, b, activation, *numbers)
    y, mask = drawn_dropout(y, rng, y.shape, rate, scale)
    return y, (activation, numbers, before, mask)


@_door
def activated_dropout_backward(dy: Array, cache: Any) -> Array:
    """Back through both: dy, of y's shape, gives the gradient on a, (..., C)."""
    activation, numbers, before, mask = cache
    da = dropout_backward(dy, mask)
    _, backward = ACTIVATIONS[activation]
    return backward(da, before, *(numbers if activation == "leaky_relu" else ()))


def both_losses(
    discriminator: Callable[..., Any],
    generator: Callable[..., Any],
    logits: Array,
    n: int,
    opinion: Callable[[Array], Array] = mean_probability,
) -> BothLosses:
    """Both players' losses of one forward pass, on n real samples and then generated ones: see `games.simultaneous`.

    Parameters: logits (n + m, 1); discriminator: those of real and of generated samples -> loss, dreal, dfake;
    generator: the latter -> loss, dfake; opinion: what D thinks of a batch.
    """
    real, fake = logits[:n], logits[n:]
    loss_d, dreal, dfake = discriminator(real, fake)
    loss_g, dfake_for_g = generator(fake)
    divisor, ratio = safe_quotient(dfake_for_g, dfake)
    opinions = opinion(real), opinion(fake)
    return BothLosses(loss_d, loss_g, *opinions, concatenate(dreal, divisor), ratio)


@_door
def both_bce(logits: Array, n: int, smoothing: float = 0.0, scale: float = 1.0, saturating: bool = False) -> BothLosses:
    """`both_losses` for `discriminator_bce`, and `generator_minimax` if saturating, else `generator_non_saturating`."""
    of_d = partial(discriminator_bce, smoothing=smoothing, scale=scale)
    return both_losses(of_d, generator_minimax if saturating else generator_non_saturating, logits, n)


@_door
def aside(read: Array, *others: Array) -> AbstractContextManager[None]:  # noqa: ARG001
    """A block that reads these arrays; on a GPU it may run on a second stream, until `gathered` waits for it."""
    return nullcontext()


@_door
def gathered(gradients: Array) -> Array:
    """The gradients of a player, when all that adds to them has been done, also on a GPU's second stream."""
    return gradients


@_door
def concatenate(first: Array, second: Array) -> Array:
    """Two batches in one array: (N, ...) and (M, ...) give (N + M, ...)."""
    return array_module(first, second).concatenate([first, second])


@partial(_door, known={np.dtype(np.uint8)})
def scaled_pixels(pixels: Array, chosen: Array | None, scale: float, shift: float, dtype: np.dtype) -> Array:
    """The chosen ones (N,), or all, of some images (M, ...), as numbers scale pixel + shift: (N, ...)."""
    pixels = pixels if chosen is None else pixels[chosen]
    x = array_module(pixels).multiply(pixels, dtype.type(scale), dtype=dtype)
    if shift:
        x += shift
    return x


@_door
def move_average(average: Array, theta: Array, coefficients: Sequence[float | Array]) -> None:
    """average <- old average + new theta, in place; the coefficients are the two shares."""
    old, new = coefficients
    average *= old
    average += new * theta


@contextmanager
def fast_kernels(threads: int) -> Iterator[None]:
    """Use the faster twins, on so many threads with BLAS on one in each of them; everywhere in the process.

    Those of a GPU are used if one has been selected before (`minigan.backend.select_device`). Raises ValueError
    for fewer threads than one, and RuntimeError while another thread is in such a block: enter it once, and let threads
    that compute side by side begin and end within.
    """
    if threads < 1:
        raise ValueError(f"fast kernels need at least one thread, got {threads}")
    with _one_thread(), _twins_in_use(threads):
        yield


_entered: list[int] = []  # the thread that is in a block, once for each that it is in
_entering = threading.Lock()


@contextmanager
def _one_thread() -> Iterator[None]:
    """Blocks of two threads would not end in the order in which they began, and leave what the other one has set."""
    with _entering:
        alive = {thread.ident for thread in threading.enumerate()}
        _entered[:] = [ident for ident in _entered if ident in alive]  # one that has ended left no block behind
        if _entered and _entered[-1] != threading.get_ident():
            raise RuntimeError("another thread uses fast kernels: enter the block once, and start threads in it")
        _entered.append(threading.get_ident())
    try:
        yield
    finally:
        with _entering:
            _entered.pop()


@contextmanager
def _twins_in_use(threads: int) -> Iterator[None]:
    from minigan.kernels import kept, memory, subnormals, workers  # not before: compiled loops take time to load

    before, threads_before = (dict(_host_twins), dict(_gpu_twins)), workers.threads()
    kept_before, flushed_before = memory.keep_freed(True), subnormals.flush_subnormals(True)
    try:
        workers.set_threads(threads)  # after the above: they make zeros as the thread does that starts them
        _host_twins.update(_twins_in("kernels", HOST_ROOMS))
        if gpu_in_use():
            _gpu_twins.update(_twins_in("cuda", GPU_ROOMS))
        with thread_pools().limit(limits=1, user_api="blas"):
            yield
    finally:
        for twins, those in zip((_host_twins, _gpu_twins), before, strict=True):
            twins.clear()
            twins.update(those)
        subnormals.flush_subnormals(flushed_before)
        workers.set_threads(threads_before)
        kept.forget()
        memory.keep_freed(kept_before)


@cache  # to look through all libraries of the process takes milliseconds
def thread_pools() -> ThreadpoolController:
    """How many threads the libraries of this process use, to read and to set: NumPy's linear algebra, and whatever else
    has been loaded at the first call."""
    np.dot(np.ones((2, 2)), np.ones((2, 2)))  # make sure that it is loaded
    return ThreadpoolController()


def _twins_in(place: str, rooms: tuple[str, ...]) -> Twins:
    """The operations that these rooms define, not those that they import."""
    modules = [import_module(f"minigan.{place}.{room}") for room in rooms]
    return {
        name: twin
        for module in modules
        for name, twin in vars(module).items()
        if name in WITH_TWINS and twin.__module__ == module.__name__
    }


def can_compile() -> bool:
    """Whether the fast kernels' loops are compiled (the extra ``[fast]``)."""
    from minigan.kernels import loops

    return loops.COMPILED


def why_not_compiled() -> str:
    """Why a numba that is installed cannot be used; empty where it can, or where there is none."""
    from minigan.kernels import loops

    return loops.REFUSED


def kernels_in_use(xp: Any = np) -> str:
    """Which kernels stand behind the names now, for people to read and for checkpoints to compare.

    `xp`: the module of the arrays that they compute on, NumPy or CuPy.
    """
    if xp is not np:
        return "fused kernels" if _gpu_twins else "plain kernels"
    if not _host_twins:
        return "plain kernels"
    from minigan.kernels import workers

    return f"fast kernels ({'numba' if can_compile() else 'NumPy'}) x{workers.threads()}"
