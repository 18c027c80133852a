"""Ways through latent space: great-circle walks, and arithmetic with latents."""

from collections.abc import Callable, Sequence
from typing import TypeAlias

import numpy as np

# (start, end, t in [0, 1]) -> a point, all (n,)
Way: TypeAlias = Callable[[np.ndarray, np.ndarray, float], np.ndarray]


def great_circle(start: np.ndarray, end: np.ndarray, t: float) -> np.ndarray:
    r"""The point at t in [0, 1] on the great circle from one latent to another (Shoemake 1985; White 2016).

    .. math:: z_t = \frac{\sin((1 - t)\,\Omega)}{\sin\Omega}\, z_0 + \frac{\sin(t\,\Omega)}{\sin\Omega}\, z_1, \qquad
              \cos\Omega = \frac{z_0 \cdot z_1}{\lVert z_0\rVert\, \lVert z_1\rVert}

    A normal latent of many numbers lies near a sphere of radius sqrt(n). The straight line between two
    of them cuts through the inside, where G has never been trained; the circle stays near the sphere.

    Parameters: start, end (n,). Returns (n,). Latents that are zero or nearly parallel are joined by a straight line.
    """
    lengths = np.linalg.norm(start) * np.linalg.norm(end)
    omega = np.arccos(np.clip(start @ end / lengths, -1, 1)) if lengths > 0 else 0.0
    if np.sin(omega) < 1e-6:
        return straight(start, end, t)
    return (np.sin((1 - t) * omega) * start + np.sin(t * omega) * end) / np.sin(omega)


def straight(start: np.ndarray, end: np.ndarray, t: float) -> np.ndarray:
    """The point at t in [0, 1] on the straight line: for the codes of classes, whose sum stays 1."""
    return (1 - t) * start + t * end


def walk(anchors: np.ndarray, between: int, way: Way = great_circle) -> np.ndarray:
    """A closed walk through all anchors (K, n), `between` points from each to the next: (K * between, n)."""
    following = np.roll(anchors, -1, axis=0)
    points = [
        way(start, end, step / between)
        for start, end in zip(anchors, following, strict=True)
        for step in range(between)
    ]
    return np.stack(points).astype(anchors.dtype)


def arithmetic(latents: np.ndarray, numbers: Sequence[int]) -> np.ndarray:
    """The latents number a, b, c and z_a - z_b + z_c, (4, n) (Radford et al. 2016, section 6.3.2)."""
    a, b, c = (latents[number] for number in numbers)
    return np.stack([a, b, c, a - b + c])
