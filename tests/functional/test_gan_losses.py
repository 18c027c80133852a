"""The players' losses: naive loops at moderate logits, and the behaviour for which each is known."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minigan.functional import gan_losses
from minigan.functional.gan_losses import (
    discriminator_bce,
    discriminator_hinge,
    generator_minimax,
    generator_non_saturating,
    generator_wasserstein,
)
from minigan.functional.losses import bce_with_logits
from reference import gan_losses as loops
from tests.strategies import arrays_any, assert_agrees, few_examples, normal

DISCRIMINATORS = [
    "discriminator_bce",
    "discriminator_least_squares",
    "discriminator_hinge",
    "discriminator_wasserstein",
]
GENERATORS = ["generator_minimax", "generator_non_saturating", "generator_least_squares", "generator_wasserstein"]
both_precisions = pytest.mark.parametrize("dtype", [np.float32, np.float64])


@pytest.mark.parametrize("name", DISCRIMINATORS)
@few_examples
@given(real=arrays_any(), fake=arrays_any())
def test_discriminators_agree_with_the_naive_loops(name, real, fake):
    actual, expected = getattr(gan_losses, name)(real, fake), getattr(loops, name)(real, fake)
    for ours, theirs in zip(actual, expected, strict=True):
        assert_agrees(ours, theirs)


@few_examples
@given(real=arrays_any(), fake=arrays_any(), smoothing=st.floats(0, 0.5), scale=st.floats(0.5, 2))
def test_smoothed_and_scaled_cross_entropy_agrees_with_the_naive_loops(real, fake, smoothing, scale):
    actual = discriminator_bce(real, fake, smoothing, scale)
    for ours, theirs in zip(actual, loops.discriminator_bce(real, fake, smoothing, scale), strict=True):
        assert_agrees(ours, theirs)


@pytest.mark.parametrize("name", GENERATORS)
@few_examples
@given(fake=arrays_any())
def test_generators_agree_with_the_naive_loops(name, fake):
    for ours, theirs in zip(getattr(gan_losses, name)(fake), getattr(loops, name)(fake), strict=True):
        assert_agrees(ours, theirs)


@pytest.mark.parametrize("name", DISCRIMINATORS + GENERATORS)
@both_precisions
def test_huge_logits_give_finite_losses_without_a_warning(name, dtype):
    logits = np.array([-1e4, -1.0, 1.0, 1e4], dtype)
    arguments = [logits, logits[::-1]] if name in DISCRIMINATORS else [logits]
    with np.errstate(all="raise", under="ignore"):
        results = getattr(gan_losses, name)(*arguments)
    assert all(np.isfinite(result).all() for result in results)


@pytest.mark.parametrize("name", DISCRIMINATORS)
def test_each_mean_counts_its_own_samples(name):
    """Real logits twice over: neither the loss nor the gradient of the fake ones moves, that of the real halves."""
    real, fake = normal(0, 3, 1), normal(1, 5, 1)
    loss, dreal, dfake = getattr(gan_losses, name)(real, fake)
    doubled_loss, doubled_dreal, same_dfake = getattr(gan_losses, name)(np.tile(real, (2, 1)), fake)
    assert_agrees(doubled_loss, loss, 1e-15)
    assert_agrees(doubled_dreal, np.tile(dreal / 2, (2, 1)), 1e-15)
    assert (same_dfake == dfake).all()


@pytest.mark.parametrize("name", DISCRIMINATORS)
def test_discriminators_push_real_up_and_fake_down(name):
    """A step against the gradient raises real logits and lowers generated ones."""
    _, dreal, dfake = getattr(gan_losses, name)(np.full((3, 1), -0.5), np.full((3, 1), 0.5))
    assert (dreal < 0).all()
    assert (dfake > 0).all()


@pytest.mark.parametrize("name", GENERATORS)
def test_generators_push_fake_up(name):
    _, dfake = getattr(gan_losses, name)(np.array([[-2.0], [0.0], [0.5]]))
    assert (dfake < 0).all()


@both_precisions
def test_a_sure_discriminator_starves_the_minimax_generator_and_feeds_the_other(dtype):
    fake = np.full((4, 1), -1e4, dtype)
    assert (generator_minimax(fake)[1] == 0).all()
    assert (generator_non_saturating(fake)[1] == -1 / 4).all()


def test_a_fooled_discriminator_reverses_the_roles():
    fake = np.full((4, 1), 1e4)
    assert (generator_minimax(fake)[1] == -1 / 4).all()
    assert (generator_non_saturating(fake)[1] == 0).all()


@given(fake=arrays_any())
def test_both_generators_share_one_direction_and_their_slopes_sum_to_one(fake):
    """-sigmoid(f) / m and -sigmoid(-f) / m: they agree where D is undecided, f = 0."""
    total = generator_minimax(fake)[1] + generator_non_saturating(fake)[1]
    assert_agrees(total, np.full(fake.shape, -1 / fake.size), 1e-15)


@given(real=arrays_any(), fake=arrays_any())
def test_minimax_is_a_zero_sum_game(real, fake):
    """The fake half of the discriminator's loss is the generator's, negated."""
    _, _, dfake = discriminator_bce(real, fake)
    assert (generator_minimax(fake)[1] == -dfake).all()


def test_an_undecided_discriminator_pays_twice_log_two():
    loss, dreal, dfake = discriminator_bce(np.zeros(2), np.zeros(4))
    assert_agrees(loss, 2 * np.log(2), 1e-15)
    assert (dreal == -0.5 / 2).all()
    assert (dfake == 0.5 / 4).all()


@given(real=arrays_any(), fake=arrays_any(), smoothing=st.sampled_from([0.0, 0.1, 0.3]))
def test_one_sided_smoothing_changes_the_target_of_real_samples_alone(real, fake, smoothing):
    loss, dreal, dfake = discriminator_bce(real, fake, smoothing)
    loss_real, expected_dreal = bce_with_logits(real, 1 - smoothing)
    loss_fake, expected_dfake = bce_with_logits(fake, 0.0)
    assert_agrees(loss, loss_real + loss_fake, 1e-14)
    assert_agrees(dreal, expected_dreal, 1e-15)
    assert_agrees(dfake, expected_dfake, 1e-15)


def test_with_smoothing_the_best_answer_to_real_samples_is_the_smoothed_target():
    """sigmoid(log 9) = 0.9 = 1 - a: the gradient is zero there, and not at larger logits."""
    _, dreal, _ = discriminator_bce(np.array([np.log(9.0), 5.0]), np.zeros(1), smoothing=0.1)
    assert abs(dreal[0]) < 1e-15
    assert dreal[1] > 0.01


def test_scale_multiplies_the_loss_and_both_gradients():
    real, fake = normal(0, 3, 1), normal(1, 5, 1)
    for half, whole in zip(discriminator_bce(real, fake, 0.1, 0.5), discriminator_bce(real, fake, 0.1), strict=True):
        assert_agrees(half, whole / 2, 1e-15)


def test_the_hinge_leaves_alone_what_is_beyond_the_margin():
    """Kinks included: r = 1 and f = -1 have reached the margin."""
    logits = np.array([-2.0, -1.0, 0.0, 1.0, 2.0])
    loss, dreal, dfake = discriminator_hinge(logits, logits)
    assert loss == (3 + 2 + 1) / 5 + (1 + 2 + 3) / 5
    assert (dreal * 5 == [-1, -1, -1, 0, 0]).all()
    assert (dfake * 5 == [0, 0, 1, 1, 1]).all()


@given(fake=arrays_any())
def test_the_wasserstein_generator_is_pushed_the_same_wherever_it_is(fake):
    loss, dfake = generator_wasserstein(fake)
    assert_agrees(loss, -fake.mean(), 1e-15)
    assert (dfake == -1 / fake.size).all()


def test_mean_probabilities_are_finite_for_any_logit():
    assert gan_losses.mean_probability(np.array([[-1e4], [1e4]])) == 0.5
    assert_agrees(gan_losses.mean_probability(np.array([0.0, np.log(3.0)])), (0.5 + 0.75) / 2, 1e-15)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_quotient_stays_finite_where_the_divisor_vanishes(dtype):
    a, b = np.array([1, 1, 3, 0, 2], dtype), np.array([0, 1e-30, -4, 0, -1e-30], dtype)
    divisor, quotient = gan_losses.safe_quotient(a, b)
    assert divisor.dtype == quotient.dtype == dtype
    assert divisor.tolist() == np.array([1e-20, 1e-20, -4, 1e-20, 1e-20], dtype).tolist()
    assert_agrees(divisor * quotient, a, 1e-6)


def test_the_least_squares_targets_are_one_and_zero():
    loss, dreal, dfake = gan_losses.discriminator_least_squares(np.ones((2, 1)), np.zeros((3, 1)))
    assert loss == 0
    assert (dreal == 0).all()
    assert (dfake == 0).all()
    assert gan_losses.generator_least_squares(np.ones((2, 1)))[0] == 0
