r"""Scores that ask who is whose neighbour, in a feature space or among pixels.

All need the distances of all points to all others and keep none of them: blocks of at most 1024 x 1024, and at
most 160 MiB, beside a few numbers a point (see `distances`). 10,000 points against 10,000 are 100 million
distances.

Weakness of all of them: a neighbour is only as meaningful as the space. Among pixels, a digit moved by
two pixels is far from itself, and nearness favours smooth images; in a network's features, whatever the network
does not care about is free. Give the name of the space with the number, and compare at equal N only.
"""

from typing import NamedTuple

from minigan.backend import array_module
from minigan.evaluation.distances import check_points, distance_blocks
from minigan.typing import Array


class PrecisionRecall(NamedTuple):
    precision: float  # share of the samples that lie where real images do: quality
    recall: float  # share of the real images that lie where samples do: variety


class DensityCoverage(NamedTuple):
    density: float  # mean number of real balls that a sample is in, over k: quality; may exceed 1
    coverage: float  # share of real balls that hold a sample: variety


class TwoSample(NamedTuple):
    accuracy: float  # 0.5 in both halves where nobody can tell real from generated
    on_real: float  # accuracy on the real images
    on_fake: float  # accuracy on the samples


def precision_recall(real: Array, fake: Array, k: int = 3) -> PrecisionRecall:
    r"""Improved precision and recall (Kynkäänniemi et al. 2019, eq. 1 and 2).

    .. math:: f(x, \Phi) = 1 \text{ if } \lVert x - \phi \rVert \le \lVert \phi - \mathrm{NN}_k(\phi, \Phi) \rVert
              \text{ for some } \phi \in \Phi

    Precision is the mean of f(fake, real), recall that of f(real, fake). Weakness: one outlier among the real points
    has a huge ball that makes everything near it precise, and samples scattered anywhere have a high recall (Naeem
    et al. 2020).
    Parameters: points (N, D) and (M, D). Raises ValueError for fewer than k + 1 points.
    """
    return PrecisionRecall(
        _share_inside(fake, real, kth_distance(real, k)), _share_inside(real, fake, kth_distance(fake, k))
    )


def density_coverage(real: Array, fake: Array, k: int = 5) -> DensityCoverage:
    r"""Density and coverage (Naeem et al. 2020, "Reliable Fidelity and Diversity Metrics for Generative Models").

    With the ball B_i around real point i that reaches to its k-th real neighbour,

    .. math:: \text{density} = \frac1{kM} \sum_{j=1}^M \sum_{i=1}^N [\, y_j \in B_i \,], \qquad
              \text{coverage} = \frac1N \sum_{i=1}^N [\, \exists j: y_j \in B_i \,]

    For equal distributions, N = M and many points, they are 1 and 1 - 2^-k in expectation. Balls are only made around
    real points, so outliers among the samples do no harm. Weakness: density has no upper limit, samples that are all
    in the densest place score high. Parameters and errors as of `precision_recall`.
    """
    xp = array_module(real, fake)
    check_points(real, fake)
    radii = kth_distance(real, k)
    inside = xp.zeros(len(real), dtype="int64")  # samples in each ball
    for rows, _, distances in distance_blocks(real, fake):
        inside[rows] += (distances <= radii[rows][:, None]).sum(axis=1)
    return DensityCoverage(float(inside.sum()) / (k * len(fake)), float((inside > 0).mean()))


def two_sample_accuracy(real: Array, fake: Array) -> TwoSample:
    """Accuracy of a 1-nearest-neighbour classifier of real against generated (Lopez-Paz & Oquab 2017), leaving out the
    point that is asked about (Xu et al. 2018).

    Each point is given the label of its nearest other point. Equal distributions give 0.5 in both halves; 1: no point
    has a neighbour of the other set; towards 0 the samples sit on these real points: copies of them. Missing modes
    raise both halves. Few right on real points and many on samples: samples crowd where real points are rarer.
    Equally near points count as real. Weakness: 0.5 may also be 0 and 1 in the halves. In many dimensions a G that is a
    little too narrow has a sample nearest to everybody, and independent noise on the samples has a real point there;
    both are easily told from real. Parameters: as many real as fake. Raises ValueError otherwise.
    """
    check_points(real, fake)
    if len(real) != len(fake) or len(real) < 2:
        raise ValueError(f"the two-sample test needs as many real as generated points, got {len(real)}, {len(fake)}")
    between = nearest(real, fake).squared, nearest(fake, real).squared
    real_right = (kth_distance(real, 1) <= between[0]).mean()
    fake_right = (kth_distance(fake, 1) < between[1]).mean()
    on_real, on_fake = float(real_right), float(fake_right)
    return TwoSample((on_real + on_fake) / 2, on_real, on_fake)


class Nearest(NamedTuple):
    squared: Array  # (N,) squared distance to the nearest
    index: Array  # (N,) which one it is, the first of equally near ones


def nearest(points: Array, among: Array) -> Nearest:
    """The nearest of `among` (M, ...) for each of points (N, ...): for samples and training images, what they copy.

    A sample much nearer to a training image than real images that were held out are is a copy. Weakness: a copy
    that is shifted or changed in brightness is not seen among pixels (Theis et al. 2016).
    """
    xp = array_module(points, among)
    check_points(points, among)
    squared = xp.full(len(points), xp.inf, dtype="float64")
    index = xp.zeros(len(points), dtype="int64")
    for rows, columns, distances in distance_blocks(points, among):
        here = distances.min(axis=1)  # (B,)
        closer = here < squared[rows]
        index[rows] = xp.where(closer, distances.argmin(axis=1) + columns.start, index[rows])
        squared[rows] = xp.where(closer, here, squared[rows])
    return Nearest(squared, index)


def kth_distance(points: Array, k: int) -> Array:
    """Squared distance from each point to its k-th nearest other point, (N,) float64.

    Raises ValueError for fewer than k + 1 points.
    """
    xp = array_module(points)
    check_points(points)
    if not 1 <= k < len(points):
        raise ValueError(f"neighbour number {k} needs more than {k} points, got {len(points)}")
    best = xp.full((len(points), k), xp.inf, dtype="float64")  # the k smallest so far
    for rows, columns, distances in distance_blocks(points, points):
        if columns == rows:
            itself = xp.arange(len(distances))
            distances[itself, itself] = xp.inf
        best[rows] = xp.partition(xp.concatenate([best[rows], distances], axis=1), k - 1, axis=1)[:, :k]
    return best.max(axis=1)


def _share_inside(points: Array, centres: Array, radii: Array) -> float:
    """Share of the points in at least one ball (squared radii) around the centres."""
    xp = array_module(points, centres, radii)
    check_points(points, centres)
    found = xp.zeros(len(points), dtype=bool)
    for rows, columns, distances in distance_blocks(points, centres):
        found[rows] |= (distances <= radii[columns]).any(axis=1)
    return float(found.mean())
