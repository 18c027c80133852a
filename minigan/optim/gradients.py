"""Changes to a gradient between backward and the update, in place on the flat vector."""

from minigan import ops
from minigan.backend import array_module
from minigan.nn.params import Params
from minigan.typing import Array


def add_weight_decay(grads: Params, theta: Params, rate: float, *, biases: bool = False) -> None:
    r"""Add the gradient of :math:`\tfrac\lambda2 \lVert w \rVert^2`: :math:`g \leftarrow g + \lambda w`.

    Biases and BatchNorm's gains (all one-dimensional parameters) are left out unless `biases`:
    shrinking them does not make the function simpler.
    """

    def add(g: Array, w: Array) -> None:
        g += rate * w

    for name, shape in theta.trainable_shapes.items():
        if biases or len(shape) > 1:
            ops.in_pieces(grads[name].reshape(-1), theta[name].reshape(-1), change=add)


def clip_by_norm(grads: Params, max_norm: float) -> None:
    r"""Shorten the whole gradient to at most `max_norm` (Pascanu et al. 2013, Algorithm 1).

    .. math:: g \leftarrow g \cdot \frac{c}{\max(\lVert g \rVert_2,\, c)}

    No branch on the norm, so that nothing waits for a GPU to tell it. A norm whose square the precision cannot hold
    (from 1e19 in float32) counts as infinite, and of the gradient zeros are left.
    """
    xp = array_module(grads.flat)
    norm = xp.sqrt((grads.flat * grads.flat).sum())
    grads.flat *= max_norm / xp.maximum(norm, max_norm)  # exactly 1 up to the limit


def clip_by_value(grads: Params, limit: float) -> None:
    r"""Limit each entry: :math:`g_i \leftarrow \min(\max(g_i, -c), c)`."""
    xp = array_module(grads.flat)
    xp.clip(grads.flat, -limit, limit, out=grads.flat)
