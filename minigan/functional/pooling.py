r"""Pooling: one number a window and channel, its mean or its maximum; channels last."""

from typing import NamedTuple

from minigan.backend import array_module
from minigan.functional.patches import Geometry, add_patches, patches
from minigan.typing import Array


class AveragePoolCache(NamedTuple):
    size: tuple[int, int]  # (H, W) of the input


class MaxPoolCache(NamedTuple):
    winner: Array  # (N, P, Q, kh kw, C)  True at the pixel that was largest
    size: tuple[int, int]  # (H, W) of the input


class GlobalAverageCache(NamedTuple):
    size: tuple[int, int]  # (H, W) of the input


def average_pool(x: Array, kernel: tuple[int, int], geometry: Geometry) -> tuple[Array, AveragePoolCache]:
    r"""Mean of each window; zeros outside the image count, as in PyTorch's default.

    .. math:: y_{npqc} = \frac{1}{k_h k_w} \sum_{ab} v_{npqabc}, \qquad v = \mathrm{patches}(x)

    Parameters: x (N, H, W, C); kernel (kh, kw). Returns y (N, P, Q, C) and the cache.
    Raises ValueError if the window does not fit into the padded image.
    """
    windows = patches(x, kernel, geometry)  # (N, P, Q, kh, kw, C)
    return windows.mean(axis=(3, 4)), AveragePoolCache(x.shape[1:3])


def average_pool_backward(dy: Array, cache: AveragePoolCache, kernel: tuple[int, int], geometry: Geometry) -> Array:
    r"""Every pixel of a window gets the same share: :math:`dv_{npqabc} = dy_{npqc} / (k_h k_w)`.

    Parameters: dy (N, P, Q, C). Returns dx (N, H, W, C).
    """
    xp = array_module(dy)
    share = (dy / (kernel[0] * kernel[1]))[:, :, :, None, None]  # (N, P, Q, 1, 1, C)
    windows = xp.broadcast_to(share, (*dy.shape[:3], *kernel, dy.shape[3]))
    return add_patches(windows, cache.size, geometry)


def max_pool(x: Array, kernel: tuple[int, int], geometry: Geometry) -> tuple[Array, MaxPoolCache]:
    r"""Maximum of each window: :math:`y_{npqc} = \max_{ab} v_{npqabc}`; outside the image there is nothing.

    Parameters: x (N, H, W, C); kernel (kh, kw). Returns y (N, P, Q, C) and the cache.
    Raises ValueError if the window does not fit into the padded image. A window that sees padding alone has the
    maximum -inf: `minigan.nn.MaxPool` refuses such a padding.
    """
    xp = array_module(x)
    windows = patches(x, kernel, geometry, border=-xp.inf)  # (N, P, Q, kh, kw, C)
    flat = windows.reshape(*windows.shape[:3], kernel[0] * kernel[1], x.shape[3])  # (N, P, Q, kh kw, C)
    taps = xp.arange(kernel[0] * kernel[1])[:, None]  # (kh kw, 1)
    winner = flat.argmax(axis=3)[:, :, :, None] == taps  # the first one, if several are equal
    return flat.max(axis=3), MaxPoolCache(winner, x.shape[1:3])


def max_pool_backward(dy: Array, cache: MaxPoolCache, kernel: tuple[int, int], geometry: Geometry) -> Array:
    r"""The gradient goes to the winning pixel alone; a pixel that won several windows gets the sum.

    Parameters: dy (N, P, Q, C). Returns dx (N, H, W, C).
    """
    flat = cache.winner * dy[:, :, :, None]  # (N, P, Q, kh kw, C)
    return add_patches(flat.reshape(*dy.shape[:3], *kernel, dy.shape[3]), cache.size, geometry)


def max_pool_double_backward(ddx: Array, cache: MaxPoolCache, kernel: tuple[int, int], geometry: Geometry) -> Array:
    r"""The adjoint of backward, which put dy at the winner: each window takes ddx of its winning pixel.

    Parameters: ddx (N, H, W, C). Returns ddy (N, P, Q, C).
    """
    windows = patches(ddx, kernel, geometry)  # (N, P, Q, kh, kw, C)
    return (cache.winner * windows.reshape(cache.winner.shape)).sum(axis=3)  # (N, P, Q, C)


def global_average(x: Array) -> tuple[Array, GlobalAverageCache]:
    r"""Mean over the image (Lin et al. 2014): :math:`y_{nc} = \frac{1}{HW} \sum_{hj} x_{nhjc}`.

    Parameters: x (N, H, W, C). Returns y (N, C) and the cache.
    """
    return x.mean(axis=(1, 2)), GlobalAverageCache(x.shape[1:3])


def global_average_backward(dy: Array, cache: GlobalAverageCache) -> Array:
    r"""Every pixel gets the same share: :math:`dx_{nhjc} = dy_{nc} / (HW)`.

    Parameters: dy (N, C). Returns dx (N, H, W, C).
    """
    height, width = cache.size
    share = (dy / (height * width))[:, None, None]  # (N, 1, 1, C)
    return array_module(dy).broadcast_to(share, (len(dy), height, width, dy.shape[1])).copy()
