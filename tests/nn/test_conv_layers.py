"""Layers on images: sizes, refusals, initial weights, and which operation they use."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minigan import nn, ops
from minigan.nn import (
    AveragePool,
    Conv2D,
    ConvTranspose2D,
    Dense,
    GlobalAveragePool,
    MaxPool,
    PixelShuffle,
    PixelUnshuffle,
    ReLU,
    Sequential,
    ShapeError,
    Upsample,
)
from minigan.nn.initialisers import Constant, FanInUniform, GlorotUniform, HeNormal
from reference import conv as loops
from tests.strategies import assert_agrees, normal, seeds

sizes = st.tuples(st.integers(1, 12), st.integers(1, 12))
pairs = st.tuples(st.integers(1, 4), st.integers(1, 4))


def start(layer, in_shape):
    """Parameters away from zero."""
    theta = nn.init_params(layer, in_shape, np.random.default_rng(0), dtype=np.float64)
    theta.flat += normal(1, theta.flat.size)
    return theta


# Sizes --------------------------------------------------------------------------------------------------


@given(size=sizes, kernel=pairs, stride=pairs, dilation=pairs)
def test_same_padding_gives_the_size_over_the_stride_rounded_up(size, kernel, stride, dilation):
    layer = Conv2D(3, kernel, stride, "same", dilation)
    assert layer.out_shape((*size, 2)) == (math.ceil(size[0] / stride[0]), math.ceil(size[1] / stride[1]), 3)


@given(size=sizes, kernel=pairs, stride=pairs)
@pytest.mark.parametrize("pool", [AveragePool, MaxPool])
def test_same_padding_of_pools_follows_the_same_rule(pool, size, kernel, stride):
    shape = pool(kernel, stride, "same").out_shape((*size, 2))
    assert shape == (math.ceil(size[0] / stride[0]), math.ceil(size[1] / stride[1]), 2)


@pytest.mark.parametrize(
    ("size", "kernel", "stride", "sides"),
    [
        (5, 3, 1, (1, 1)),
        (5, 4, 1, (1, 2)),
        (6, 5, 2, (1, 2)),
        (5, 5, 2, (2, 2)),
        (7, 1, 3, (0, 0)),
        (8, 2, 2, (0, 0)),
        (1, 5, 4, (2, 2)),
    ],
)
def test_same_padding_is_even_but_for_one_more_at_the_end(size, kernel, stride, sides):
    """TensorFlow's rule, in both directions."""
    (before, after), image = sides, (size, 30)
    assert Conv2D(1, (kernel, 1), (stride, 1), "same").geometry(image).padding == (before, after, 0, 0)
    assert Conv2D(1, (1, kernel), (1, stride), "same").geometry(image[::-1]).padding == (0, 0, before, after)


@given(size=sizes, kernel=pairs, stride=pairs)
def test_same_padding_is_the_least_that_will_do(size, kernel, stride):
    """With one less on either axis, there would be fewer outputs, or there is no padding at all."""
    top, bottom, left, right = Conv2D(1, kernel, stride, "same").geometry(size).padding
    for before, after, n, k, s in zip((top, left), (bottom, right), size, kernel, stride, strict=True):
        assert 0 <= after - before <= 1
        if before + after:
            assert (n + before + after - 1 - k) // s + 1 < math.ceil(n / s)


@given(
    size=sizes, kernel=pairs, stride=pairs, dilation=pairs, padding=st.tuples(*[st.integers(0, 3)] * 4), data=st.data()
)
def test_transposed_convolution_undoes_the_shape_of_convolution(size, kernel, stride, dilation, padding, data):
    """For every output padding less than the stride, the convolution leads back."""
    output_padding = data.draw(st.tuples(*[st.integers(0, s - 1) for s in stride]))
    reach = [d * (k - 1) + 1 for d, k in zip(dilation, kernel, strict=True)]
    grown = [(n - 1) * s + r + o for n, s, r, o in zip(size, stride, reach, output_padding, strict=True)]
    large = (grown[0] - sum(padding[:2]), grown[1] - sum(padding[2:]))
    if min(large) < 1:
        return
    layer = ConvTranspose2D(5, kernel, stride, padding, output_padding, dilation)
    assert layer.out_shape((*size, 2)) == (*large, 5)
    assert Conv2D(2, kernel, stride, padding, dilation).out_shape((*large, 5)) == (*size, 2)


@pytest.mark.parametrize("stride", [1, 2, 3, 4])
def test_the_output_paddings_name_all_sizes_that_a_convolution_makes_equal(stride):
    made = [ConvTranspose2D(1, 5, stride, 2, o).out_shape((4, 4, 1))[0] for o in range(stride)]
    equal = [n for n in range(1, 30) if Conv2D(1, 5, stride, 2).out_shape((n, n, 1))[0] == 4]
    assert made == equal


@pytest.mark.parametrize(
    ("layer", "size", "expected"),
    [
        (Conv2D(1, 4, 2, 1), 64, 32),  # what PyTorch's layers with these settings give
        (Conv2D(1, 4, 1, 0), 4, 1),
        (Conv2D(1, 5, 2, 2), 28, 14),
        (Conv2D(1, 5, 2, 2), 7, 4),
        (Conv2D(1, 3, 1, 1), 9, 9),
        (Conv2D(1, 3, 2, 1, dilation=2), 9, 4),
        (ConvTranspose2D(1, 4, 1, 0), 1, 4),
        (ConvTranspose2D(1, 4, 2, 1), 32, 64),
        (ConvTranspose2D(1, 5, 2, 2, 1), 7, 14),
        (ConvTranspose2D(1, 5, 2, 2), 7, 13),
        (ConvTranspose2D(1, 3, 2, 1, 1, dilation=2), 4, 10),
        (MaxPool(2), 7, 3),
        (MaxPool(3, 2, 1), 7, 4),
        (AveragePool(2), 8, 4),
        (AveragePool(3, 1), 8, 6),
    ],
    ids=str,
)
def test_sizes_are_those_of_pytorch(layer, size, expected):
    assert layer.out_shape((size, size, 1)) == (expected, expected, 1)


def test_one_number_means_both_axes_and_both_sides():
    image = (9, 9)
    assert Conv2D(1, 3, 2, 1, 2).geometry(image) == Conv2D(1, (3, 3), (2, 2), (1, 1, 1, 1), (2, 2)).geometry(image)
    assert Conv2D(1, 3, padding=(1, 2)).geometry(image).padding == (1, 1, 2, 2)
    assert MaxPool(3).geometry(image).stride == (3, 3)
    assert MaxPool((2, 3)).geometry(image).stride == (2, 3)


def test_whole_numbers_of_numpy_are_whole_numbers():
    one, two = np.int64(1), np.int64(2)
    assert Conv2D(3, two, two, one).out_shape((8, 8, 1)) == Conv2D(3, 2, 2, 1).out_shape((8, 8, 1))
    assert Upsample(two).out_shape((8, 8, 1)) == (16, 16, 1)


def test_a_network_that_halves_and_doubles_ends_where_it_started():
    net = Sequential(
        Conv2D(8, 4, 2, 1), Conv2D(16, 5, 2, "same"), ConvTranspose2D(8, 5, 2, 2, 1), ConvTranspose2D(3, 4, 2, 1)
    )
    assert [outer for *_, outer in net.shapes((28, 20, 3))] == [(14, 10, 8), (7, 5, 16), (14, 10, 8), (28, 20, 3)]


# Values -------------------------------------------------------------------------------------------------


def test_convolution_adds_the_bias_to_every_pixel():
    layer = Conv2D(4, 3, 2, (1, 0, 0, 1), groups=2)
    theta, x = start(layer, (5, 4, 2)), normal(0, 2, 5, 4, 2)
    y, _ = layer.forward(theta, x, train=True)
    expected = loops.conv2d(x, theta["w"], (2, 2), (1, 0, 0, 1), (1, 1), 2) + theta["b"]
    assert_agrees(y, expected)


@given(output_padding=st.tuples(st.integers(0, 1), st.integers(0, 2)), seed=seeds)
def test_transposed_convolution_paints_a_kernel_for_every_pixel(output_padding, seed):
    layer = ConvTranspose2D(4, 3, (2, 3), (1, 0, 0, 1), output_padding, groups=2)
    theta, x = start(layer, (2, 3, 2)), normal(seed, 2, 2, 3, 2)
    y, _ = layer.forward(theta, x, train=True)
    painted = loops.conv_transpose2d(x, theta["w"], (2, 3), (1, 0, 0, 1), output_padding, (1, 1), 2)
    assert_agrees(y, painted + theta["b"])


def test_without_strides_a_transposed_convolution_is_one_with_the_kernel_turned_around():
    transposed, plain = ConvTranspose2D(3, 3, 1, 1, bias=False), Conv2D(3, 3, 1, 1, bias=False)
    theta, x = start(transposed, (4, 5, 2)), normal(0, 2, 4, 5, 2)
    turned = {"w": theta["w"][::-1, ::-1].swapaxes(2, 3)}
    assert_agrees(transposed.forward(theta, x, train=True)[0], plain.forward(turned, x, train=True)[0])


def test_the_mode_of_upsampling_is_chosen():
    x = np.array([0.0, 4.0]).reshape(1, 1, 2, 1)
    rows = [Upsample(2, mode).forward({}, x, train=True)[0][0, 0, :, 0].tolist() for mode in ("nearest", "bilinear")]
    assert rows == [[0, 0, 4, 4], [0, 1, 3, 4]]


# Initial weights ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("layer_type", [Conv2D, ConvTranspose2D])
@pytest.mark.parametrize(
    ("initialiser", "bound"),
    [
        (GlorotUniform(), math.sqrt(6 / (25 * 20 + 25 * 80))),
        (FanInUniform(), 1 / math.sqrt(25 * 20)),
    ],
    ids=str,
)
def test_fans_count_inputs_and_outputs_for_both_orders_of_the_weights(layer_type, initialiser, bound):
    """20 channels in, 80 out, 5 x 5: fan_in is 500 and fan_out 2000, however the weights are stored."""
    w = nn.init_params(layer_type(80, 5, w_init=initialiser), (8, 8, 20), np.random.default_rng(0))["w"]
    assert w.shape == ((5, 5, 20, 80) if layer_type is Conv2D else (5, 5, 80, 20))
    assert bound * 0.999 <= abs(w).max() <= bound * (1 + 1e-6)


def test_he_initialisation_of_a_transposed_convolution_divides_by_the_inputs():
    w = nn.init_params(ConvTranspose2D(80, 5, w_init=HeNormal()), (8, 8, 20), np.random.default_rng(0))["w"]
    assert w.std() == pytest.approx(math.sqrt(2 / 500), rel=0.02)


@pytest.mark.parametrize("layer_type", [Conv2D, ConvTranspose2D])
def test_initial_weights_and_biases_can_be_chosen(layer_type):
    layer = layer_type(2, 3, w_init=Constant(0.5), b_init=Constant(-1.0))
    theta = nn.init_params(layer, (4, 4, 3), np.random.default_rng(0))
    assert (theta["w"] == 0.5).all()
    assert (theta["b"] == -1.0).all()
    default = nn.init_params(layer_type(2, 3), (4, 4, 3), np.random.default_rng(0))
    assert (default["b"] == 0).all()


# What is computed ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("grads", "need_dx", "wanted"),
    [(True, True, ["dw", "dx"]), (True, False, ["dw"]), (False, True, ["dx"]), (False, False, [])],
)
@pytest.mark.parametrize(
    ("layer", "input_gradient"), [(Conv2D(3, 2), "conv2d_input_grad"), (ConvTranspose2D(3, 2), "conv2d")]
)
def test_only_the_gradients_that_are_wanted_are_computed(layer, input_gradient, grads, need_dx, wanted, monkeypatch):
    theta = start(layer, (3, 3, 2))
    y, cache = layer.forward(theta, normal(0, 4, 3, 3, 2), train=True)
    used = []
    for name, result in [("conv2d_weight_grad", "dw"), (input_gradient, "dx")]:
        operation = getattr(ops, name)
        monkeypatch.setattr(
            ops, name, lambda *a, result=result, operation=operation: (used.append(result), operation(*a))[1]
        )
    layer.backward(theta, y, cache, theta.gradients() if grads else None, need_dx=need_dx)
    assert sorted(used) == wanted


# Refusals -----------------------------------------------------------------------------------------------

MISFITS = [
    (Conv2D(4, 3), (9,), r"Conv2D takes images \(H, W, C\), got \(9,\); put Reshape\(\(H, W, C\)\) before it"),
    (ConvTranspose2D(4, 3), (3, 3), r"ConvTranspose2D takes images .* got \(3, 3\)"),
    (AveragePool(2), (4,), r"AveragePool takes images"),
    (MaxPool(2), (4, 4), r"MaxPool takes images"),
    (GlobalAveragePool(), (4,), r"GlobalAveragePool takes images"),
    (Upsample(2), (2, 2), r"Upsample takes images"),
    (PixelShuffle(2), (4,), r"PixelShuffle takes images"),
    (PixelUnshuffle(2), (4,), r"PixelUnshuffle takes images"),
    (Conv2D(4, 3, groups=2), (5, 5, 3), "2 groups do not divide 3 channels in and 4 out"),
    (Conv2D(3, 3, groups=2), (5, 5, 4), "2 groups do not divide 4 channels in and 3 out"),
    (ConvTranspose2D(4, 3, groups=3), (5, 5, 3), "3 groups do not divide 3 channels in and 4 out"),
    (Conv2D(4, (3, 7)), (5, 6, 1), r"a window of \(3, 7\) does not fit into \(5, 6, 1\), padding 0"),
    (Conv2D(4, 3, dilation=3), (6, 7, 1), r"a window of \(3, 3\) does not fit"),
    (MaxPool(3), (2, 3, 1), r"a window of \(3, 3\) does not fit into \(2, 3, 1\), padding 0"),
    (AveragePool(5, 1, 1), (2, 9, 1), r"a window of \(5, 5\) does not fit into \(2, 9, 1\), padding 1"),
    (ConvTranspose2D(4, 3, 2, 1, 2), (3, 3, 1), "output_padding 2 must be less than the stride 2"),
    (ConvTranspose2D(4, 3, (2, 1), 1, 1), (3, 3, 1), r"output_padding 1 must be less than the stride \(2, 1\)"),
    (ConvTranspose2D(4, 3, 2, 1, -1), (3, 3, 1), "output_padding -1"),
    (PixelShuffle(2), (2, 2, 6), r"PixelShuffle\(2\) needs a multiple of 4 channels, got \(2, 2, 6\)"),
    (PixelUnshuffle(3), (3, 4, 1), r"PixelUnshuffle\(3\) needs multiples of 3 pixels, got \(3, 4, 1\)"),
]


@pytest.mark.parametrize(("layer", "in_shape", "message"), MISFITS, ids=lambda value: str(value)[:40])
def test_a_shape_that_does_not_fit_is_refused_and_the_network_says_where(layer, in_shape, message):
    with pytest.raises(ShapeError, match=message):
        layer.out_shape(in_shape)
    net = Sequential(ReLU(), layer, Dense(1))
    with pytest.raises(ShapeError, match=f"layer {type(layer).__name__.lower()}1: {message}"):
        nn.init_params(net, in_shape, np.random.default_rng(0))


@pytest.mark.parametrize("padding", [1, 2, 3])
def test_a_transposed_convolution_without_output_is_refused(padding):
    with pytest.raises(ShapeError, match="empty"):
        ConvTranspose2D(1, 1, 1, padding).out_shape((2, 2, 1))


def test_an_unknown_mode_of_upsampling_is_refused():
    with pytest.raises(ValueError, match="unknown mode of upsampling 'cubic': choose nearest, bilinear"):
        Upsample(2, "cubic")
