"""What every layer promises that can be differentiated twice: the contract battery of both double backwards."""

import numpy as np
import pytest

from minigan import nn
from minigan.backend import CPU, to_host
from tests.nn.test_contract import (
    BATCH,
    CASES,
    Setting,
    arrays_in,
    assert_equal,
    batch_last,
    both_modes,
    both_precisions,
    every_other,
)
from tests.strategies import error, normal
from tests.strict_cupy import forbid_dtype, forbid_synchronisation

TWICE = {name: case for name, case in CASES.items() if not nn.without_second_gradient(case.layer)}
every_layer = pytest.mark.parametrize("case", TWICE.values(), ids=TWICE)


class Twice(Setting):
    """A layer on its own, and what depends on the gradients on its input and parameters."""

    def __init__(self, case, device, dtype=np.float64):
        super().__init__(case, device, dtype)
        self.layer = case.layer.unfused()
        self.ddx = self.put(normal(4, BATCH, *case.in_shape))
        self.ddtheta = self.theta.gradients()
        self.ddtheta.flat += self.put(normal(5, self.ddtheta.flat.size))

    def second(self, train, grads, ddx=None):
        """dx, and (ddy, the gradient on x) of both double backwards."""
        _, cache = self.forward(train)
        dx, kept = self.layer.input_gradient(self.theta, self.dy, cache)
        return dx, self.both(kept, cache, grads, self.ddx if ddx is None else ddx)

    def both(self, kept, cache, grads, ddx):
        of_dx = self.layer.double_backward(self.theta, ddx, kept, cache, grads)
        of_grads = self.layer.grads_double_backward(self.theta, self.ddtheta, kept, cache, grads)
        return tuple(
            first if second is None else second if first is None else first + second
            for first, second in zip(of_dx, of_grads, strict=True)
        )

    def everything(self, train, ddx=None):
        """All arrays that come out of it."""
        grads = self.theta.gradients()
        dx, (ddy, on_x) = self.second(train, grads, ddx)
        return [dx, ddy, *([] if on_x is None else [on_x]), grads.flat]


def test_layers_without_say_so():
    ghosts = {"ghost batchnorm", "ghost batchnorm with a rectifier", "ghost batchnorm without either"}
    assert CASES.keys() - TWICE.keys() == ghosts
    setting = Setting(CASES["ghost batchnorm"], CPU)
    _, cache = setting.forward(True)
    with pytest.raises(NotImplementedError, match="GhostBatchNorm has no double_backward"):
        setting.layer.double_backward(setting.theta, setting.x, setting.dy, cache, None)
    with pytest.raises(NotImplementedError, match="GhostBatchNorm has no grads_double_backward"):
        setting.layer.grads_double_backward(setting.theta, setting.theta.gradients(), setting.dy, cache, None)
    fused = nn.Sequential(nn.Dense(2), nn.ReLU())
    theta = nn.init_params(fused, (3,), np.random.default_rng(0), dtype=np.float64)
    x = normal(0, 4, 3)
    y, cache = fused.forward(theta, x, train=True)
    _, kept = fused.input_gradient(theta, y, cache)
    with pytest.raises(NotImplementedError, match=r"layer dense1 \+ relu1: .*unfused"):
        fused.double_backward(theta, x, kept, cache, None)


def test_what_does_not_belong_to_the_pass_is_refused():
    """As backward refuses it: another shape, and parameters that have moved since."""
    net = nn.Sequential(nn.Dense(2), nn.Tanh()).unfused()
    theta = nn.init_params(net, (3,), np.random.default_rng(0), dtype=np.float64)
    x = normal(0, 4, 3)
    y, cache = net.forward(theta, x, train=True)
    with pytest.raises(nn.ShapeError, match=r"dy has that shape, got \(4, 3\)"):
        net.input_gradient(theta, x, cache)
    _, kept = net.input_gradient(theta, y, cache)
    with pytest.raises(nn.ShapeError, match=r"given \(4, 3\), so ddx has that shape, got \(3,\)"):
        net.double_backward(theta, x[0], kept, cache, None)
    theta["dense1.w"] = theta["dense1.w"]
    for call in (lambda: net.input_gradient(theta, y, cache), lambda: net.double_backward(theta, x, kept, cache, None)):
        with pytest.raises(ValueError, match="run forward again after an update"):
            call()


@every_layer
@both_modes
def test_it_is_the_adjoint_of_backward(case, train, device):
    """<ddx, dx(dy)> + <ddtheta, dtheta(dy)> = <ddy, dy>, as dx and dtheta are linear in dy."""
    setting = Twice(case, device)
    dx, (ddy, _) = setting.second(train, None)
    assert ddy.shape == setting.dy.shape
    dtheta = setting.theta.gradients()
    setting.layer.backward(setting.theta, setting.dy, setting.forward(train)[1], dtheta)
    there = float((setting.ddx * dx).sum()) + float((setting.ddtheta.flat * dtheta.flat).sum())
    here = float((ddy * setting.dy).sum())
    assert error(there, here, floor=1.0) <= 1e-12


@every_layer
@both_modes
def test_the_input_gradient_is_that_of_backward(case, train, device):
    setting = Twice(case, device)
    _, cache = setting.forward(train)
    dx, _ = setting.second(train, None)
    assert_equal([dx], [setting.layer.backward(setting.theta, setting.dy, cache, None)])


@every_layer
@both_modes
@both_precisions
def test_shapes_and_precision_are_kept(case, train, dtype, device):
    setting = Twice(case, device, dtype)
    dx, (ddy, on_x) = setting.second(train, setting.theta.gradients())
    for found, like in ((dx, setting.x), (ddy, setting.dy), (setting.x if on_x is None else on_x, setting.x)):
        assert (found.shape, found.dtype) == (like.shape, dtype)


@every_layer
@both_modes
def test_gradients_are_added_and_nothing_else_changes(case, train, device):
    setting = Twice(case, device)
    _, cache = setting.forward(train)
    _, kept = setting.layer.input_gradient(setting.theta, setting.dy, cache)
    given = (setting.theta.flat, setting.x, setting.dy, setting.ddx, setting.ddtheta.flat)
    before = [array.copy() for array in given]
    cached = list(arrays_in(cache))
    fresh, used = setting.theta.gradients(), setting.theta.gradients()
    already = setting.put(normal(9, used.flat.size))
    used.flat += already
    found = [setting.both(kept, cache, g, setting.ddx) for g in (fresh, used, None)]
    assert error(to_host(used.flat), to_host(already + fresh.flat)) <= 1e-14  # some are added to twice
    assert_equal(given, before)
    assert_equal(arrays_in(cache), cached)
    for again in found[1:]:  # also where no gradients are asked for
        assert_equal([a for a in again if a is not None], [a for a in found[0] if a is not None])


@every_layer
@both_modes
@pytest.mark.parametrize("layout", [every_other, batch_last])
def test_strides_do_not_matter(case, train, layout, device):
    setting = Twice(case, device)
    strided = setting.everything(train, layout(device, setting.ddx))
    for found, plain in zip(strided, setting.everything(train), strict=True):
        assert error(to_host(found), to_host(plain), floor=1.0) <= 1e-13


@every_layer
@both_modes
def test_nothing_waits_for_the_gpu_or_is_computed_in_double_precision(case, train, strict):
    setting = Twice(case, strict, np.float32)
    with forbid_synchronisation(), forbid_dtype("float64"):
        setting.second(train, setting.theta.gradients())


@every_layer
@both_modes
@both_precisions
def test_numpy_and_the_stand_in_agree_bit_for_bit(case, train, dtype, strict):
    assert_equal(Twice(case, strict, dtype).everything(train), Twice(case, CPU, dtype).everything(train))


@pytest.mark.gpu
@every_layer
@both_modes
def test_numpy_and_the_gpu_agree(case, train, gpu):
    for on_gpu, on_cpu in zip(Twice(case, gpu).everything(train), Twice(case, CPU).everything(train), strict=True):
        assert error(to_host(on_gpu), on_cpu, floor=1.0) <= 1e-12
