"""Write tests/golden/*.npz: what PyTorch computes, so that the tests need no PyTorch.

    python -m reference.write_golden

Every file holds arrays under names like ``batchnorm/3/x``: the operation, the number of the case, and the
input or result. Inputs have the names of the twin's parameters in torch_twins.py; results are ``y`` or
``loss``, ``d`` + input (``dx``, ``dgamma``), ``new_`` + statistic, and ``thetas`` for update rules.
Everything is float64 but masks (bool), labels, shapes and the settings of windows (int64).
``torch_version`` says who computed it.
"""

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import torch

from reference import (
    Array,
    image_cases,
    torch_cdcgan,
    torch_dcgan,
    torch_dcgan_upsample,
    torch_double_backward,
    torch_examples,
    torch_gans,
    torch_twins,
    torch_unrolled,
)

GOLDEN = Path(__file__).parents[1] / "tests" / "golden"

# The inputs of one case by name, and a function that makes all cases of one operation.
Case: TypeAlias = dict[str, Any]
Cases: TypeAlias = Callable[[np.random.Generator], Iterator[Case]]

SHAPES = [(7, 3), (2, 1), (1, 4, 3, 2), (2, 3, 5, 3)]

# Where a formula that is not stable overflows, returns nan, or loses its digits; and the kink at 0.
EXTREMES = np.array([-1e4, -710.0, -90.0, -40.0, -20.0, -1.0, -1e-8, 0.0, 1e-8, 1.0, 20.0, 40.0, 90.0, 710.0, 1e4])


def dense(rng: np.random.Generator) -> Iterator[Case]:
    normal = rng.standard_normal
    for n, i, o in [(1, 1, 1), (4, 3, 5), (1, 6, 2), (7, 13, 3)]:
        yield {"x": normal((n, i)), "w": normal((i, o)), "b": normal(o), "dy": normal((n, o))}
    yield {"x": normal((5, 4)), "w": normal((4, 3)), "dy": normal((5, 3))}
    wide_range = 10 ** rng.uniform(-6, 6, (6, 5))
    yield {"x": wide_range, "w": normal((5, 4)), "b": normal(4), "dy": normal((6, 4))}


def batchnorm(rng: np.random.Generator) -> Iterator[Case]:
    for shape, eps in zip(SHAPES, [1e-5, 0.1, 1e-5, 1e-5], strict=True):  # of two samples, dx is of the order of eps
        yield {"x": rng.standard_normal(shape), **scale_and_shift(rng, shape), "eps": eps}
    shape = (6, 4)
    far_from_zero = 1000 + rng.standard_normal(shape)
    nearly_constant = 1e-4 * rng.standard_normal(shape)  # a variance far below eps
    yield {"x": far_from_zero, **scale_and_shift(rng, shape), "eps": 1e-3}
    yield {"x": nearly_constant, **scale_and_shift(rng, shape), "eps": 1e-5}
    yield {"x": 1e4 * rng.standard_normal(shape), **scale_and_shift(rng, shape), "eps": 1e-5}


def batchnorm_inference(rng: np.random.Generator) -> Iterator[Case]:
    for shape in [*SHAPES, (1, 5)]:
        statistics = {"mean": rng.standard_normal(shape[-1]), "var": rng.uniform(0.01, 4, shape[-1])}
        yield {"x": rng.standard_normal(shape), **scale_and_shift(rng, shape), **statistics, "eps": 1e-5}


def scale_and_shift(rng: np.random.Generator, shape: tuple[int, ...]) -> Case:
    channels = shape[-1]
    return {"gamma": rng.uniform(0.5, 2, channels), "beta": rng.normal(size=channels), "dy": rng.normal(size=shape)}


def running_statistics(rng: np.random.Generator) -> Iterator[Case]:
    for shape, momentum in zip(SHAPES, [0.1, 0.01, 0.5, 1.0], strict=True):
        statistics = {"mean": rng.standard_normal(shape[-1]), "var": rng.uniform(0.1, 4, shape[-1])}
        yield {"x": 2 + 3 * rng.standard_normal(shape), **statistics, "momentum": momentum}


def activation(**parameters: float) -> Cases:
    """Cases for one activation, with its fixed parameters."""

    def cases(rng: np.random.Generator) -> Iterator[Case]:
        for shape in [(5, 7), (1, 3, 2, 3)]:
            yield {"x": 2 * rng.standard_normal(shape), **parameters, "dy": rng.standard_normal(shape)}
        yield {"x": EXTREMES, **parameters, "dy": rng.standard_normal(EXTREMES.shape)}

    return cases


def maxout(rng: np.random.Generator) -> Iterator[Case]:
    for n, units, pieces in [(1, 1, 2), (5, 4, 3), (3, 2, 5), (4, 3, 1)]:
        x = rng.standard_normal((n, units * pieces))
        yield {"x": x, "pieces": pieces, "dy": rng.standard_normal((n, units))}


def dropout(rng: np.random.Generator) -> Iterator[Case]:
    for shape, mask_shape, scale in [((6, 5), (6, 5), 2.0), ((6, 5), (6, 5), 1.0), ((2, 3, 3, 4), (2, 1, 1, 4), 1.25)]:
        keep = rng.random(mask_shape) < 0.6
        yield {"x": rng.standard_normal(shape), "keep": keep, "scale": scale, "dy": rng.standard_normal(shape)}
    keep_none = np.zeros((1, 3), bool)
    yield {"x": rng.standard_normal((1, 3)), "keep": keep_none, "scale": 2.0, "dy": rng.standard_normal((1, 3))}


def reshape(rng: np.random.Generator) -> Iterator[Case]:
    for before, after in [((2, 12), (3, 4)), ((3, 2, 2, 2), (8,)), ((1, 6), (1, 2, 3)), ((2, 3, 4), (4, 3))]:
        x = rng.standard_normal(before)
        yield {"x": x, "shape": np.array(after), "dy": rng.standard_normal((before[0], *after))}


def bce_with_logits(rng: np.random.Generator) -> Iterator[Case]:
    for shape, smoothing in [((5, 1), 0.0), ((1, 1), 0.1), ((2, 3, 4), 0.25)]:
        yield {"logits": 3 * rng.standard_normal(shape), "targets": rng.uniform(size=shape), "smoothing": smoothing}
    for target in (0.0, 0.3, 1.0):
        yield {"logits": EXTREMES, "targets": np.array(target), "smoothing": 0.0}


def softmax_cross_entropy(rng: np.random.Generator) -> Iterator[Case]:
    for n, classes, smoothing in [(6, 3, 0.0), (1, 10, 0.0), (5, 2, 0.1), (3, 4, 1.0)]:
        logits = 3 * rng.standard_normal((n, classes))
        yield {"logits": logits, "labels": rng.integers(classes, size=n), "smoothing": smoothing}
    extremes = EXTREMES.reshape(5, 3) * np.array([1, -1, 1])
    for smoothing in (0.0, 0.1):
        yield {"logits": extremes, "labels": np.array([0, 1, 2, 0, 1]), "smoothing": smoothing}


def squares(rng: np.random.Generator) -> Iterator[Case]:
    for shape in [(5, 3), (1, 1), (4, 7)]:
        yield {"outputs": rng.standard_normal(shape), "targets": rng.standard_normal(shape)}
    yield {"outputs": 1e4 * rng.standard_normal((6, 2)), "targets": np.array(0.7)}


def discriminator(**parameters: float) -> Cases:
    """Cases for one discriminator loss, with its fixed parameters: as many real as fake logits, and not."""

    def cases(rng: np.random.Generator) -> Iterator[Case]:
        for n, m in [(5, 5), (1, 4)]:
            yield {"real": 2 * rng.standard_normal((n, 1)), "fake": 2 * rng.standard_normal((m, 1)), **parameters}
        yield {"real": EXTREMES[:-2], "fake": EXTREMES[2:], **parameters}

    return cases


def generator(rng: np.random.Generator) -> Iterator[Case]:
    for shape in [(5, 1), (1,), (2, 3, 3, 1)]:
        yield {"fake": 2 * rng.standard_normal(shape)}
    yield {"fake": EXTREMES[2:]}  # all of them have the mean 0, where a relative error means nothing


def discriminator_bce(rng: np.random.Generator) -> Iterator[Case]:
    for smoothing, scale in [(0.0, 1.0), (0.1, 1.0), (0.25, 0.5)]:
        yield from discriminator(smoothing=smoothing, scale=scale)(rng)


def update_rule(*settings: dict[str, float]) -> Cases:
    """Twenty coordinates, ten gradients of very different sizes, one of them zero for three steps."""

    def cases(rng: np.random.Generator) -> Iterator[Case]:
        for setting in settings:
            grads = rng.standard_normal((10, 20)) * 10 ** rng.uniform(-4, 2, 20)
            grads[:3, 0] = 0
            yield {"theta": rng.standard_normal(20), "grads": grads, **setting}

    return cases


OPERATIONS: dict[str, Cases] = {
    "dense": dense,
    "batchnorm": batchnorm,
    "batchnorm_inference": batchnorm_inference,
    "running_statistics": running_statistics,
    "relu": activation(),
    "leaky_relu": activation(slope=0.2),
    "elu": activation(alpha=0.7),
    "softplus": activation(),
    "sigmoid": activation(),
    "tanh": activation(),
    "scaled_tanh": activation(),
    "maxout": maxout,
    "dropout": dropout,
    "reshape": reshape,
    "bce_with_logits": bce_with_logits,
    "softmax_cross_entropy": softmax_cross_entropy,
    "mean_squared_error": squares,
    "half_squared_error": squares,
    "discriminator_bce": discriminator_bce,
    "generator_minimax": generator,
    "generator_non_saturating": generator,
    "discriminator_least_squares": discriminator(),
    "generator_least_squares": generator,
    "discriminator_hinge": discriminator(),
    "discriminator_wasserstein": discriminator(),
    "generator_wasserstein": generator,
}

OPTIMISERS: dict[str, Cases] = {
    "sgd": update_rule({"lr": 0.1, "momentum": 0.0}, {"lr": 0.01, "momentum": 0.9}),
    "adam": update_rule(
        {"lr": 2e-4, "beta1": 0.5, "beta2": 0.999, "eps": 1e-8}, {"lr": 0.1, "beta1": 0.9, "beta2": 0.99, "eps": 1e-2}
    ),
    "rmsprop": update_rule({"lr": 5e-5, "rho": 0.99, "eps": 1e-8}, {"lr": 0.01, "rho": 0.9, "eps": 1e-3}),
}


def run_twins(table: dict[str, Cases]) -> dict[str, Array]:
    """Inputs and results of every case. Each operation draws from a generator of its own, seeded by its name,
    so that a new operation changes none of the others."""
    arrays: dict[str, Array] = {}
    for name, cases in table.items():
        rng = np.random.default_rng(list(name.encode()))
        for number, inputs in enumerate(cases(rng)):
            results = getattr(torch_twins, name)(**inputs)
            for key, value in (inputs | results).items():
                arrays[f"{name}/{number}/{key}"] = np.asarray(value)
    return arrays


def write(file_name: str, arrays: dict[str, Array]) -> None:
    """One compressed npz without pickles, the same bytes for the same arrays."""
    nonfinite = [name for name, value in arrays.items() if not np.isfinite(value).all()]
    if nonfinite:
        raise ArithmeticError(f"not finite: {', '.join(nonfinite)}")
    path = GOLDEN / file_name
    np.savez_compressed(path, allow_pickle=False, torch_version=np.array(torch.__version__), **arrays)
    print(f"{path.name}: {len(arrays)} arrays, {path.stat().st_size / 1000:.0f} kB")


def golden_files() -> Iterable[tuple[str, dict[str, Array]]]:
    """Every file under tests/golden and what belongs into it."""
    yield "operations.npz", run_twins(OPERATIONS)
    yield "convolutions.npz", run_twins(image_cases.CASES)
    yield "optimisers.npz", run_twins(OPTIMISERS)
    gans = torch_gans
    yield "training_mlp_mnist.npz", gans.trajectory(gans.MNIST_G, gans.MNIST_D, gans.play_mlp_mnist, seed=1)
    yield "training_dcgan_64.npz", torch_dcgan.trajectory()
    yield "training_dcgan_upsample.npz", torch_dcgan_upsample.trajectories()
    yield "double_backward.npz", torch_double_backward.cases()
    yield "training_wgan_gp_28.npz", torch_double_backward.trajectory()
    yield "training_unrolled.npz", torch_unrolled.trajectories()
    yield "training_cdcgan_28.npz", torch_cdcgan.trajectory()
    yield "examples.npz", torch_examples.save(GOLDEN)  # and beside it netG.pth and netD.pth
    yield "training_mlp_2014.npz", gans.trajectory(gans.MLP2014_G, gans.MLP2014_D, gans.play_mlp_2014, seed=2)


def main() -> None:
    torch.set_num_threads(1)  # sums in one order
    GOLDEN.mkdir(exist_ok=True)
    for file_name, arrays in golden_files():
        write(file_name, arrays)


if __name__ == "__main__":
    main()
