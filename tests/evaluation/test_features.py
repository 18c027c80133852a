"""Features of a discriminator, and the linear classifier on them."""

import numpy as np
import pytest

from minigan import nn
from minigan.backend import CPU
from minigan.evaluation.features import PART, discriminator_features, linear_accuracy

NET = nn.Sequential(
    nn.Conv2D(3, 3, padding=1), nn.BatchNorm(), nn.LeakyReLU(0.2), nn.Sequential(nn.Conv2D(2, 2, 2), nn.Tanh()),
    nn.Flatten(), nn.Dense(5), nn.ReLU(), nn.Dropout(0.5), nn.Dense(1),
)  # fmt: skip


def given(count=6, shape=(6, 10, 1), device=CPU):
    theta = nn.init_params(NET, shape, np.random.default_rng(0), dtype=np.float64, device=device)
    return theta, device.put(np.random.default_rng(1).normal(size=(count, *shape)))


def test_they_are_the_largest_numbers_in_parts_of_each_activation(device):
    theta, x = given(device=device)
    found = discriminator_features(NET, theta, x)
    assert isinstance(found, np.ndarray)
    theta, x = given()
    first, _ = nn.Sequential(*NET.layers[:3]).forward(theta, x, train=False)
    second, _ = NET.layers[3].forward(theta.scope("sequential1"), first, train=False)
    third, _ = nn.Dense(5).forward(theta.scope("dense1"), second.reshape(6, -1), train=False)
    # 6 x 10 in parts of 2 x 3, of which there are 3 x 4, the outer ones cut off; 3 x 5 in parts of 1 x 2
    rows, columns = [slice(0, 2), slice(2, 4), slice(4, 6)], [slice(0, 2), slice(2, 5), slice(5, 8), slice(8, 10)]
    parts = [first[:, a, b].max(axis=(1, 2)) for a in rows for b in columns]
    parts += [
        second[:, a : a + 1, b].max(axis=(1, 2)) for a in range(3) for b in (slice(0, 2), slice(2, 4), slice(4, 5))
    ]
    np.testing.assert_allclose(found, np.concatenate([*parts, np.maximum(third, 0)], axis=1), rtol=1e-12)


def test_a_sample_has_the_same_features_in_any_company():
    theta, x = given(PART + 3)
    whole = discriminator_features(NET, theta, x)
    np.testing.assert_allclose(whole[-4:], discriminator_features(NET, theta, x[-4:]), rtol=1e-12)


def test_a_d_without_activations_has_none():
    net = nn.Sequential(nn.Dense(1))
    theta = nn.init_params(net, (3,), np.random.default_rng(0))
    with pytest.raises(ValueError, match="D has no activations"):
        discriminator_features(net, theta, np.ones((2, 3), np.float32))


def test_classes_that_a_line_divides_are_told_apart_and_others_by_chance():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, 600)
    apart = np.eye(3)[labels] * [1, 10, 0.1] + 0.01 * rng.normal(size=(600, 3))  # of any scale
    assert linear_accuracy(apart[:300], labels[:300], apart[300:], labels[300:]) == 1
    noise = rng.normal(size=(600, 3))
    assert 0.2 < linear_accuracy(noise[:300], labels[:300], noise[300:], labels[300:]) < 0.47


def test_a_feature_that_is_always_the_same_does_no_harm():
    labels = np.array([0, 1] * 20)
    features = np.stack([np.full(40, 7.0), labels - 0.5], axis=1)
    assert linear_accuracy(features, labels, features, labels) == 1
