"""Maxout (Goodfellow et al. 2013): y_nu is the largest of x_n,uP ... x_n,uP+P-1."""

import numpy as np

from reference import Array


def maxout(x: Array, pieces: int) -> Array:
    """x (N, U P): returns y (N, U)."""
    n_samples, n_features = x.shape
    y = np.zeros((n_samples, n_features // pieces))
    for n in range(n_samples):
        for u in range(n_features // pieces):
            largest = x[n, u * pieces]
            for p in range(1, pieces):
                if x[n, u * pieces + p] > largest:
                    largest = x[n, u * pieces + p]
            y[n, u] = largest
    return y


def maxout_backward(dy: Array, x: Array, pieces: int) -> Array:
    """A feature gets the gradient if it beats every earlier one of its group and no later one beats it.

    dy (N, U), x (N, U P): returns dx (N, U P).
    """
    n_samples, n_features = x.shape
    dx = np.zeros(x.shape)
    for n in range(n_samples):
        for k in range(n_features):
            first = k - k % pieces
            beats_earlier = all(x[n, k] > x[n, j] for j in range(first, k))
            holds_against_later = all(x[n, k] >= x[n, j] for j in range(k + 1, first + pieces))
            if beats_earlier and holds_against_later:
                dx[n, k] = dy[n, k // pieces]
    return dx
