"""A running average of the generator's parameters, which draws steadier samples than the last ones."""

from minigan import ops
from minigan.nn.params import Params
from minigan.optim.optimiser import Coefficients


def average_coefficients(decay: float, t: int) -> tuple[float, float]:
    r"""The shares of the old average and of the new parameters after update t = 1, 2, ...: :math:`d_t, 1 - d_t`."""
    d = min(decay, (1 + t) / (10 + t))
    return d, 1 - d


def update_average(average: Params, theta: Params, coefficients: Coefficients) -> None:
    r"""Exponential moving average, in place, running statistics included.

    .. math:: \bar\theta \leftarrow d_t\, \bar\theta + (1 - d_t)\, \theta, \qquad
              d_t = \min\Big(d, \frac{1 + t}{10 + t}\Big)

    Parameters: both flat vectors, and the shares (d_t, 1 - d_t) of `average_coefficients`. Raises ValueError for
    vectors of two networks.

    The two players circle around the equilibrium; the average is nearer to it, if they circle faster than in the
    1 / (1 - d) updates that it looks back on (Yazici et al. 2019, "The Unusual Effectiveness of Averaging in GAN
    Training"). The smaller d_t of the first steps lets it forget the random start (as `num_updates` of TensorFlow's
    ExponentialMovingAverage does).
    """
    ops.move_average(average.flat, theta.flat, coefficients)
