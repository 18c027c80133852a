"""The Fréchet distance of Gaussians: closed forms, scipy's matrix square root, properties of a distance."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.linalg import sqrtm

from minigan.evaluation import frechet
from minigan.evaluation.frechet import Moments, frechet_distance, moments


def gaussian(seed, dimension):
    """A random mean and covariance."""
    rng = np.random.default_rng(seed)
    factor = rng.normal(size=(dimension, dimension))
    return Moments(rng.normal(size=dimension), factor @ factor.T)


@given(st.integers(1, 12), st.integers(0, 99))
def test_agrees_with_the_square_root_of_the_product(dimension, seed):
    a, b = gaussian([seed, 1], dimension), gaussian([seed, 2], dimension)
    traces = np.trace(a.covariance + b.covariance - 2 * sqrtm(a.covariance @ b.covariance).real)
    expected = ((a.mean - b.mean) ** 2).sum() + traces
    assert frechet_distance(a, b) == pytest.approx(expected, rel=1e-6)


def test_numbers_in_one_dimension():
    """N(1, 4) and N(4, 25): (1 - 4)^2 + (2 - 5)^2."""
    a, b = (Moments(np.array([m]), np.array([[s * s]])) for m, s in ((1.0, 2.0), (4.0, 5.0)))
    assert frechet_distance(a, b) == pytest.approx(18, rel=1e-12)


def test_independent_features_add_up():
    rng = np.random.default_rng(0)
    s, t = rng.random((2, 6)) + 0.1
    a, b = Moments(np.zeros(6), np.diag(s**2)), Moments(np.zeros(6), np.diag(t**2))
    assert frechet_distance(a, b) == pytest.approx(((s - t) ** 2).sum(), rel=1e-10)


def test_a_scaled_covariance():
    """tr(A + c^2 A - 2 c A) = (1 - c)^2 tr A."""
    a = gaussian(0, 8)
    b = Moments(a.mean, 9 * a.covariance)
    assert frechet_distance(a, b) == pytest.approx(4 * np.trace(a.covariance), rel=1e-10)


@given(st.integers(1, 12), st.integers(0, 99))
def test_it_is_symmetric_not_negative_and_zero_for_itself(dimension, seed):
    a, b = gaussian([seed, 1], dimension), gaussian([seed, 2], dimension)
    there, back = frechet_distance(a, b), frechet_distance(b, a)
    assert there == pytest.approx(back, rel=1e-7)
    assert there > 0
    assert abs(frechet_distance(a, a)) < 1e-9 * np.trace(a.covariance)


def test_fewer_images_than_features_are_no_trouble():
    """The square root's trace is then the sum of the singular values of X Y^T, which has as many rows as images."""
    a, b = (np.random.default_rng(seed).normal(size=(count, 400)) for seed, count in ((0, 40), (1, 60)))
    of_a, of_b = moments(a), moments(b)
    x, y = (a - a.mean(axis=0)) / np.sqrt(39), (b - b.mean(axis=0)) / np.sqrt(59)
    root = np.linalg.svd(x @ y.T, compute_uv=False).sum()
    expected = ((a.mean(axis=0) - b.mean(axis=0)) ** 2).sum() + (x * x).sum() + (y * y).sum() - 2 * root
    assert frechet_distance(of_a, of_b) == pytest.approx(expected, rel=1e-6)
    assert abs(frechet_distance(of_a, of_a)) < 1e-5 * np.trace(of_a.covariance)


def test_a_singular_covariance_gives_a_number():
    """Features that are always zero are usual; the square root of a product then often fails."""
    features = np.random.default_rng(0).normal(size=(30, 50))  # rank 29 of 50
    features[:, :5] = 0
    a, b = moments(features), moments(features + 1)
    assert frechet_distance(a, b) == pytest.approx(50, rel=1e-5)


@pytest.mark.parametrize("rows", [1, 7, 1024])
def test_moments_are_those_of_numpy_however_the_blocks_fall(device, monkeypatch, rows):
    monkeypatch.setattr(frechet, "ROWS", rows)
    features = np.random.default_rng(0).normal(1e4, 1, size=(20, 5)).astype(np.float32)
    mean, covariance = moments(device.put(features))
    exact = features.astype(np.float64)
    np.testing.assert_allclose(mean.tolist(), exact.mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(covariance.tolist(), np.cov(exact, rowvar=False), rtol=1e-9)


def test_every_device_gives_the_same(device):
    a, b = gaussian(0, 6), gaussian(1, 6)
    there = [Moments(device.put(m.mean), device.put(m.covariance)) for m in (a, b)]
    assert frechet_distance(*there) == pytest.approx(frechet_distance(a, b), rel=1e-9)


def test_it_is_biased_upwards_in_few_samples():
    """The weakness that the docstring names: two sets of one distribution are further apart when they are small."""
    rng = np.random.default_rng(0)
    few, many = (
        frechet_distance(moments(rng.normal(size=(n, 20))), moments(rng.normal(size=(n, 20)))) for n in (50, 5000)
    )
    assert few > 20 * many > 0


def test_what_cannot_be_compared_is_refused():
    with pytest.raises(ValueError, match="at least 2"):
        moments(np.zeros((1, 3)))
    with pytest.raises(ValueError, match="features of different number: 3 and 4"):
        frechet_distance(gaussian(0, 3), gaussian(0, 4))
    with pytest.raises(ValueError, match="not finite"):
        moments(np.full((3, 2), np.nan))
