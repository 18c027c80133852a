r"""Short convolutions with fewer products: the matrices of Toom and Cook, made known by Winograd.

Filtering with r taps to m outputs takes m r products from the definition and m + r - 1 here:

.. math:: y_i = \sum_{k<r} d_{i+k}\, g_k \quad\Longleftrightarrow\quad y = A^\top \big[ (G g) \odot (B^\top d) \big]

Why. A polynomial s(x) = g(x) u(x) of degree m + r - 2 is known from its values at m + r - 1 points
:math:`p_j` (infinity counts as one: the leading coefficient), and a value of a product is one product
of values. That computes full products; filtering is the transpose of multiplying by g, so the three
matrices change places. In two dimensions they act on rows and on columns (Lavin & Gray 2016,
"Fast algorithms for convolutional neural networks", eq. 8):

.. math:: y = A^\top \big[ (G g G^\top) \odot (B^\top d B) \big] A

With :math:`\odot` summed over the channels in, each of the :math:`(m + r - 1)^2` places is a matrix product.
"""

from dataclasses import dataclass
from functools import cache

import numpy as np

# Where the polynomials are evaluated, infinity besides: small numbers whose powers stay near 1 keep the rounding
# errors small. Found by trying; relative errors in float32 stay below 1e-6 with m = 2, below 2e-6 with m = 4.
POINTS = {
    (2, 2): (0.0, 1.0),
    (4, 2): (0.0, 1.0, -1.0, 2.0),
    (2, 3): (0.0, 1.0, -1.0),
    (4, 3): (0.0, 1.0, -1.0, 0.5, -2.0),
}


@dataclass(frozen=True, eq=False)  # one object for each (m, r)
class ToomCook:
    """The three matrices for m outputs and r taps, in float64; n = m + r - 1."""

    m: int
    r: int
    bt: np.ndarray  # (n, n)  of the input
    g: np.ndarray  # (n, r)   of the taps
    at: np.ndarray  # (m, n)  of the output


@cache
def toom_cook(m: int, r: int) -> ToomCook:
    r"""The matrices of F(m, r). With :math:`N_j = \prod_{l \ne j} (p_j - p_l)`, over the finite points:

    * :math:`A^\top_{ij} = p_j^i`, the last column (infinity) is the last unit vector;
    * :math:`G_{jk} = p_j^k / N_j`, the last row likewise;
    * row j of :math:`B^\top` holds the coefficients of :math:`\prod_{l \ne j} (x - p_l)`, lowest first, and
      the last row those of the product over all finite points.
    """
    points = POINTS[m, r]
    n = len(points) + 1
    bt, g, at = np.zeros((n, n)), np.zeros((n, r)), np.zeros((m, n))
    for j, p in enumerate(points):
        others = [q for q in points if q != p]
        bt[j, : n - 1] = np.poly(others)[::-1]
        g[j] = np.power(p, np.arange(r)) / np.prod(np.subtract(p, others))
        at[:, j] = np.power(p, np.arange(m))
    bt[-1], g[-1, -1], at[-1, -1] = np.poly(points)[::-1], 1, 1
    return ToomCook(m, r, bt, g, at)
