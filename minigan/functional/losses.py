"""Losses for supervised training: each returns the mean loss and its gradient.

Classification losses take logits s (what a network gives before any sigmoid or softmax) and are
stable for large ones: nobody has to write log(sigmoid(s)), which is -inf for s = -1000.
The gradient already holds the factor 1/n of the mean.
"""

from minigan.backend import array_module
from minigan.functional.activations import sigmoid, softplus
from minigan.typing import Array


def bce_with_logits(logits: Array, targets: Array | float, smoothing: float = 0.0) -> tuple[Array, Array]:
    r"""Binary cross-entropy of :math:`\sigma(s)` against targets t in [0, 1].

    .. math:: L = \frac1n \sum \big[\mathrm{softplus}(s) - t s\big], \qquad
              ds = \frac{\sigma(s) - t}{n}

    since :math:`-\log\sigma(s) = \mathrm{softplus}(-s) = \mathrm{softplus}(s) - s`. It is computed as
    :math:`t\,\mathrm{softplus}(-s) + (1-t)\,\mathrm{softplus}(s)` and
    :math:`(1-t)\,\sigma(s) - t\,\sigma(-s)`, which lose no digits when a target is nearly met.
    Label smoothing a replaces t by :math:`(1 - a) t + a/2` (Szegedy et al. 2016, section 7, two classes).

    Parameters: logits, any shape of n entries; targets, the same shape or one number.
    Returns the loss (0-d) and dlogits. Raises ValueError for targets of another shape.
    """
    smoothing = float(smoothing)
    targets = (1 - smoothing) * _fitting(targets, logits) + smoothing / 2
    loss = targets * softplus(-logits)[0] + (1 - targets) * softplus(logits)[0]
    dlogits = (1 - targets) * sigmoid(logits)[0] - targets * sigmoid(-logits)[0]
    return loss.mean(), dlogits / logits.size


def softmax_cross_entropy(logits: Array, labels: Array, smoothing: float = 0.0) -> tuple[Array, Array]:
    r"""Cross-entropy of the softmax against class labels.

    .. math:: L = -\frac1N \sum_n \sum_k q_{nk} \log p_{nk}, \qquad
              p_{nk} = \frac{e^{s_{nk}}}{\sum_j e^{s_{nj}}}, \qquad ds = \frac{p - q}{N}

    q is one-hot, or with label smoothing a: :math:`q_k = (1 - a) [k = \text{label}] + a/K`
    (Szegedy et al. 2016, section 7). The largest logit is subtracted first.

    Parameters: logits (N, K); labels (N,) integers in [0, K), which is not checked, as that would wait for a GPU.
    Returns the loss (0-d) and dlogits (N, K). Raises ValueError for labels of another shape or kind.
    """
    if labels.shape != logits.shape[:1] or labels.dtype.kind not in "iu":
        raise ValueError(f"labels are integers of shape {logits.shape[:1]}, got {labels.dtype} of shape {labels.shape}")
    xp, smoothing = array_module(logits), float(smoothing)
    n, classes = logits.shape
    hit = labels[:, None] == xp.arange(classes)  # (N, K)
    q = ((1 - smoothing) * hit + smoothing / classes).astype(logits.dtype)  # (N, K)
    shifted = logits - logits.max(axis=1, keepdims=True)  # (N, K)  <= 0
    log_p = shifted - xp.log(xp.exp(shifted).sum(axis=1, keepdims=True))  # (N, K)
    return -(q * log_p).sum() / n, (xp.exp(log_p) - q) / n


def mean_squared_error(y: Array, targets: Array | float) -> tuple[Array, Array]:
    r"""Mean squared error over all n entries.

    .. math:: L = \frac1n \sum (y - t)^2, \qquad dy = \frac2n (y - t)

    Parameters: y, any shape of n entries; targets, the same shape or one number.
    Returns the loss (0-d) and dy. Raises ValueError for targets of another shape.
    """
    error = y - _fitting(targets, y)
    return (error * error).mean(), error * (2 / y.size)


def half_squared_error(y: Array, targets: Array | float) -> tuple[Array, Array]:
    r"""Half the squared error, summed over the outputs and averaged over the N samples.

    .. math:: L = \frac{1}{2N} \sum_{n,k} (y_{nk} - t_{nk})^2, \qquad dy = \frac{y - t}{N}

    Parameters: y (N, K); targets, the same shape or one number. Returns the loss (0-d) and dy.
    Raises ValueError for targets of another shape.
    """
    error = y - _fitting(targets, y)
    return (error * error).sum() / (2 * len(y)), error / len(y)


def _fitting(targets: Array | float, y: Array) -> Array | float:
    """Targets in y's number type; (N,) against (N, 1) would otherwise broadcast to (N, N), silently."""
    if isinstance(targets, int | float):
        return float(targets)  # a NumPy number would turn float32 into float64
    if targets.shape != y.shape:
        raise ValueError(f"targets of shape {targets.shape} for outputs of shape {y.shape}")
    return targets.astype(y.dtype)
