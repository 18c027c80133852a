"""The Parzen window log-likelihood: its definition, closed forms, the protocol of 2014, bounded memory."""

import math
import os
import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import multivariate_normal

from minigan.data.sources import load_images
from minigan.evaluation import distances
from minigan.evaluation.parzen import SIGMAS, log_densities, parzen_score
from reference.parzen import log_density


def draw(seed, *shape):
    return np.random.default_rng(seed).random(shape)


@given(st.integers(1, 6), st.integers(1, 9), st.integers(1, 5), st.integers(0, 99), st.sampled_from([1, 2, 1024]))
def test_agrees_with_the_explicit_loops_however_the_blocks_fall(n, m, dimension, seed, rows):
    test, samples = draw([seed, 1], n, dimension), draw([seed, 2], m, dimension)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(distances, "ROWS", rows)
        found = log_densities(test, samples, [0.1, 0.7])
    expected = [[log_density(x, samples, sigma) for x in test] for sigma in (0.1, 0.7)]
    np.testing.assert_allclose(found, expected, rtol=1e-10, atol=1e-10)


def test_one_sample_makes_the_density_a_gaussian():
    test, sample = draw(0, 5, 3), draw(1, 1, 3)
    expected = multivariate_normal(sample[0], 0.3**2).logpdf(test)
    np.testing.assert_allclose(log_densities(test, sample, [0.3])[0], expected, rtol=1e-12)


def test_a_density_too_small_for_a_number_has_a_logarithm():
    """exp(-50,000) is 0 in float64, its logarithm is not."""
    (found,) = log_densities(np.array([[0.0], [0.001]]), np.array([[1.0], [2.0]]), [1 / math.sqrt(1e5)])
    exact = -50_000 * (1 - np.array([0.0, 0.001])) ** 2 - math.log(2) - math.log(math.sqrt(2e-5 * math.pi))
    np.testing.assert_allclose(found, exact, rtol=1e-12)


def test_the_order_of_the_samples_does_not_matter(monkeypatch):
    monkeypatch.setattr(distances, "ROWS", 3)  # the nearest sample now comes in another block
    test, samples = draw(0, 4, 6), draw(1, 11, 6)
    ways = [log_densities(test, samples[order], [0.1]) for order in (slice(None), slice(None, None, -1))]
    np.testing.assert_allclose(*ways, rtol=1e-12)


def test_the_protocol(device):
    """Sigma from the first 1,000 validation images only; the error is std / sqrt(N)."""
    samples, test = draw(0, 50, 4), draw(1, 30, 4)
    validation = np.concatenate([draw(2, 1000, 4), np.full((5000, 4), 0.5)])
    score = parzen_score(*map(device.put, (samples, validation, test)))
    means = [np.mean([log_density(x, samples, sigma) for x in validation[:1000]]) for sigma in SIGMAS]
    np.testing.assert_allclose(score.validation, means, rtol=1e-10)
    assert score.sigma == SIGMAS[int(np.argmax(means))]
    each = [log_density(x, samples, score.sigma) for x in test]
    assert score.log_likelihood == pytest.approx(np.mean(each), rel=1e-10)
    assert score.standard_error == pytest.approx(np.std(each) / math.sqrt(30), rel=1e-10)


def test_the_sigmas_are_ten_from_a_tenth_to_one():
    assert len(SIGMAS) == 10
    assert (SIGMAS[0], SIGMAS[-1]) == (0.1, 1.0)
    ratios = np.divide(SIGMAS[1:], SIGMAS[:-1])
    np.testing.assert_allclose(ratios, 10 ** (1 / 9), rtol=1e-12)


def test_images_of_float32_are_scored_in_float64():
    """At a norm of 1,000, float32 has lost the small distance that decides."""
    samples = np.full((1, 4), 1000, np.float32)
    test = samples + np.float32(0.25)
    (found,) = log_densities(test, samples, [0.1])[0]
    assert found == pytest.approx(log_density(test[0], samples, 0.1), rel=1e-9)


def test_memory_does_not_grow_with_the_number_of_samples():
    samples, test = np.zeros((20_000, 100), np.float32), np.zeros((1100, 100), np.float32)
    tracemalloc.start()
    log_densities(test, samples, [0.2, 0.4])
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 160 * 2**20


def test_samples_that_are_not_numbers_are_refused():
    with pytest.raises(ValueError, match="not finite"):
        parzen_score(np.full((3, 2), np.nan), draw(0, 3, 2), draw(1, 3, 2))


@pytest.mark.skipif(not os.environ.get("MINIGAN_DATA"), reason="MINIGAN_DATA is not set: give a folder with mnist/")
def test_training_images_score_what_was_published_for_the_true_distribution():
    """243 in Theis et al. 2016, table 1; the whole protocol in full size, ten seconds on one core."""
    training, test = (load_images("mnist", split=split).images / np.float32(255) for split in ("train", "test"))
    samples = training[np.random.default_rng(0).permutation(50_000)[:10_000]]
    score = parzen_score(samples, training[50_000:], test)
    assert score.log_likelihood == pytest.approx(243, abs=2)
    assert score.standard_error == pytest.approx(2, abs=0.5)
