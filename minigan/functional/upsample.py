"""Enlarging an image without learning: copies of pixels, or linear interpolation; channels last.

Both are linear, so that backward is the transpose of forward, and nothing has to be kept.
"""

import numpy as np

from minigan.backend import array_module, put_like
from minigan.typing import Array


def upsample_nearest(x: Array, factor: int) -> Array:
    r"""Repeat each pixel factor x factor times: :math:`y_{n,h,j,c} = x_{n,\lfloor h/f\rfloor,\lfloor j/f\rfloor,c}`.

    Parameters: x (N, H, W, C); factor f. Returns y (N, fH, fW, C).
    """
    xp = array_module(x)
    n, height, width, channels = x.shape
    blocks = xp.broadcast_to(x[:, :, None, :, None], (n, height, factor, width, factor, channels))
    return blocks.reshape(n, height * factor, width * factor, channels)


def upsample_nearest_backward(dy: Array, factor: int) -> Array:
    r"""A pixel collects from all its copies: the sum of each block.

    Parameters: dy (N, fH, fW, C); factor f. Returns dx (N, H, W, C).
    """
    n, height, width, channels = dy.shape
    return dy.reshape(n, height // factor, factor, width // factor, factor, channels).sum(axis=(2, 4))


def upsample_bilinear(x: Array, factor: int) -> Array:
    r"""Interpolate linearly between pixel centres, along each axis: :math:`y = A_H\, x\, A_W^\top`.

    Parameters: x (N, H, W, C); factor f. Returns y (N, fH, fW, C).
    """
    rows, columns = (put_like(interpolation(n, factor).astype(x.dtype), x) for n in x.shape[1:3])
    return _along_both(x, rows, columns)


def upsample_bilinear_backward(dy: Array, factor: int) -> Array:
    r"""The transpose: :math:`dx = A_H^\top\, dy\, A_W`.

    Parameters: dy (N, fH, fW, C); factor f. Returns dx (N, H, W, C).
    """
    rows, columns = (put_like(interpolation(n // factor, factor).T.astype(dy.dtype), dy) for n in dy.shape[1:3])
    return _along_both(dy, rows, columns)


def interpolation(size: int, factor: int) -> np.ndarray:
    r"""The matrix A (f size, size) of linear interpolation between pixel centres.

    Output pixel j lies at :math:`u = (j + \tfrac12)/f - \tfrac12` in input pixels, held inside the
    image, and is :math:`(1 - t)\, x_{\lfloor u \rfloor} + t\, x_{\lfloor u \rfloor + 1}` with
    :math:`t = u - \lfloor u \rfloor` (PyTorch's align_corners=False).
    """
    u = ((np.arange(size * factor) + 0.5) / factor - 0.5).clip(0, size - 1)  # (f size,)
    below = np.floor(u).astype(int)
    above = np.minimum(below + 1, size - 1)
    matrix = np.zeros((size * factor, size))
    rows = np.arange(size * factor)
    matrix[rows, below] += 1 - (u - below)
    matrix[rows, above] += u - below
    return matrix


def _along_both(x: Array, rows: Array, columns: Array) -> Array:
    """Apply one matrix to the height and one to the width of (N, H, W, C)."""
    n, height, width, channels = x.shape
    tall = rows @ x.reshape(n, height, width * channels)  # (N, H', W C)
    return (columns @ tall.reshape(-1, width, channels)).reshape(n, len(rows), len(columns), channels)
