"""Parzen window log-likelihood by explicit loops, straight from its definition."""

import math

import numpy as np


def log_density(x: np.ndarray, samples: np.ndarray, sigma: float) -> float:
    """log of the mean of the Gaussian densities N(x; sample, sigma^2 I), for one point x (D,)."""
    logs = []
    for sample in samples:
        log_density = 0.0
        for a, b in zip(x, sample, strict=True):
            log_density -= (float(a) - float(b)) ** 2 / (2 * sigma**2) + math.log(2 * math.pi * sigma**2) / 2
        logs.append(log_density)
    largest = max(logs)
    return largest + math.log(math.fsum(math.exp(value - largest) for value in logs) / len(logs))
