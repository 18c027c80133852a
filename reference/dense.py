"""The dense layer, y_no = sum_i x_ni w_io + b_o, in explicit loops."""

import numpy as np

from reference import Array


def dense(x: Array, w: Array, b: Array | None = None) -> Array:
    """x (N, I), w (I, O), b (O,) or None: returns y (N, O)."""
    n_samples, n_inputs = x.shape
    n_outputs = w.shape[1]
    y = np.zeros((n_samples, n_outputs))
    for n in range(n_samples):
        for o in range(n_outputs):
            total = 0.0 if b is None else b[o]
            for i in range(n_inputs):
                total += x[n, i] * w[i, o]
            y[n, o] = total
    return y


def dense_backward(dy: Array, x: Array, w: Array) -> tuple[Array, Array, Array]:
    """Each product x_ni w_io is one summand of y_no: it hands dy_no on to both of its factors.

    Returns dx (N, I), dw (I, O), db (O,).
    """
    n_samples, n_inputs = x.shape
    n_outputs = w.shape[1]
    dx, dw, db = np.zeros(x.shape), np.zeros(w.shape), np.zeros(n_outputs)
    for n in range(n_samples):
        for o in range(n_outputs):
            db[o] += dy[n, o]
            for i in range(n_inputs):
                dx[n, i] += dy[n, o] * w[i, o]
                dw[i, o] += dy[n, o] * x[n, i]
    return dx, dw, db
