"""What D has learnt without labels: the outputs of its layers as features of images, for a linear classifier.

So Radford et al. 2016 (section 5.1) judge their discriminator, with a support vector machine on top.
"""

import math

import numpy as np

from minigan import nn, ops
from minigan.backend import to_host
from minigan.nn.activations import Activation
from minigan.nn.initialisers import Constant
from minigan.optim import Adam
from minigan.typing import Array

PLACES = 4  # of each layer, on either axis
PART = 500  # images that go through D at a time


def discriminator_features(net: nn.Sequential, theta: nn.Params, x: Array) -> np.ndarray:
    """The outputs of all activations of D, in inference, side by side: (N, F), on the host.

    Of an image each channel's maximum in the parts of a grid of 4 x 4, or as many as there are pixels. Parameters: D,
    and its parameters; x (N, ...), as D sees images (`Recipe.encode`). Raises ValueError for a D without activations.
    """
    found = []
    for start in range(0, len(x), PART):
        outputs = net.trace(theta, x[start : start + PART], train=False)
        parts = [_pooled(y) for _, layer, y, _ in outputs if isinstance(layer, Activation)]
        if not parts:
            raise ValueError("D has no activations, whose outputs would be features")
        found.append(np.concatenate(parts, axis=1))
    return np.concatenate(found)


def _pooled(y: Array) -> np.ndarray:
    """(N, H, W, C) gives (N, 16 C), or fewer of small images; (N, C) stays."""
    if y.ndim == 4:
        window = tuple(math.ceil(size / PLACES) for size in y.shape[1:3])
        y, _ = ops.max_pool(y, window, nn.MaxPool(window, padding="same").geometry(y.shape[1:3]))
    return to_host(y).reshape(len(y), -1)


def linear_accuracy(
    features: np.ndarray, labels: np.ndarray, test_features: np.ndarray, test_labels: np.ndarray, decay: float = 0.01
) -> float:
    """Share of the test images in the class that a softmax regression gives them, which has learnt from the others.

    Parameters: (N, F) and (N,), integers from 0; decay: lambda of its penalty lambda/2 |w|^2. Features are scaled to a
    mean of 0 and a variance of 1; 300 steps of Adam on all of them, from zero.
    """
    mean, std = features.mean(axis=0), features.std(axis=0) + 1e-3
    x, test = (features - mean) / std, (test_features - mean) / std
    net = nn.Sequential(nn.Dense(int(labels.max()) + 1, w_init=Constant(0.0)))
    theta = nn.init_params(net, x.shape[1:], np.random.default_rng(0), dtype=x.dtype)
    rule, grads = Adam(lr=1e-3, weight_decay=decay), theta.gradients()
    moments = rule.init_moments(theta)
    for step in range(1, 301):
        logits, cache = net.forward(theta, x, train=True)
        _, dlogits = ops.softmax_cross_entropy(logits, labels)
        net.backward(theta, dlogits, cache, grads, need_dx=False)
        rule.update(theta, grads, moments, step)
    logits, _ = net.forward(theta, test, train=False)
    return float((logits.argmax(axis=1) == test_labels).mean())
