r"""Convolution as three primitives, each the derivative of the others; channels last.

Convolution is linear in the image x and in the weights w, so the scalar

.. math:: \langle \mathrm{conv2d}(x, w),\, dy \rangle
        = \langle x,\, \mathrm{conv2d\_input\_grad}(dy, w) \rangle
        = \langle w,\, \mathrm{conv2d\_weight\_grad}(x, dy) \rangle

can be read three ways, and each primitive's gradients are the other two. A transposed convolution
is the second one used forwards (Dumoulin & Visin 2016, "A guide to convolution arithmetic").

Shapes: x (N, H, W, I), w (kh, kw, I/groups, O), y and dy (N, P, Q, O). As in all of deep learning
the kernel is not flipped (a cross-correlation). A bias b (O,) is added by the layer, y + b.
"""

from minigan.functional.patches import Geometry, add_patches, patches
from minigan.functional.sums import add_to, sum_rows
from minigan.typing import Array, Shape


def conv2d(x: Array, w: Array, geometry: Geometry) -> Array:
    r"""Slide the window over the image and take a weighted sum at each place.

    .. math:: y_{npqo} = \sum_{a b i} x_{n,\; p s + a d - p_t,\; q s + b d - p_l,\; i}\; w_{abio}

    (pixels outside the image are 0; s stride, d dilation, p_t and p_l the padding on top and left).
    All windows side by side make one matrix product: :math:`y = \mathrm{patches}(x)\, w`.

    Parameters: x (N, H, W, I); w (kh, kw, I/groups, O). Returns y (N, P, Q, O).
    Raises ValueError if the window does not fit into the padded image.
    """
    windows = patches(x, w.shape[:2], geometry)  # (N, P, Q, kh, kw, I)
    y = _columns(windows, geometry.groups) @ _matrix(w, geometry.groups)  # (G, NPQ, O/G)
    return _join_groups(y).reshape(*windows.shape[:3], -1)


def conv2d_input_grad(dy: Array, w: Array, size: tuple[int, int], geometry: Geometry) -> Array:
    r"""Gradient with respect to x: each output hands its gradient back to the pixels it saw.

    .. math:: dx_{nhji} = \sum_{a b o} \sum_{p q} dy_{npqo}\, w_{abio}
              \,[\, h = p s + a d - p_t,\; j = q s + b d - p_l \,]

    Parameters: dy (N, P, Q, O); w (kh, kw, I/groups, O); size (H, W) of x, which the stride leaves open.
    Returns dx (N, H, W, I). Raises ValueError if dy is not what a convolution of that size gives.
    """
    _check_places(dy, size, w.shape[:2], geometry)
    columns = _rows(dy, geometry.groups) @ _matrix(w, geometry.groups).swapaxes(1, 2)  # (G, NPQ, kh kw I/G)
    groups = columns.reshape(geometry.groups, dy[..., 0].size, w.shape[0] * w.shape[1], -1)  # (G, NPQ, kh kw, I/G)
    windows = groups.transpose(1, 2, 0, 3).reshape(*dy.shape[:3], *w.shape[:2], -1)  # (N, P, Q, kh, kw, I)
    return add_patches(windows, size, geometry)


def conv2d_weight_grad(
    x: Array, dy: Array, kernel: tuple[int, int], geometry: Geometry, total: Array | None = None
) -> Array:
    r"""Gradient with respect to w: each weight collects, over all places, its pixel times the output's gradient.

    .. math:: dw_{abio} = \sum_{npq} x_{n,\; p s + a d - p_t,\; q s + b d - p_l,\; i}\; dy_{npqo}

    Parameters: x (N, H, W, I); dy (N, P, Q, O); kernel (kh, kw); total (kh, kw, I/groups, O), an array that dw is
    added to in place. Returns dw (kh, kw, I/groups, O), or total.
    Raises ValueError if dy is not what a convolution of x gives.
    """
    _check_places(dy, x.shape[1:3], kernel, geometry)
    columns = _columns(patches(x, kernel, geometry), geometry.groups)  # (G, NPQ, kh kw I/G)
    by_group = columns.swapaxes(1, 2) @ _rows(dy, geometry.groups)  # (G, kh kw I/G, O/G)
    dw = _join_groups(by_group).reshape(*kernel, x.shape[3] // geometry.groups, dy.shape[3])
    return add_to(total, dw)


def conv2d_bias_grad(dy: Array, total: Array | None = None) -> Array:
    r"""Gradient with respect to a bias that was added to every output: :math:`db_o = \sum_{npq} dy_{npqo}`.

    Parameters: dy (N, P, Q, O), of a convolution or a transposed one; total (O,), an array that db is added to in
    place. Returns db (O,), or total.
    """
    return add_to(total, sum_rows(dy.reshape(-1, dy.shape[-1])))  # (O,)


def _check_places(dy: Array, size: Shape, kernel: Shape, geometry: Geometry) -> None:
    """A dy of other places but the same number would be multiplied without a word."""
    places = geometry.out_size(size, kernel)
    if dy.shape[1:3] != places:
        raise ValueError(f"dy has {dy.shape[1:3]} places, a window of {kernel} on an image of {size} has {places}")


def _columns(windows: Array, groups: int) -> Array:
    """Every window as one row, (G, NPQ, kh kw I/G): (N, P, Q, kh, kw, I) with the groups taken apart."""
    n, p, q, kh, kw, channels = windows.shape
    split = windows.reshape(n * p * q, kh * kw, groups, channels // groups)
    return split.transpose(2, 0, 1, 3).reshape(groups, n * p * q, -1)


def _rows(dy: Array, groups: int) -> Array:
    """Every output place as one row, (G, NPQ, O/G)."""
    return _split_groups(dy.reshape(-1, dy.shape[3]), groups)


def _matrix(w: Array, groups: int) -> Array:
    """Weights as one matrix a group, (G, kh kw I/G, O/G)."""
    return _split_groups(w.reshape(-1, w.shape[3]), groups)


def _split_groups(rows: Array, groups: int) -> Array:
    """(R, C) to (G, R, C/G): the channels of group g are neighbours."""
    return rows.reshape(len(rows), groups, -1).swapaxes(0, 1)


def _join_groups(rows: Array) -> Array:
    """(G, R, C/G) back to (R, C)."""
    return rows.swapaxes(0, 1).reshape(rows.shape[1], -1)
