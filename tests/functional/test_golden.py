"""Every operation against what PyTorch computed in float64, and what every operation promises besides.

The stored cases are written by ``python -m reference.write_golden``; see there for their names.
"""

from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

from minigan.functional import activations, gan_losses, losses
from minigan.functional.batchnorm import (
    batchnorm,
    batchnorm_backward,
    batchnorm_inference,
    batchnorm_inference_backward,
    update_running_statistics,
)
from minigan.functional.conv import conv2d, conv2d_input_grad, conv2d_weight_grad
from minigan.functional.dense import dense, dense_bias_grad, dense_input_grad, dense_weight_grad
from minigan.functional.dropout import dropout, dropout_backward
from minigan.functional.maxout import maxout, maxout_backward
from minigan.functional.patches import Geometry
from minigan.functional.pixel_shuffle import pixel_shuffle, pixel_unshuffle
from minigan.functional.pooling import (
    average_pool,
    average_pool_backward,
    global_average,
    global_average_backward,
    max_pool,
    max_pool_backward,
)
from minigan.functional.reshape import reshape, reshape_backward
from minigan.functional.upsample import (
    upsample_bilinear,
    upsample_bilinear_backward,
    upsample_nearest,
    upsample_nearest_backward,
)
from reference import optimisers
from tests.strategies import assert_agrees, error

GOLDEN = Path(__file__).parents[1] / "golden"


def load(file_name):
    """The cases of a golden file: {(operation, number): {name: array}}."""
    cases = defaultdict(dict)
    with np.load(GOLDEN / file_name, allow_pickle=False) as arrays:
        for key in arrays.files:
            if key != "torch_version":
                operation, number, name = key.split("/")
                cases[operation, int(number)][name] = arrays[key]
    return dict(cases)


# How each operation is called with the names of a golden case ---------------------------------------


class Operation(NamedTuple):
    forward: Callable[[dict], tuple[dict, Any]]  # case -> results by name, cache
    backward: Callable[[dict, Any], dict]  # case, cache -> gradients by name


def dense_forward(case):
    y, cache = dense(case["x"], case["w"], case.get("b"))
    return {"y": y}, cache


def dense_backward(case, cache):
    dy = case["dy"]
    gradients = {"dx": dense_input_grad(dy, case["w"]), "dw": dense_weight_grad(dy, cache)}
    return gradients | ({"db": dense_bias_grad(dy)} if "b" in case else {})


def normalisation(function, backward_function, *names):
    def forward(case):
        y, cache = function(*(case[name] for name in names))
        return {"y": y}, cache

    def backward(case, cache):
        gradients = backward_function(case["dy"], case["gamma"], cache)
        return dict(zip(("dx", "dgamma", "dbeta"), gradients, strict=True))

    return Operation(forward, backward)


def running_statistics(case):
    mean, var = case["mean"].copy(), case["var"].copy()
    _, cache = batchnorm(case["x"], np.ones_like(mean), np.zeros_like(mean), 1e-5)
    update_running_statistics(mean, var, cache, case["momentum"])
    return {"new_mean": mean, "new_var": var}, cache


def elementwise(function, backward_function, *parameters):
    """x and fixed parameters in, y out; the parameters again in backward."""

    def forward(case):
        y, cache = function(case["x"], *(case[name] for name in parameters))
        return {"y": y}, cache

    def backward(case, cache):
        return {"dx": backward_function(case["dy"], cache, *(case[name] for name in parameters))}

    return Operation(forward, backward)


def activation(name, *parameters):
    return elementwise(getattr(activations, name), getattr(activations, name + "_backward"), *parameters)


def mapping(function, backward_function, *parameters):
    """Like `elementwise`, where backward takes its parameters from the cache."""
    return elementwise(function, lambda dy, cache, *_: backward_function(dy, cache), *parameters)


def geometry(case):
    return Geometry(case["stride"], case["padding"], case.get("dilation", (1, 1)), case.get("groups", 1))


def convolution_forward(case):
    return {"y": conv2d(case["x"], case["w"], geometry(case))}, case["x"]


def convolution_backward(case, x):
    dy, w = case["dy"], case["w"]
    return {
        "dx": conv2d_input_grad(dy, w, x.shape[1:3], geometry(case)),
        "dw": conv2d_weight_grad(x, dy, w.shape[:2], geometry(case)),
    }


def transposed_forward(case):
    return {"y": conv2d_input_grad(case["x"], case["w"], case["dy"].shape[1:3], geometry(case))}, case["x"]


def transposed_backward(case, x):
    dy, w = case["dy"], case["w"]
    return {"dx": conv2d(dy, w, geometry(case)), "dw": conv2d_weight_grad(dy, x, w.shape[:2], geometry(case))}


def pool(function, backward_function):
    def forward(case):
        y, cache = function(case["x"], case["kernel"], geometry(case))
        return {"y": y}, cache

    def backward(case, cache):
        return {"dx": backward_function(case["dy"], cache, case["kernel"], geometry(case))}

    return Operation(forward, backward)


def by_factor(function, backward_function):
    """Operations that keep nothing for backward."""
    return Operation(
        lambda case: ({"y": function(case["x"], case["factor"])}, None),
        lambda case, _: {"dx": backward_function(case["dy"], case["factor"])},
    )


def loss(function, *names, inputs=1):
    """A loss returns its gradients at once; they belong to the first `inputs` arguments."""

    def forward(case):
        value, *gradients = function(*(case[name] for name in names))
        return {"loss": value} | {"d" + n: g for n, g in zip(names[:inputs], gradients, strict=True)}, None

    return Operation(forward, no_backward)


def no_backward(*_):
    return {}


NORMALISED = ("x", "gamma", "beta")
OPERATIONS = {
    "dense": Operation(dense_forward, dense_backward),
    "batchnorm": normalisation(batchnorm, batchnorm_backward, *NORMALISED, "eps"),
    "batchnorm_inference": normalisation(
        batchnorm_inference, batchnorm_inference_backward, *NORMALISED, "mean", "var", "eps"
    ),
    "running_statistics": Operation(running_statistics, no_backward),
    "relu": activation("relu"),
    "leaky_relu": activation("leaky_relu", "slope"),
    "elu": activation("elu", "alpha"),
    "softplus": activation("softplus"),
    "sigmoid": activation("sigmoid"),
    "tanh": activation("tanh"),
    "scaled_tanh": activation("scaled_tanh"),
    "maxout": mapping(maxout, maxout_backward, "pieces"),
    "dropout": mapping(dropout, dropout_backward, "keep", "scale"),
    "reshape": mapping(reshape, reshape_backward, "shape"),
    "conv2d": Operation(convolution_forward, convolution_backward),
    "conv_transpose2d": Operation(transposed_forward, transposed_backward),
    "average_pool": pool(average_pool, average_pool_backward),
    "max_pool": pool(max_pool, max_pool_backward),
    "global_average": mapping(global_average, global_average_backward),
    "upsample_nearest": by_factor(upsample_nearest, upsample_nearest_backward),
    "upsample_bilinear": by_factor(upsample_bilinear, upsample_bilinear_backward),
    "pixel_shuffle": by_factor(pixel_shuffle, pixel_unshuffle),
    "pixel_unshuffle": by_factor(pixel_unshuffle, pixel_shuffle),
    "bce_with_logits": loss(losses.bce_with_logits, "logits", "targets", "smoothing"),
    "softmax_cross_entropy": loss(losses.softmax_cross_entropy, "logits", "labels", "smoothing"),
    "mean_squared_error": loss(losses.mean_squared_error, "outputs", "targets"),
    "half_squared_error": loss(losses.half_squared_error, "outputs", "targets"),
    "discriminator_bce": loss(gan_losses.discriminator_bce, "real", "fake", "smoothing", "scale", inputs=2),
    "generator_minimax": loss(gan_losses.generator_minimax, "fake"),
    "generator_non_saturating": loss(gan_losses.generator_non_saturating, "fake"),
    "discriminator_least_squares": loss(gan_losses.discriminator_least_squares, "real", "fake", inputs=2),
    "generator_least_squares": loss(gan_losses.generator_least_squares, "fake"),
    "discriminator_hinge": loss(gan_losses.discriminator_hinge, "real", "fake", inputs=2),
    "discriminator_wasserstein": loss(gan_losses.discriminator_wasserstein, "real", "fake", inputs=2),
    "generator_wasserstein": loss(gan_losses.generator_wasserstein, "fake"),
}


def run(name, case):
    """All results of one case, forward and backward."""
    results, cache = OPERATIONS[name].forward(case)
    return results | OPERATIONS[name].backward(case, cache)


SETTINGS = ("shape", "kernel", "stride", "padding", "output_padding", "dilation")


def as_arguments(case, array=lambda value: value):
    """The inputs of a case: numbers and tuples as Python has them, arrays passed through `array`."""
    return {
        name: tuple(value.tolist()) if name in SETTINGS else array(value) if value.ndim else value.item()
        for name, value in case.items()
        if name not in expected_results(case)
    }


def expected_results(case):
    return {
        name: value
        for name, value in case.items()
        if name in ("y", "loss") or name.startswith("new_") or (name.startswith("d") and name not in ("dy", "dilation"))
    }


# The tests -------------------------------------------------------------------------------------------

CASES = load("operations.npz") | load("convolutions.npz")
every_case = pytest.mark.parametrize(
    ("name", "case"), [(name, case) for (name, _), case in CASES.items()], ids=[f"{n}-{i}" for n, i in CASES]
)


@every_case
def test_agrees_with_pytorch(name, case):
    results, expected = run(name, as_arguments(case)), expected_results(case)
    assert results.keys() == expected.keys()
    for key in expected:
        assert error(results[key], expected[key]) <= 1e-10, key


def test_every_operation_has_golden_cases():
    assert {name for name, _ in CASES} == OPERATIONS.keys()


@every_case
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_precision_of_the_input_is_kept(name, case, dtype):
    case = as_arguments(case, lambda value: value.astype(dtype) if value.dtype == np.float64 else value)
    for key, result in run(name, case).items():
        assert result.dtype == dtype, key


def read_only(value):
    value = value.copy()
    value.flags.writeable = False
    return value


@every_case
def test_inputs_are_not_modified(name, case):
    """Writing into a read-only array raises ValueError."""
    run(name, as_arguments(case, read_only))


def fortran_order(value):
    return np.asfortranarray(value)


def every_other(value):
    """A view of every other entry of a larger array, with other numbers in between."""
    wide = np.full((*value.shape, 2), 77, value.dtype)
    wide[..., 1] = value
    return wide[..., 1]


def backwards(value):
    return value[::-1].copy()[::-1]


@every_case
@pytest.mark.parametrize("layout", [fortran_order, every_other, backwards])
def test_strides_do_not_matter(name, case, layout):
    contiguous = run(name, as_arguments(case))
    strided = run(name, as_arguments(case, layout))
    for key in contiguous:
        assert error(strided[key], contiguous[key]) <= 1e-13, key


@pytest.mark.parametrize("name", [name for name in OPERATIONS if "x" in CASES[name, 1]])
def test_a_second_forward_pass_does_not_disturb_the_cache_of_the_first(name):
    """A GAN runs D on real, then on generated samples, and only then backward through both."""
    case = as_arguments(CASES[name, 1])
    other = case | {"x": -(case["x"] ** 3)}
    operation = OPERATIONS[name]
    _, cache = operation.forward(case)
    _, other_cache = operation.forward(other)
    for inputs, kept in [(other, other_cache), (case, cache)]:
        expected = operation.backward(inputs, operation.forward(inputs)[1])
        for key, gradient in operation.backward(inputs, kept).items():
            assert np.array_equal(gradient, expected[key]), key


UPDATE_RULES = load("optimisers.npz")


@pytest.mark.parametrize(("name", "number"), UPDATE_RULES)
def test_the_explicit_update_rules_agree_with_pytorch(name, number):
    """The loops of reference/optimisers.py, after each of the ten steps."""
    case = UPDATE_RULES[name, number]
    settings = {key: value.item() for key, value in case.items() if value.ndim == 0}
    for step, theta in enumerate(case["thetas"], start=1):
        assert_agrees(getattr(optimisers, name)(case["theta"], case["grads"][:step], **settings), theta)
