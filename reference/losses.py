"""Supervised losses, written naively: for logits of moderate size (|s| up to about 20).

Gradients take the long way of the chain rule, through the probabilities, where minigan uses the
simplified difference of probability and target.
"""

import math

import numpy as np
from numpy.typing import NDArray

from reference import Array


def bce_with_logits(logits: Array, targets: Array | float, smoothing: float = 0.0) -> tuple[float, Array]:
    """-t log p - (1 - t) log(1 - p) with p = 1 / (1 + e^-s), averaged over all entries.

    A smoothing a moves every target t to (1 - a) t + a / 2. Returns the loss and its gradient.
    """
    all_targets = np.broadcast_to(targets, logits.shape)
    loss, dlogits = 0.0, np.zeros(logits.shape)
    for index in np.ndindex(logits.shape):
        t = (1 - smoothing) * float(all_targets[index]) + smoothing / 2
        p = 1 / (1 + math.exp(-logits[index]))
        loss += -(t * math.log(p) + (1 - t) * math.log(1 - p)) / logits.size
        d_p = (-t / p + (1 - t) / (1 - p)) / logits.size
        dlogits[index] = d_p * p * (1 - p)
    return loss, dlogits


def softmax_cross_entropy(logits: Array, labels: NDArray[np.int64], smoothing: float = 0.0) -> tuple[float, Array]:
    """-sum_k q_k log p_k with p_k = e^s_k / sum_j e^s_j, averaged over the samples.

    q_k = (1 - a) [k is the label] + a / K. The gradient goes through the Jacobian of the softmax,
    d p_k / d s_j = p_k ([k = j] - p_j). logits (N, K), labels (N,). Returns the loss and dlogits (N, K).
    """
    n_samples, n_classes = logits.shape
    loss, dlogits = 0.0, np.zeros(logits.shape)
    for n in range(n_samples):
        total = sum(math.exp(logits[n, k]) for k in range(n_classes))
        p = [math.exp(logits[n, k]) / total for k in range(n_classes)]
        for k in range(n_classes):
            q = (1 - smoothing) * (1.0 if k == labels[n] else 0.0) + smoothing / n_classes
            loss += -q * math.log(p[k]) / n_samples
            for j in range(n_classes):
                dlogits[n, j] += (-q / p[k] / n_samples) * p[k] * ((1.0 if k == j else 0.0) - p[j])
    return loss, dlogits


def mean_squared_error(y: Array, targets: Array | float) -> tuple[float, Array]:
    """(y - t)^2 averaged over all entries. Returns the loss and its gradient."""
    all_targets = np.broadcast_to(targets, y.shape)
    loss, dy = 0.0, np.zeros(y.shape)
    for index in np.ndindex(y.shape):
        error = float(y[index]) - float(all_targets[index])
        loss += error**2 / y.size
        dy[index] = 2 * error / y.size
    return loss, dy


def half_squared_error(y: Array, targets: Array | float) -> tuple[float, Array]:
    """1/2 sum_k (y_k - t_k)^2 of each sample, averaged over the samples (the first axis)."""
    all_targets = np.broadcast_to(targets, y.shape)
    n_samples = y.shape[0]
    loss, dy = 0.0, np.zeros(y.shape)
    for index in np.ndindex(y.shape):
        error = float(y[index]) - float(all_targets[index])
        loss += 0.5 * error**2 / n_samples
        dy[index] = error / n_samples
    return loss, dy
