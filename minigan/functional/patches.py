r"""Windows of an image: cutting them out and adding them back, which are each other's adjoint.

Convolution and pooling both look at a window of kh x kw pixels that moves over the image. `patches`
copies every window into an array of its own axes (known as im2col); `add_patches` does the
reverse and adds where windows overlap (col2im). For all x and v

.. math:: \langle \mathrm{patches}(x),\, v \rangle = \langle x,\, \mathrm{add\_patches}(v) \rangle
"""

from dataclasses import dataclass

from minigan.backend import array_module
from minigan.typing import Array, Shape


@dataclass(frozen=True)
class Geometry:
    """How the window moves, in convolution and pooling.

    padding: pixels around the image (top, bottom, left, right); dilation: distance between two
    neighbours in the window; groups: the channels fall into so many convolutions side by side.
    Raises ValueError if one of them is too small.
    """

    stride: tuple[int, int] = (1, 1)
    padding: tuple[int, int, int, int] = (0, 0, 0, 0)
    dilation: tuple[int, int] = (1, 1)
    groups: int = 1

    def __post_init__(self) -> None:
        if min(*self.stride, *self.dilation, self.groups) < 1 or min(self.padding) < 0:
            raise ValueError(f"stride, dilation and groups must be at least 1, padding at least 0, got {self}")

    def out_size(self, size: Shape, kernel: Shape) -> tuple[int, int]:
        r"""(P, Q): how many places the window has, :math:`\lfloor (H + p_t + p_b - d(k - 1) - 1)/s \rfloor + 1`."""
        padded = (size[0] + sum(self.padding[:2]), size[1] + sum(self.padding[2:]))
        p, q = (
            (n - d * (k - 1) - 1) // s + 1
            for n, k, s, d in zip(padded, kernel, self.stride, self.dilation, strict=True)
        )
        return p, q


def patches(x: Array, kernel: tuple[int, int], geometry: Geometry, border: float = 0.0) -> Array:
    r"""Every window: :math:`v_{npqabi} = x_{n,\; ps + ad - p_t,\; qs + bd - p_l,\; i}`.

    Parameters: x (N, H, W, I); kernel (kh, kw); border, the value outside the image.
    Returns (N, P, Q, kh, kw, I). Raises ValueError if the window is larger than the padded image.
    """
    xp = array_module(x)
    p, q = geometry.out_size(x.shape[1:3], kernel)
    if p < 1 or q < 1:
        raise ValueError(f"a window of {kernel} with {geometry} does not fit into an image of {x.shape[1:3]}")
    padded = _pad(x, geometry.padding, border)
    windows = xp.empty((len(x), p, q, *kernel, x.shape[3]), dtype=x.dtype)
    for a in range(kernel[0]):
        for b in range(kernel[1]):
            windows[:, :, :, a, b] = padded[_taps(a, b, (p, q), geometry)]
    return windows


def add_patches(windows: Array, size: tuple[int, int], geometry: Geometry) -> Array:
    """Add every window to the pixels it came from; what fell outside the image is left out.

    Parameters: windows (N, P, Q, kh, kw, I); size (H, W) of the image. Returns (N, H, W, I).
    """
    n, p, q, kh, kw, channels = windows.shape
    top, bottom, left, right = geometry.padding
    height, width = size
    shape = (n, height + top + bottom, width + left + right, channels)
    padded = array_module(windows).zeros(shape, dtype=windows.dtype)
    for a in range(kh):
        for b in range(kw):
            padded[_taps(a, b, (p, q), geometry)] += windows[:, :, :, a, b]
    return padded[:, top : top + height, left : left + width]


def _taps(a: int, b: int, out_size: tuple[int, int], geometry: Geometry) -> tuple[slice, slice, slice]:
    """Where tap (a, b) of the window lies in the padded image, at all places at once: (N, P, Q, I)."""
    (s, t), (d, e), (p, q) = geometry.stride, geometry.dilation, out_size
    return slice(None), slice(a * d, a * d + s * (p - 1) + 1, s), slice(b * e, b * e + t * (q - 1) + 1, t)


def _pad(x: Array, padding: tuple[int, int, int, int], border: float) -> Array:
    """The image with a border around it, (N, H + top + bottom, W + left + right, I)."""
    if not any(padding):
        return x
    (top, bottom, left, right), (n, height, width, channels) = padding, x.shape
    shape = (n, height + top + bottom, width + left + right, channels)
    padded = array_module(x).full(shape, border, dtype=x.dtype)
    padded[:, top : top + height, left : left + width] = x
    return padded
