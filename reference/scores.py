"""The scores of samples by explicit loops, straight from their definitions."""

import math

import numpy as np


def classifier_score(probabilities: np.ndarray) -> float:
    """exp of the mean KL(p(y|x) || p(y)) of one part, probabilities (N, K)."""
    n, classes = probabilities.shape
    marginal = [sum(float(row[k]) for row in probabilities) / n for k in range(classes)]
    total = 0.0
    for row in probabilities:
        for k in range(classes):
            if row[k] > 0:
                total += float(row[k]) * math.log(float(row[k]) / marginal[k])
    return math.exp(total / n)


def distance(a: np.ndarray, b: np.ndarray) -> float:
    """Euclidean distance of two points."""
    return math.sqrt(math.fsum((float(x) - float(y)) ** 2 for x, y in zip(a, b, strict=True)))


def radius(points: np.ndarray, index: int, k: int) -> float:
    """Distance from a point to its k-th nearest neighbour among the others."""
    others = [distance(points[index], point) for other, point in enumerate(points) if other != index]
    return sorted(others)[k - 1]


def precision_recall(real: np.ndarray, fake: np.ndarray, k: int) -> tuple[float, float]:
    """Kynkäänniemi et al. 2019, eq. 1 and 2: shares of points inside the other set's balls."""

    def share(points: np.ndarray, support: np.ndarray) -> float:
        inside = 0
        for point in points:
            inside += any(distance(point, centre) <= radius(support, i, k) for i, centre in enumerate(support))
        return inside / len(points)

    return share(fake, real), share(real, fake)


def density_coverage(real: np.ndarray, fake: np.ndarray, k: int) -> tuple[float, float]:
    """Naeem et al. 2020, section 3: how many balls of real points a fake is in; balls that hold a fake."""
    hits = [[distance(point, centre) <= radius(real, i, k) for point in fake] for i, centre in enumerate(real)]
    density = sum(sum(row) for row in hits) / (k * len(fake))
    coverage = sum(any(row) for row in hits) / len(real)
    return density, coverage


def two_sample_accuracy(real: np.ndarray, fake: np.ndarray) -> tuple[float, float]:
    """Leave-one-out accuracy of the nearest neighbour's label, on real and on fake points."""
    points = np.concatenate([real, fake])
    right = []
    for i, point in enumerate(points):
        others = [(distance(point, other), j) for j, other in enumerate(points) if j != i]
        nearest = min(others)[1]
        right.append((nearest < len(real)) == (i < len(real)))
    return sum(right[: len(real)]) / len(real), sum(right[len(real) :]) / len(fake)


def nearest(points: np.ndarray, among: np.ndarray) -> list[int]:
    """The number of the nearest of `among` for each point."""
    return [min(range(len(among)), key=lambda j: distance(point, among[j])) for point in points]
