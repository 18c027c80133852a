"""PixelShuffle (Shi et al. 2016): resolution from channels, by rearrangement alone; channels last."""

from minigan.typing import Array


def pixel_shuffle(x: Array, factor: int) -> Array:
    r"""Move channels into space: each pixel becomes an r x r block.

    The idea of Shi et al. 2016 (eq. 4), in PyTorch's order of the channels.

    .. math:: y_{n,\, hr + a,\, jr + b,\, c} = x_{n, h, j,\, c r^2 + a r + b}

    A pure rearrangement, so its inverse is its transpose: backward is `pixel_unshuffle`.

    Parameters: x (N, H, W, C r^2); factor r. Returns y (N, rH, rW, C).
    Raises ValueError if r^2 does not divide the channels.
    """
    n, height, width, channels = x.shape
    blocks = x.reshape(n, height, width, channels // factor**2, factor, factor).transpose(0, 1, 4, 2, 5, 3)
    return blocks.reshape(n, height * factor, width * factor, -1)


def pixel_unshuffle(y: Array, factor: int) -> Array:
    r"""Move space into channels, the inverse of `pixel_shuffle`, and its gradient.

    Parameters: y (N, rH, rW, C); factor r. Returns x (N, H, W, C r^2).
    Raises ValueError if r does not divide height and width.
    """
    n, height, width, channels = y.shape
    blocks = y.reshape(n, height // factor, factor, width // factor, factor, channels).transpose(0, 1, 3, 5, 2, 4)
    return blocks.reshape(n, height // factor, width // factor, -1)
