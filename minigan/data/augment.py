r"""Real images changed a little each time they are shown: mirrored, and with colour jitter.

A small collection then looks larger to D, which takes longer to learn it by heart. G learns to draw the changed
images too, so only changes that leave an image a likely one are of use: faces can be mirrored, digits cannot.

Images are (N, H, W, C), C = 1 (grey) or 3 (RGB), and each sample has its own factors. The changes of colour are
those of Pillow's ImageEnhance, without its rounding: pixels are numbers from BLACK to WHITE, and whatever
leaves this range is cut back to it. With the grey of a pixel

.. math:: L = 0.299\,R + 0.587\,G + 0.114\,B \qquad \text{(Rec. 601)}

brightness, contrast and saturation are one formula: an image is drawn towards another one, or pushed away.
"""

from typing import NamedTuple

import numpy as np

from minigan.backend import array_module
from minigan.typing import Array

BLACK, WHITE = 0, 255
RED, GREEN, BLUE = 0.299, 0.587, 0.114  # shares in grey, ITU-R BT.601


class Changes(NamedTuple):
    """What happens to a batch, drawn on the host."""

    mirrored: np.ndarray  # (N,) bool
    factors: np.ndarray  # (N, 3) of brightness, contrast, saturation


def draw_changes(rng: np.random.Generator, count: int, radius: float) -> Changes:
    """Mirror with probability 1/2; factors from U(1 - radius, 1 + radius), 0 <= radius <= 1.

    All numbers are drawn whatever is used of them, so that mirroring does not change the colours.
    """
    return Changes(rng.random(count) < 0.5, 1 + radius * rng.uniform(-1, 1, (count, 3)))


def mirror(images: Array, mirrored: Array) -> Array:
    """Left and right exchanged in the samples with mirrored (N,): y[h, w] = x[h, W - 1 - w]. Any dtype."""
    xp = array_module(images, mirrored)
    return xp.where(_each(mirrored), images[:, :, ::-1], images)


def jitter(x: Array, factors: Array) -> Array:
    """Brightness, then contrast, then saturation, by factors (N, 3) of the dtype of x."""
    x = brightness(x, factors[:, 0])
    x = contrast(x, factors[:, 1])
    return saturation(x, factors[:, 2])


def brightness(x: Array, factor: Array) -> Array:
    """Scale by b = factor (N,): y = clip(b x). 0 gives black."""
    return _blend(BLACK, x, factor)


def contrast(x: Array, factor: Array) -> Array:
    r"""Stretch by c = factor (N,) about the image's mean grey: y = clip(m + c (x - m)).

    .. math:: m = \frac{1}{HW} \sum_{h,w} L_{hw}
    """
    return _blend(grey(x).mean(axis=(1, 2, 3), keepdims=True), x, factor)


def saturation(x: Array, factor: Array) -> Array:
    """Stretch by s = factor (N,) about each pixel's own grey: y = clip(L + s (x - L)).

    0 gives a grey picture; a grey pixel (R = G = B) has no saturation and stays, and so do images of one channel.
    """
    return x if x.shape[3] == 1 else _blend(grey(x), x, factor)


def grey(x: Array) -> Array:
    """L of each pixel, (N, H, W, 1). Raises ValueError if x is neither grey nor RGB."""
    if x.shape[3] == 1:
        return x
    if x.shape[3] != 3:
        raise ValueError(f"colours are those of grey or RGB images, (N, H, W, 1 or 3), got {x.shape}")
    return RED * x[..., 0:1] + GREEN * x[..., 1:2] + BLUE * x[..., 2:3]


def _blend(towards: Array | int, x: Array, factor: Array) -> Array:
    """towards + factor (x - towards), cut to the range of a picture."""
    return array_module(x, factor).clip(towards + _each(factor) * (x - towards), BLACK, WHITE)


def _each(values: Array) -> Array:
    """(N,) to (N, 1, 1, 1): one for all pixels of a sample."""
    return values.reshape(-1, 1, 1, 1)
