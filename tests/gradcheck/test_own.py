"""check_layer on layers that break one promise each, and on all that keep them."""

from dataclasses import dataclass, field

import numpy as np
import pytest

from minigan import games, nn
from minigan.gradcheck import BrokenPromise, check_layer, check_loss
from minigan.gradcheck.own import broken_promises
from tests.nn.test_contract import CASES

KEEPING = {name: case for name, case in CASES.items() if not name.startswith("ghost")}  # which want whole parts


@pytest.mark.parametrize("name", KEEPING)
def test_our_own_layers_pass(name):
    rows = check_layer(KEEPING[name].layer, KEEPING[name].in_shape)
    assert rows
    assert all(row.passes() for row in rows)


@pytest.mark.parametrize("name", KEEPING)
def test_they_keep_their_promises_in_inference_too(name):
    """Its gradients are those of training, or `minigan.gradcheck` has a row for them."""
    assert list(broken_promises(KEEPING[name].layer, KEEPING[name].in_shape, train=False, seed=0)) == []


@dataclass(frozen=True)
class Square(nn.Layer):
    """y = x^2 + b x, with a way to do one thing wrong."""

    fault: str = ""
    kept: dict = field(default_factory=dict, compare=False)

    def out_shape(self, in_shape):
        return (7,) if self.fault == "out_shape" else in_shape

    def param_shapes(self, in_shape):
        return {"b": in_shape[-1:]}

    def random_numbers(self, in_shape):
        return 1 if self.fault == "random_numbers" else 0

    def forward(self, theta, x, *, train, rng=None):
        self.kept["x"] = x
        y = x * x + theta["b"] * x
        match self.fault:
            case "changes x":
                x *= 2
            case "float64":
                y = y / np.sqrt(2.0)
            case "mixes":
                y = y - x.mean(axis=0)
        return y, x

    def backward(self, theta, dy, cache, grads, *, need_dx=True):
        x = self.kept["x"] if self.fault == "state" else cache
        if grads is not None:
            grads["b"] += (dy * x).sum(axis=0) * (2 if self.fault == "twice" else 1)
        elif self.fault == "without grads":
            dy = 2 * dy
        if self.fault == "changes dy":
            dy *= 2
        if not need_dx and self.fault == "needs nothing, but no gradients either" and grads is not None:
            grads["b"] += 1
        return None if not need_dx and self.fault != "need_dx" else dy * (2 * x + theta["b"])


FAULTS = {
    "out_shape": "the output has shape", "random_numbers": "other random numbers", "changes x": "x was changed",
    "float64": "the output is float64", "mixes": "depends on the others", "state": "another forward pass",
    "without grads": "grads=None", "changes dy": "dy was changed", "need_dx": "backward returns a gradient",
    "needs nothing, but no gradients either": "other gradients of the parameters",
}  # fmt: skip


def test_the_layer_without_a_fault_keeps_all():
    assert all(row.passes() for row in check_layer(Square(), (3,)))


@pytest.mark.parametrize("fault", FAULTS)
def test_a_broken_promise_is_named(fault):
    with pytest.raises(BrokenPromise, match=f"Square: .*{FAULTS[fault]}"):
        check_layer(Square(fault), (3,))


def test_a_wrong_gradient_is_a_row_that_does_not_pass():
    rows = check_layer(Square("twice"), (3,))
    assert {row.variable: row.passes() for row in rows} == {"b": False, "input": True}


def test_a_gradient_of_zero_is_right():
    """That of a bias before batch normalisation is rounding, on both sides."""
    rows = check_layer(nn.Sequential(nn.Dense(3), nn.BatchNorm()), (4,))
    assert all(row.passes() for row in rows)
    assert "dense1.b" in {row.variable for row in rows}


def test_a_layer_that_returns_no_gradient_is_told_so():
    class Silent(Square):
        def backward(self, theta, dy, cache, grads, *, need_dx=True):
            return None

    with pytest.raises(BrokenPromise, match="backward returns no gradient on the input"):
        check_layer(Silent(), (3,))


def test_samples_that_follow_the_first_are_looked_at_too():
    class Neighbours(Square):
        def forward(self, theta, x, *, train, rng=None):
            y = x * x + theta["b"] * x
            y[1:] += x[:-1]
            return y, x

    with pytest.raises(BrokenPromise, match="depends on the others"):
        check_layer(Neighbours(), (3,))


@pytest.mark.parametrize("place", ["the next one", "the last one"])
def test_samples_that_follow_the_others_are_looked_at_too(place):
    class Later(Square):
        def forward(self, theta, x, *, train, rng=None):
            y = x * x + theta["b"] * x
            y[:-1] += x[1:] if place == "the next one" else x[-1:]
            return y, x

    with pytest.raises(BrokenPromise, match="depends on the others"):
        check_layer(Later(), (3,))


@pytest.mark.parametrize("which", ["dx", "the gradient", "the output"])
def test_numbers_in_single_precision_are_compared_too(which):
    class InFloat32(Square):
        def forward(self, theta, x, *, train, rng=None):
            y = x * x + theta["b"] * x
            return (y * 1.01 if which == "the output" and x.dtype == np.float32 else y), x

        def backward(self, theta, dy, cache, grads, *, need_dx=True):
            wrong = np.float32(2 if cache.dtype == np.float32 else 1)
            if grads is not None:
                grads["b"] += (dy * cache).sum(axis=0) * (wrong if which == "the gradient" else 1)
            return dy * (2 * cache + theta["b"]) * (wrong if which == "dx" else 1) if need_dx else None

    with pytest.raises(BrokenPromise, match=f"{which} in float32 is not that in float64"):
        check_layer(InFloat32(), (3,))


@dataclass(frozen=True)
class LayerNorm(nn.Layer):
    """Over two features all gradients nearly vanish, and what is left in float32 is rounding."""

    def forward(self, theta, x, *, train, rng=None):
        centred = x - x.mean(axis=-1, keepdims=True)
        inv_std = 1 / np.sqrt((centred * centred).mean(axis=-1, keepdims=True) + x.dtype.type(1e-5))
        return centred * inv_std, (centred * inv_std, inv_std)

    def backward(self, theta, dy, cache, grads, *, need_dx=True):
        x_hat, inv_std = cache
        inner = (dy * x_hat).mean(axis=-1, keepdims=True)
        return inv_std * (dy - dy.mean(axis=-1, keepdims=True) - x_hat * inner) if need_dx else None


@pytest.mark.parametrize("seed", range(20))
def test_gradients_that_nearly_vanish_are_no_broken_promise(seed):
    check_layer(LayerNorm(), (2,), seed=seed)


class Statistics(nn.BatchNorm):
    """As BatchNorm, but for what is given."""

    def update_statistics(self, theta, cache):
        FAULT["move"](self, theta, cache)


FAULT = {"move": nn.BatchNorm.update_statistics}


@pytest.mark.parametrize(
    ("move", "words"),
    [
        (lambda _self, _theta, _cache: None, "moves none of the statistics"),
        (lambda _self, theta, _cache: theta.__setitem__("mean", np.nan), "not finite"),
    ],
)
def test_statistics_that_are_not_moved_are_noticed(monkeypatch, move, words):
    assert all(row.passes() for row in check_layer(Statistics(), (3,)))
    monkeypatch.setitem(FAULT, "move", move)
    with pytest.raises(BrokenPromise, match=words):
        check_layer(Statistics(), (3,))


OURS = {
    "minimax": games.minimax(smoothing=0.1),
    "non-saturating": games.non_saturating(scale=0.5),
    "least squares": games.LEAST_SQUARES,
    "hinge": games.HINGE,
    "wasserstein": games.WASSERSTEIN,
}


@pytest.mark.parametrize("name", OURS)
@pytest.mark.parametrize("logits", [(1,), (2, 3, 1)])
def test_our_own_losses_are_right(name, logits):
    assert all(row.passes() for row in check_loss(OURS[name], logits))


def least_squares(real, fake):
    return (real**2).mean() + (fake**2).mean(), 2 * real / real.size, 2 * fake / fake.size


@pytest.mark.parametrize(
    ("discriminator", "words"),
    [
        (lambda r, f: ((r**2).mean(axis=0) + (f**2).mean(axis=0), 2 * r / r.size, 2 * f / f.size), "has the shape"),
        (lambda r, f: ((r**2).sum() + (f**2).sum(), 2 * r, 2 * f), "it is no mean"),
        (lambda r, f: (least_squares(r, f)[0], 2 * f / f.size, 2 * r / r.size), "the gradient on real is"),
        (lambda r, f: (least_squares(r, f)[0], 2 * r[:, 0] / r.size, 2 * f / f.size), "the gradient on real is"),
        (
            lambda r, f: (least_squares(r, f)[0], np.float32(r) / r.size, 2 * f / f.size),
            "the gradient on real is float32",
        ),
    ],
)
def test_a_loss_that_breaks_a_promise_is_told_so(discriminator, words):
    loss = games.GANLoss(discriminator, games.HINGE.generator)
    with pytest.raises(BrokenPromise, match=f"loss of the discriminator: .*{words}"):
        check_loss(loss)


def test_a_wrong_gradient_of_a_loss_is_a_row_that_does_not_pass():
    forgets = games.GANLoss(lambda r, f: (least_squares(r, f)[0], 2 * r, 2 * f / f.size), lambda f: (f.mean(), 0 * f))
    assert [row.passes() for row in check_loss(forgets)] == [False, True, False]


# Second gradients ---------------------------------------------------------------------------------------


class TwiceSquare(Square):
    """y = x^2 + b x, whose backward is dx = dy (2 x + b)."""

    def double_backward(self, theta, ddx, dy, cache, grads):
        x = cache
        if grads is not None:
            grads["b"] += (dy * ddx).sum(axis=0)
        ddy, on_x = ddx * (2 * x + theta["b"]), 2 * dy * ddx
        match self.fault:
            case "twice: one":
                return ddy
            case "twice: none":
                return None, on_x
            case "twice: shape":
                return ddy[:1], on_x
            case "twice: float64":
                return ddy, on_x.astype(np.float64)
            case "twice: changes ddx":
                ddx *= 2
            case "twice: no bend":
                return ddy, None
            case "twice: b forgotten":
                grads["b"] -= (dy * ddx).sum(axis=0)
        return ddy, on_x


def test_second_gradients_of_a_layer_are_checked_if_it_has_them():
    rows = check_layer(TwiceSquare(), (3,))
    assert all(row.passes() for row in rows)
    assert [row.variable for row in rows if row.name == "TwiceSquare, twice"] == ["b", "ddx", "dy", "input"]
    assert not [row for row in check_layer(Square(), (3,)) if "twice" in row.name]


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ("twice: one", "double_backward returns ddy and the gradient on x, or None in its place, got ndarray"),
        ("twice: none", r"ddy of double_backward is None, where float32 \(5, 3\) is meant"),
        ("twice: shape", r"ddy of double_backward is float32 \(1, 3\)"),
        ("twice: float64", "the gradient on x of double_backward is float64"),
        ("twice: changes ddx", "ddx was changed by double_backward"),
    ],
)
def test_a_broken_promise_of_second_gradients_is_named(fault, words):
    with pytest.raises(BrokenPromise, match=words):
        check_layer(TwiceSquare(fault), (3,))


@pytest.mark.parametrize(("fault", "wrong"), [("twice: no bend", "input"), ("twice: b forgotten", "b")])
def test_a_wrong_second_gradient_is_a_row_that_does_not_pass(fault, wrong):
    assert {row.variable for row in check_layer(TwiceSquare(fault), (3,)) if not row.passes()} == {wrong}


class WholeSquare(TwiceSquare):
    """With the other half: b's gradient is the sum of dy x."""

    def grads_double_backward(self, theta, ddtheta, dy, cache, grads):
        ddy, on_x = cache * ddtheta["b"], dy * ddtheta["b"]
        match self.fault:
            case "whole: one":
                return ddy
            case "whole: float64":
                return ddy, on_x.astype(np.float64)
            case "whole: changes dy":
                dy *= 2
            case "whole: with b":
                return cache * theta["b"], on_x
        return ddy, on_x


def test_gradients_of_parameters_are_checked_if_a_layer_goes_back_through_them():
    rows = check_layer(WholeSquare(), (3,))
    assert all(row.passes() for row in rows)
    assert {row.variable for row in check_layer(WholeSquare("whole: with b"), (3,)) if not row.passes()} == {"dy"}


def test_a_layer_without_is_right_also_above_one_that_has_them():
    net = nn.Sequential(nn.Dense(3), TwiceSquare())
    assert all(row.passes() for row in check_layer(net, (3,)))


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ("whole: one", "grads_double_backward returns ddy and the gradient on x, or None in its place, got ndarray"),
        ("whole: float64", "the gradient on x of grads_double_backward is float64"),
        ("whole: changes dy", "dy was changed by grads_double_backward"),
    ],
)
def test_a_broken_promise_of_the_other_half_is_named(fault, words):
    with pytest.raises(BrokenPromise, match=words):
        check_layer(WholeSquare(fault), (3,))


@pytest.mark.parametrize(("factor", "wrong"), [(1, []), (2, ["real"])])
def test_the_second_gradients_of_a_loss_are_checked_if_it_has_them(factor, wrong):
    real = games.LEAST_SQUARES

    def double_backward(ddreal, ddfake, r, f):
        return factor * ddreal / r.size, ddfake / f.size

    loss = games.GANLoss(real.discriminator, real.generator, double_backward=double_backward)
    rows = check_loss(loss)
    assert [row.variable for row in rows if not row.passes()] == wrong
    assert [row.name for row in rows].count("discriminator, twice") == 2


def test_in_a_network_they_have_to_fit_as_well():
    net = nn.Sequential(nn.Dense(3), TwiceSquare("twice: shape"), nn.Dense(1)).unfused()
    theta = nn.init_params(net, (4,), np.random.default_rng(0))
    x = np.ones((5, 4), np.float32)
    y, cache = net.forward(theta, x, train=True)
    _, kept = net.input_gradient(theta, y, cache)
    with pytest.raises(nn.ShapeError, match="layer twicesquare1"):
        net.double_backward(theta, x, kept, cache, None)
