"""Convolution and transposed convolution, each from its own definition, in explicit loops.

A convolution gathers: every output place takes a weighted sum of the pixels in its window. A
transposed convolution scatters: every input pixel paints a weighted kernel onto a canvas.
Images are (N, H, W, C); padding is (top, bottom, left, right), the other pairs (vertical, horizontal).
With G groups, the channels fall into G equal parts in order, and part g sees part g alone.
"""

from collections.abc import Iterator

import numpy as np

from reference import Array

Pair = tuple[int, int]
Sides = tuple[int, int, int, int]
# One product of the sum: where it is in y (p, q, o), in x (row, column, i), in w (a, b, i within the group, o).
Summand = tuple[tuple[int, int, int], tuple[int, int, int], tuple[int, int, int, int]]


def count_places(length: int, kernel: int, stride: int, before: int, after: int, dilation: int) -> int:
    """How often the window fits into the padded line, by sliding it from the first pixel to the last."""
    places, start = 0, -before
    while start + dilation * (kernel - 1) < length + after:
        places += 1
        start += stride
    return places


def summands(
    x_shape: tuple[int, ...], w_shape: tuple[int, ...], stride: Pair, padding: Sides, dilation: Pair, groups: int
) -> Iterator[Summand]:
    """Every product x w that is added into an output of a convolution; pixels outside the image are left out."""
    _, height, width, inputs = x_shape
    kh, kw, inputs_of_group, outputs = w_shape
    top, bottom, left, right = padding
    for p in range(count_places(height, kh, stride[0], top, bottom, dilation[0])):
        for q in range(count_places(width, kw, stride[1], left, right, dilation[1])):
            for a in range(kh):
                for b in range(kw):
                    row = p * stride[0] + a * dilation[0] - top
                    column = q * stride[1] + b * dilation[1] - left
                    if not (0 <= row < height and 0 <= column < width):
                        continue
                    for o in range(outputs):
                        group = o // (outputs // groups)
                        for k in range(inputs_of_group):
                            i = group * (inputs // groups) + k
                            yield (p, q, o), (row, column, i), (a, b, k, o)


def conv2d(x: Array, w: Array, stride: Pair, padding: Sides, dilation: Pair, groups: int) -> Array:
    """x (N, H, W, I), w (kh, kw, I/G, O): returns y (N, P, Q, O)."""
    top, bottom, left, right = padding
    p = count_places(x.shape[1], w.shape[0], stride[0], top, bottom, dilation[0])
    q = count_places(x.shape[2], w.shape[1], stride[1], left, right, dilation[1])
    y = np.zeros((x.shape[0], p, q, w.shape[3]))
    for at_y, at_x, at_w in summands(x.shape, w.shape, stride, padding, dilation, groups):
        for n in range(x.shape[0]):
            y[(n, *at_y)] += x[(n, *at_x)] * w[at_w]
    return y


def conv2d_backward(
    dy: Array, x: Array, w: Array, stride: Pair, padding: Sides, dilation: Pair, groups: int
) -> tuple[Array, Array]:
    """Each product is one summand of y: it hands dy on to both of its factors. Returns dx and dw."""
    dx, dw = np.zeros(x.shape), np.zeros(w.shape)
    for at_y, at_x, at_w in summands(x.shape, w.shape, stride, padding, dilation, groups):
        for n in range(x.shape[0]):
            dx[(n, *at_x)] += dy[(n, *at_y)] * w[at_w]
            dw[at_w] += dy[(n, *at_y)] * x[(n, *at_x)]
    return dx, dw


def strokes(
    x_shape: tuple[int, ...], w_shape: tuple[int, ...], stride: Pair, dilation: Pair, groups: int
) -> Iterator[Summand]:
    """Every product x w of a transposed convolution, and where on the uncropped canvas it is painted."""
    _, height, width, inputs = x_shape
    kh, kw, outputs_of_group, _ = w_shape
    for row in range(height):
        for column in range(width):
            for i in range(inputs):
                group = i // (inputs // groups)
                for a in range(kh):
                    for b in range(kw):
                        for k in range(outputs_of_group):
                            o = group * outputs_of_group + k
                            at_y = (row * stride[0] + a * dilation[0], column * stride[1] + b * dilation[1], o)
                            yield at_y, (row, column, i), (a, b, k, i)


def blank_canvas(
    x_shape: tuple[int, ...], w_shape: tuple[int, ...], stride: Pair, output_padding: Pair, dilation: Pair, groups: int
) -> Array:
    """Room for the kernels of all pixels, and `output_padding` more rows and columns at the bottom and right."""
    n_samples, height, width, _ = x_shape
    kh, kw, outputs_of_group, _ = w_shape
    rows = (height - 1) * stride[0] + (kh - 1) * dilation[0] + 1 + output_padding[0]
    columns = (width - 1) * stride[1] + (kw - 1) * dilation[1] + 1 + output_padding[1]
    return np.zeros((n_samples, rows, columns, outputs_of_group * groups))


def conv_transpose2d(
    x: Array, w: Array, stride: Pair, padding: Sides, output_padding: Pair, dilation: Pair, groups: int
) -> Array:
    """x (N, H, W, I), w (kh, kw, O/G, I): paint, then cut the padding off. Returns y (N, H', W', O)."""
    canvas = blank_canvas(x.shape, w.shape, stride, output_padding, dilation, groups)
    for at_y, at_x, at_w in strokes(x.shape, w.shape, stride, dilation, groups):
        for n in range(x.shape[0]):
            canvas[(n, *at_y)] += x[(n, *at_x)] * w[at_w]
    top, bottom, left, right = padding
    return canvas[:, top : canvas.shape[1] - bottom, left : canvas.shape[2] - right]


def conv_transpose2d_backward(
    dy: Array, x: Array, w: Array, stride: Pair, padding: Sides, output_padding: Pair, dilation: Pair, groups: int
) -> tuple[Array, Array]:
    """What was cut off gets no gradient; every stroke hands dy on to both of its factors. Returns dx and dw."""
    canvas = blank_canvas(x.shape, w.shape, stride, output_padding, dilation, groups)
    top, bottom, left, right = padding
    canvas[:, top : canvas.shape[1] - bottom, left : canvas.shape[2] - right] = dy
    dx, dw = np.zeros(x.shape), np.zeros(w.shape)
    for at_y, at_x, at_w in strokes(x.shape, w.shape, stride, dilation, groups):
        for n in range(x.shape[0]):
            dx[(n, *at_x)] += canvas[(n, *at_y)] * w[at_w]
            dw[at_w] += canvas[(n, *at_y)] * x[(n, *at_x)]
    return dx, dw
