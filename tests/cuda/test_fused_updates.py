"""Update rules in one launch change what the plain rules change, wherever their coefficients come from."""

import numpy as np
import pytest

from minigan.cuda import launch
from minigan.nn import Dense, init_params
from minigan.optim import SGD
from tests.cuda.gpu import fast_gpu, small_launches
from tests.optim.updates import LR, RULES, Backwards, after_updates
from tests.strategies import normal

pytestmark = pytest.mark.emulated

every_rule = pytest.mark.parametrize("rule", RULES.values(), ids=RULES)


def arrays(like, numbers):
    """Coefficients as a captured round has them: in one array on the device."""
    together = type(like)(len(numbers), like.dtype)
    for i, number in enumerate(numbers):
        together[i] = number
    return [together[i] for i in range(len(numbers))]


@every_rule
@pytest.mark.parametrize("dtype", [np.float32, np.float64], ids=["float32", "float64"])
@pytest.mark.parametrize("ready", [None, arrays], ids=["numbers", "arrays"])
def test_as_plain(rule, dtype, ready):
    expected = after_updates(rule, 5)
    with small_launches(), fast_gpu() as device:
        found = after_updates(rule, 5, dtype, device, ready)
    for ours, plain in zip(found, expected, strict=True):
        assert ours.dtype == dtype
        np.testing.assert_allclose(ours, plain, rtol=0, atol=50 * np.finfo(dtype).eps)


@every_rule
def test_one_launch_an_update(rule, monkeypatch):
    launched = []
    kernel = launch._kernel
    monkeypatch.setattr(launch, "_kernel", lambda *of: launched.append(of[2]) or kernel(*of))
    with fast_gpu() as device:
        after_updates(rule, 3, device=device, ready=arrays)
    assert launched == [type(rule).__name__.lower()] * 3


def test_a_rule_of_one_s_own_is_followed():
    """Even where it has the moments and the coefficients of one that is known."""
    expected = after_updates(Backwards(LR), 3)
    with fast_gpu() as device:
        found = after_updates(Backwards(LR), 3, device=device)
    assert np.array_equal(found[0], expected[0])
    assert not np.array_equal(found[0], after_updates(SGD(LR), 3)[0])


def test_a_rule_is_not_taken_for_ours_because_of_its_name():
    namesake = type("SGD", (Backwards,), {})(LR)
    with fast_gpu() as device:
        found = after_updates(namesake, 3, device=device)
    assert np.array_equal(found[0], after_updates(namesake, 3)[0])


def test_moments_are_told_apart_by_name():
    """A checkpoint may bring them in another order."""
    rule = RULES["adam"]
    with fast_gpu() as device:
        theta = init_params(Dense(2), (3,), np.random.default_rng(0), device=device)
        g = device.put(normal(0, *theta.flat.shape).astype("f"))
        results = []
        for order in ("m", "v"), ("v", "m"):
            changed, grads = theta.copy(), theta.gradients()
            grads.flat[...] = g
            rule.update(changed, grads, {name: device.xp.zeros_like(g) for name in order}, 1)
            results.append(changed.flat.get())
    assert np.array_equal(*results)
