"""What every layer promises, checked on all of them, in both modes, on every device.

Layers keep nothing between calls, change nothing that they are given but `grads`, and add into that.
"""

import pickle
from collections.abc import Iterator
from dataclasses import dataclass, fields, is_dataclass
from typing import Any

import numpy as np
import pytest

from minigan import nn
from minigan.backend import CPU, to_host
from minigan.parallel.team import ALONE
from tests.strategies import error, normal
from tests.strict_cupy import forbid_dtype, forbid_synchronisation

BATCH = 4
NET = nn.Sequential(nn.Dense(6, bias=False), nn.BatchNorm(), nn.LeakyReLU(), nn.Dropout(0.3), nn.Dense(2))


@dataclass(frozen=True)
class Case:
    """A layer, the shape of one of its input samples, and what it must say about its other shapes."""

    layer: nn.Layer
    in_shape: tuple[int, ...]
    out_shape: tuple[int, ...]
    params: dict[str, tuple[int, ...]]
    statistics: dict[str, tuple[int, ...]]


def case(layer, in_shape, out_shape=None, params=None, statistics=None):
    return Case(layer, in_shape, out_shape or in_shape, params or {}, statistics or {})


CASES = {
    "dense": case(nn.Dense(4), (3,), (4,), {"w": (3, 4), "b": (4,)}),
    "dense without bias": case(nn.Dense(4, bias=False), (3,), (4,), {"w": (3, 4)}),
    "dense of one feature": case(nn.Dense(1), (1,), (1,), {"w": (1, 1), "b": (1,)}),
    "batchnorm of vectors": case(
        nn.BatchNorm(), (3,), None, {"gamma": (3,), "beta": (3,)}, {"mean": (3,), "var": (3,)}
    ),
    "batchnorm of images": case(
        nn.BatchNorm(eps=0.1), (3, 2, 4), None, {"gamma": (4,), "beta": (4,)}, {"mean": (4,), "var": (4,)}
    ),
    "sync batchnorm": case(
        nn.SyncBatchNorm(gather=ALONE.gather), (3, 2, 4), None,
        {"gamma": (4,), "beta": (4,)}, {"mean": (4,), "var": (4,)},
    ),
    "ghost batchnorm": case(
        nn.GhostBatchNorm(parts=2), (3, 2, 4), None,
        {"gamma": (4,), "beta": (4,)}, {"mean": (4,), "var": (4,)},
    ),
    "ghost batchnorm with a rectifier": case(
        nn.GhostBatchNorm(parts=2, slope=0.2), (3, 2, 4), None,
        {"gamma": (4,), "beta": (4,)}, {"mean": (4,), "var": (4,)},
    ),
    "relu": case(nn.ReLU(), (3, 2)),
    "leaky relu": case(nn.LeakyReLU(0.3), (3, 2)),
    "elu": case(nn.ELU(0.7), (3, 2)),
    "softplus": case(nn.Softplus(), (3, 2)),
    "sigmoid": case(nn.Sigmoid(), (3, 2)),
    "tanh": case(nn.Tanh(), (3, 2)),
    "scaled tanh": case(nn.ScaledTanh(), (3, 2)),
    "maxout": case(nn.Maxout(3), (6,), (2,)),
    "maxout of one piece": case(nn.Maxout(1), (6,)),
    "dropout, inverted": case(nn.Dropout(0.4), (3, 2)),
    "dropout, classic": case(nn.Dropout(0.4, "classic"), (3, 2)),
    "dropout, whole channels": case(nn.Dropout(0.4, "channel"), (2, 2, 6)),
    "dropout of nothing": case(nn.Dropout(0.0), (6,)),
    "reshape": case(nn.Reshape((2, 3)), (6,), (2, 3)),
    "flatten": case(nn.Flatten(), (2, 3), (6,)),
    "conv": case(nn.Conv2D(3, 3, padding=1), (4, 5, 2), (4, 5, 3), {"w": (3, 3, 2, 3), "b": (3,)}),
    "conv, half the size": case(nn.Conv2D(3, 4, 2, 1, bias=False), (6, 4, 2), (3, 2, 3), {"w": (4, 4, 2, 3)}),
    "conv, same padding": case(nn.Conv2D(2, (5, 3), 2, "same"), (5, 6, 2), (3, 3, 2), {"w": (5, 3, 2, 2), "b": (2,)}),
    "conv, dilated, asymmetric": case(
        nn.Conv2D(2, (2, 3), (1, 2), (1, 0, 2, 1), dilation=(3, 2)), (6, 5, 1), (4, 2, 2),
        {"w": (2, 3, 1, 2), "b": (2,)},
    ),
    "conv, grouped": case(nn.Conv2D(6, 3, 2, 1, groups=2), (4, 3, 4), (2, 2, 6), {"w": (3, 3, 2, 6), "b": (6,)}),
    "conv, depthwise": case(nn.Conv2D(3, 2, groups=3), (3, 4, 3), (2, 3, 3), {"w": (2, 2, 1, 3), "b": (3,)}),
    "conv of one pixel": case(nn.Conv2D(4, 1), (1, 1, 2), (1, 1, 4), {"w": (1, 1, 2, 4), "b": (4,)}),
    "transposed conv": case(nn.ConvTranspose2D(2, 4, 2, 1), (2, 3, 3), (4, 6, 2), {"w": (4, 4, 2, 3), "b": (2,)}),
    "transposed conv, output padding": case(
        nn.ConvTranspose2D(2, 5, 2, 2, (1, 0), bias=False), (2, 3, 2), (4, 5, 2), {"w": (5, 5, 2, 2)}
    ),
    "transposed conv, grouped, asymmetric": case(
        nn.ConvTranspose2D(4, (3, 2), 2, (1, 0, 0, 2), dilation=(1, 2), groups=2), (2, 3, 2), (4, 5, 4),
        {"w": (3, 2, 2, 2), "b": (4,)},
    ),
    "average pool": case(nn.AveragePool(2), (4, 6, 3), (2, 3, 3)),
    "average pool, overlapping": case(nn.AveragePool(3, 2, 1), (5, 4, 2), (3, 2, 2)),
    "max pool": case(nn.MaxPool((2, 3)), (4, 6, 3), (2, 2, 3)),
    "max pool, overlapping": case(nn.MaxPool(3, 2, "same"), (5, 4, 2), (3, 2, 2)),
    "global average": case(nn.GlobalAveragePool(), (3, 4, 2), (2,)),
    "upsample, nearest": case(nn.Upsample(2), (2, 3, 2), (4, 6, 2)),
    "upsample, bilinear": case(nn.Upsample(3, "bilinear"), (2, 3, 2), (6, 9, 2)),
    "upsample by one": case(nn.Upsample(1), (2, 3, 2)),
    "pixel shuffle": case(nn.PixelShuffle(2), (2, 3, 8), (4, 6, 2)),
    "pixel unshuffle": case(nn.PixelUnshuffle(2), (4, 2, 3), (2, 1, 12)),
    "conv, batchnorm, pool in sequential": case(
        nn.Sequential(nn.Conv2D(3, 3, 1, 1, bias=False), nn.BatchNorm(), nn.LeakyReLU(), nn.MaxPool(2)),
        (4, 4, 2), (2, 2, 3),
        {"conv2d1.w": (3, 3, 2, 3), "batchnorm1.gamma": (3,), "batchnorm1.beta": (3,)},
        {"batchnorm1.mean": (3,), "batchnorm1.var": (3,)},
    ),
    "sequential": case(
        NET, (3,), (2,),
        {"dense1.w": (3, 6), "batchnorm1.gamma": (6,), "batchnorm1.beta": (6,), "dense2.w": (6, 2), "dense2.b": (2,)},
        {"batchnorm1.mean": (6,), "batchnorm1.var": (6,)},
    ),
    "sequential in sequential": case(
        nn.Sequential(nn.Flatten(), nn.Sequential(nn.Dense(2), nn.Tanh())), (2, 3), (2,),
        {"sequential1.dense1.w": (6, 2), "sequential1.dense1.b": (2,)},
    ),
    "sequential of nothing": case(nn.Sequential(), (3, 2)),
    "batchnorm without gain": case(nn.BatchNorm(affine=False), (3, 2, 4), None, {}, {"mean": (4,), "var": (4,)}),
    "batchnorm of this batch": case(
        nn.BatchNorm(track_running_stats=False), (3, 2, 4), None, {"gamma": (4,), "beta": (4,)}
    ),
    "ghost batchnorm without either": case(
        nn.GhostBatchNorm(parts=2, affine=False, track_running_stats=False), (3, 2, 4)
    ),
    "sync batchnorm without either": case(
        nn.SyncBatchNorm(gather=ALONE.gather, affine=False, track_running_stats=False), (3, 2, 4)
    ),
    "batchnorm without either, and a rectifier": case(
        nn.Sequential(nn.BatchNorm(affine=False, track_running_stats=False), nn.LeakyReLU()), (3, 2, 4)
    ),
    "conditioned, vectors": case(
        nn.Conditioned(2, nn.Dense(4), nn.Tanh()), (5,), (6,), {"dense1.w": (5, 4), "dense1.b": (4,)}
    ),
    "conditioned, images": case(
        nn.Conditioned(1, nn.Conv2D(3, 2, bias=False), nn.BatchNorm(), nn.LeakyReLU()), (4, 3, 2), (3, 2, 4),
        {"conv2d1.w": (2, 2, 2, 3), "batchnorm1.gamma": (3,), "batchnorm1.beta": (3,)},
        {"batchnorm1.mean": (3,), "batchnorm1.var": (3,)},
    ),
    "conditioned, images that become vectors": case(nn.Conditioned(2, nn.Flatten()), (2, 3, 3), (20,)),
    "conditioned, vectors that become images": case(
        nn.Conditioned(2, nn.Dense(4, bias=False), nn.Reshape((2, 1, 2))), (3,), (2, 1, 4), {"dense1.w": (3, 4)}
    ),
    "conditioned by nothing else": case(nn.Conditioned(3), (3,), (6,)),
}  # fmt: skip

every_layer = pytest.mark.parametrize("case", CASES.values(), ids=CASES)
both_modes = pytest.mark.parametrize("train", [True, False], ids=["training", "inference"])
both_precisions = pytest.mark.parametrize("dtype", [np.float32, np.float64], ids=["float32", "float64"])


# One layer at work --------------------------------------------------------------------------------------


class Setting:
    """A layer with random parameters (no gain 1, no bias 0) and inputs, on a device."""

    def __init__(self, case, device, dtype=np.float64, seed=0):
        self.case, self.layer, self.device, self.dtype = case, case.layer, device, np.dtype(dtype)
        theta = nn.init_params(case.layer, case.in_shape, np.random.default_rng(seed), dtype=dtype)
        theta.flat += np.random.default_rng([seed, 1]).uniform(-0.3, 0.3, theta.flat.shape).astype(dtype)
        self.theta = theta.to(device)
        self.x = self.put(normal([seed, 2], BATCH, *case.in_shape))
        self.dy = self.put(normal([seed, 3], BATCH, *case.out_shape))

    def put(self, host):
        return self.device.put(host.astype(self.dtype))

    def forward(self, train, x=None, mask_seed=5):
        rng = np.random.default_rng(mask_seed) if train else None
        return self.layer.forward(self.theta, self.x if x is None else x, train=train, rng=rng)

    def backward(self, cache, grads, dy=None, **options):
        return self.layer.backward(self.theta, self.dy if dy is None else dy, cache, grads, **options)

    def gradients(self, train, x=None, dy=None):
        """y, dx and the parameter gradients of one pass forward and backward."""
        y, cache = self.forward(train, x)
        grads = self.theta.gradients()
        dx = self.backward(cache, grads, dy)
        return y, dx, grads.flat


def arrays_in(cache: Any) -> Iterator[np.ndarray]:
    """Copies of all arrays and numbers of a cache, on the host; the parameters it names are no part of it."""
    if isinstance(cache, tuple):
        for part in cache:
            yield from arrays_in(part)
    elif cache is not None and not isinstance(cache, nn.Params):
        yield np.array(cache) if isinstance(cache, int | float) else to_host(cache).copy()


def assert_equal(actual, expected):
    """Bit for bit, and of one dtype."""
    actual, expected = ([to_host(array) for array in arrays] for arrays in (actual, expected))
    for ours, theirs in zip(actual, expected, strict=True):
        assert ours.dtype == theirs.dtype
        np.testing.assert_array_equal(ours, theirs)


# Layers themselves --------------------------------------------------------------------------------------


def test_every_exported_layer_is_in_the_table():
    exported = {thing for name in nn.__all__ if isinstance(thing := getattr(nn, name), type)}
    layers = {thing for thing in exported if issubclass(thing, nn.Layer)} - {nn.Layer}
    assert {type(case.layer) for case in CASES.values()} == layers


@every_layer
def test_a_layer_tells_how_many_random_numbers_it_takes(case):
    used, expected = (np.random.default_rng(7) for _ in range(2))
    setting = Setting(case, CPU)
    case.layer.forward(setting.theta, setting.x, train=True, rng=used)
    expected.random(BATCH * case.layer.random_numbers(case.in_shape), dtype=np.float32)
    assert used.random(3, dtype=np.float32).tolist() == expected.random(3, dtype=np.float32).tolist()


@every_layer
def test_a_layer_cannot_be_changed(case):
    hash(case.layer)
    if isinstance(case.layer, nn.Sequential):
        assert isinstance(case.layer.layers, tuple)
        assert isinstance(case.layer.names, tuple)
        return
    assert is_dataclass(case.layer)
    for field in fields(case.layer):
        with pytest.raises(AttributeError):
            setattr(case.layer, field.name, 1)
    with pytest.raises(AttributeError):
        case.layer.something_new = 1


@every_layer
@both_modes
def test_a_layer_keeps_nothing_between_calls(case, train, device):
    setting = Setting(case, device)
    before = pickle.dumps(case.layer)
    setting.gradients(train)
    assert pickle.dumps(case.layer) == before


# Shapes and precision -----------------------------------------------------------------------------------


@every_layer
def test_the_layer_tells_its_shapes_before_any_array_exists(case):
    assert case.layer.out_shape(case.in_shape) == case.out_shape
    assert case.layer.param_shapes(case.in_shape) == case.params
    assert case.layer.statistic_shapes(case.in_shape) == case.statistics


@every_layer
@both_modes
def test_arrays_have_the_shapes_that_were_told(case, train, device):
    setting = Setting(case, device)
    y, cache = setting.forward(train)
    grads = setting.theta.gradients()
    assert y.shape == (BATCH, *case.out_shape)
    assert setting.backward(cache, grads).shape == setting.x.shape
    assert {name: view.shape for name, view in grads.items()} == case.params
    assert {name: view.shape for name, view in setting.theta.items()} == case.params | case.statistics


@every_layer
@both_modes
@both_precisions
def test_the_precision_is_kept(case, train, dtype, device):
    for array in Setting(case, device, dtype).gradients(train):
        assert array.dtype == dtype


@every_layer
@both_modes
def test_nothing_in_between_is_computed_in_double_precision(case, train, strict):
    setting = Setting(case, strict, np.float32)
    with forbid_dtype("float64"):
        _, cache = setting.forward(train)
        setting.backward(cache, setting.theta.gradients())
        if train:
            setting.layer.update_statistics(setting.theta, cache)


@every_layer
def test_a_batch_that_was_not_measured_moves_no_statistics(case, device):
    setting = Setting(case, device)
    _, cache = setting.forward(train=False)
    before = setting.theta.flat.copy()
    if setting.case.statistics:
        with pytest.raises(ValueError, match="train=False"):
            setting.layer.update_statistics(setting.theta, cache)
    else:
        setting.layer.update_statistics(setting.theta, cache)
    assert_equal([setting.theta.flat], [before])


# What is changed and what is not ------------------------------------------------------------------------


@every_layer
@both_modes
def test_forward_changes_neither_parameters_nor_input(case, train, device):
    setting = Setting(case, device)
    before = [setting.theta.flat.copy(), setting.x.copy()]
    setting.forward(train)
    assert_equal([setting.theta.flat, setting.x], before)


@every_layer
@both_modes
def test_backward_changes_neither_its_gradient_nor_parameters_nor_cache(case, train, device):
    setting = Setting(case, device)
    _, cache = setting.forward(train)
    before = [setting.theta.flat.copy(), setting.x.copy(), setting.dy.copy()]
    cached = list(arrays_in(cache))
    setting.backward(cache, setting.theta.gradients())
    assert_equal([setting.theta.flat, setting.x, setting.dy], before)
    assert_equal(arrays_in(cache), cached)


@every_layer
@both_modes
def test_gradients_are_added_to_what_is_there(case, train, device):
    setting = Setting(case, device)
    _, cache = setting.forward(train)
    fresh, used = setting.theta.gradients(), setting.theta.gradients()
    already = setting.put(normal(9, used.flat.size))
    used.flat += already
    setting.backward(cache, fresh)
    setting.backward(cache, used)
    assert_equal([used.flat], [already + fresh.flat])


@every_layer
@both_modes
def test_without_a_place_for_gradients_the_input_gradient_is_the_same(case, train, device):
    setting = Setting(case, device)
    _, cache = setting.forward(train)
    assert_equal([setting.backward(cache, None)], [setting.backward(cache, setting.theta.gradients())])


@every_layer
@both_modes
def test_without_an_input_gradient_the_parameter_gradients_are_the_same(case, train, device):
    setting = Setting(case, device)
    _, cache = setting.forward(train)
    with_dx, without_dx = setting.theta.gradients(), setting.theta.gradients()
    setting.backward(cache, with_dx)
    assert setting.backward(cache, without_dx, need_dx=False) is None
    assert_equal([without_dx.flat], [with_dx.flat])
    assert setting.backward(cache, None, need_dx=False) is None


# Several passes at once ---------------------------------------------------------------------------------


@every_layer
@pytest.mark.parametrize("modes", [(True, True), (True, False), (False, True)], ids=str)
def test_caches_of_several_passes_live_side_by_side(case, modes, device):
    """Forward a, forward b, backward a, backward b: as apart; each backward goes in the mode of its forward."""
    setting = Setting(case, device)
    inputs = [setting.x, setting.put(normal(7, *setting.x.shape))]
    upstream = [setting.dy, setting.put(normal(8, *setting.dy.shape))]
    apart = [setting.gradients(*arguments) for arguments in zip(modes, inputs, upstream, strict=True)]
    caches = [setting.forward(train, x)[1] for train, x in zip(modes, inputs, strict=True)]
    for cache, dy, (_, dx, grads) in zip(caches, upstream, apart, strict=True):
        together = setting.theta.gradients()
        assert_equal([setting.backward(cache, together, dy), together.flat], [dx, grads])


# Memory and devices -------------------------------------------------------------------------------------


def every_other(device, array):
    """The same numbers in a view of every other entry of a larger array."""
    wide = np.full((*array.shape, 2), 77, array.dtype)
    wide[..., 1] = to_host(array)
    return device.put(wide)[..., 1]


def batch_last(device, array):
    """The same numbers with the batch axis last in memory."""
    return device.put(np.ascontiguousarray(np.moveaxis(to_host(array), 0, -1))).transpose(-1, *range(array.ndim - 1))


@every_layer
@both_modes
@pytest.mark.parametrize("layout", [every_other, batch_last])
def test_strides_do_not_matter(case, train, layout, device):
    setting = Setting(case, device)
    x, dy = layout(device, setting.x), layout(device, setting.dy)
    assert_equal([x, dy], [setting.x, setting.dy])
    assert not x.flags.c_contiguous or case.in_shape == (1,)  # one column is contiguous either way
    for strided, plain in zip(setting.gradients(train, x, dy), setting.gradients(train), strict=True):
        assert error(to_host(strided), to_host(plain), floor=1.0) <= 1e-13


@every_layer
@both_modes
def test_nothing_waits_for_the_gpu(case, train, strict):
    setting = Setting(case, strict)
    with forbid_synchronisation():
        _, cache = setting.forward(train)
        setting.backward(cache, setting.theta.gradients())
        if train:
            setting.layer.update_statistics(setting.theta, cache)


@every_layer
@both_modes
@both_precisions
def test_numpy_and_the_stand_in_agree_bit_for_bit(case, train, dtype, strict):
    assert_equal(Setting(case, strict, dtype).gradients(train), Setting(case, CPU, dtype).gradients(train))


@pytest.mark.gpu
@every_layer
@both_modes
def test_numpy_and_the_gpu_agree(case, train, gpu):
    ours, theirs = Setting(case, gpu).gradients(train), Setting(case, CPU).gradients(train)
    for on_gpu, on_cpu in zip(ours, theirs, strict=True):
        assert error(to_host(on_gpu), on_cpu, floor=1.0) <= 1e-12


# Randomness ---------------------------------------------------------------------------------------------

RANDOM = {name: case for name, case in CASES.items() if "dropout" in name or case.layer is NET}
CERTAIN = {name: case for name, case in CASES.items() if name not in RANDOM}
random_layers = pytest.mark.parametrize("case", RANDOM.values(), ids=RANDOM)


@random_layers
def test_dropout_in_training_without_a_generator_is_refused(case, device):
    setting = Setting(case, device)
    with pytest.raises(ValueError, match=r"dropout in training needs a random generator: .*rng="):
        setting.layer.forward(setting.theta, setting.x, train=True)


@random_layers
def test_the_same_generator_gives_the_same_mask(case, device):
    setting = Setting(case, device)
    first, again, other = (setting.forward(True, mask_seed=seed)[0] for seed in (1, 1, 2))
    assert_equal([first], [again])
    if case.layer != nn.Dropout(0.0):
        assert not np.array_equal(to_host(first), to_host(other))


@pytest.mark.parametrize("case", CERTAIN.values(), ids=CERTAIN)
def test_without_dropout_no_generator_is_needed(case, device):
    setting = Setting(case, device)
    assert_equal([setting.layer.forward(setting.theta, setting.x, train=True)[0]], [setting.forward(True)[0]])
