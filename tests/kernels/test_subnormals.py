"""Numbers below the smallest normal one are made zero while fast kernels are in use, by every worker, and only then."""

import platform
import sys

import numpy as np
import pytest

from minigan import nn, ops, optim
from minigan.kernels import subnormals
from minigan.kernels.workers import share

x86_linux = pytest.mark.skipif(
    not (sys.platform == "linux" and platform.machine() == "x86_64"), reason="processors of another kind keep them"
)
TINY = np.full(64, 1e-40, np.float32)


def kept_by_each() -> list[tuple[bool, bool]]:
    """Of each worker: whether it keeps a subnormal operand, and a subnormal result of normal operands."""
    small = np.full(64, 1e-20, np.float32)

    def keeps(start: int, stop: int) -> tuple[bool, bool]:
        operand = TINY[start:stop] * np.float32(2**20)  # normal, if the operand is not made zero
        result = (small[start:stop] * small[start:stop]).view(np.uint32)  # its bits, which nothing makes zero
        return bool(operand.any()), bool(result.any())

    return share(keeps, 64)


@x86_linux
def test_only_within_fast_kernels():
    assert kept_by_each() == [(True, True)]
    with ops.fast_kernels(3):
        assert kept_by_each() == [(False, False)] * 3
        with ops.fast_kernels(2):
            assert kept_by_each() == [(False, False)] * 2
        assert kept_by_each() == [(False, False)] * 3
    assert kept_by_each() == [(True, True)]


@x86_linux
def test_also_after_an_error():
    with pytest.raises(KeyError), ops.fast_kernels(2):
        raise KeyError
    assert kept_by_each() == [(True, True)]


@x86_linux
def test_also_after_an_error_on_the_way_in(monkeypatch):
    monkeypatch.setattr(ops, "_twins_in", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError), ops.fast_kernels(2):
        pass
    assert kept_by_each() == [(True, True)]  # and there is one worker


@x86_linux
def test_a_setting_of_the_user_stays():
    assert subnormals.flush_subnormals(True) is False
    try:
        with ops.fast_kernels(2):
            pass
        assert kept_by_each() == [(False, False)]
    finally:
        assert subnormals.flush_subnormals(False) is True
    assert kept_by_each() == [(True, True)]


@x86_linux
@pytest.mark.parametrize("rule", [optim.Adam(1e-3, beta1=0.8), optim.Momentum(1e-3, 0.7)], ids=["Adam", "Momentum"])
def test_moments_of_a_weight_without_a_gradient_end_at_zero(rule):
    """By plain rounding 0.8 times the smallest number is that number again, for ever."""

    def after(rounds: int) -> np.ndarray:
        theta = nn.Params(np.zeros(8, np.float32), {"w": (8,)}, {}, ())
        grads, moments = theta.gradients(), rule.init_moments(theta)
        for step in range(rounds):
            grads.flat.fill(1e-3 if step == 0 else 0)
            rule.update(theta, grads, moments, step + 1)
        return moments[rule.moment_names[0]]

    first = after(1)
    stuck = after(600)
    assert stuck.any()
    assert (abs(stuck) < 1e-44).all()
    with ops.fast_kernels(1):
        assert np.allclose(after(1), first)
        assert not after(600).any()


def test_another_processor_is_left_alone(monkeypatch):
    monkeypatch.setattr(platform, "machine", lambda: "arm64")
    assert subnormals.flush_subnormals(True) is False
    assert kept_by_each() == [(True, True)]
