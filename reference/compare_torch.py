"""Compare minigan's operations on images with PyTorch, in float64, on random geometries.

    python -m reference.compare_torch [--cases 200] [--seed 0]

Prints one line for each result of each operation: how many geometries, and the worst error, relative to
the largest value that PyTorch has. Exits with 1 if one is above the tolerance. ``y`` is forward, ``dx`` and
``dw`` are the gradients, autograd's on PyTorch's side; those of conv2d are minigan's other two primitives.
"""

import argparse
import sys
from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
import torch

from minigan import ops
from reference import Array, image_cases, torch_twins
from reference.image_cases import Case

TOLERANCE = 1e-10
Results: TypeAlias = dict[str, Array]

# minigan's side: from a case to its results, under the names that the twin gives them ----------------


def geometry(case: Case) -> ops.Geometry:
    """The case's settings as minigan takes them."""
    return ops.Geometry(pair(case["stride"]), sides(case["padding"]), pair(case.get("dilation", (1, 1))), groups(case))


def pair(values: Any) -> tuple[int, int]:
    vertical, horizontal = (int(value) for value in values)
    return vertical, horizontal


def sides(values: Any) -> tuple[int, int, int, int]:
    top, bottom, left, right = (int(value) for value in values)
    return top, bottom, left, right


def groups(case: Case) -> int:
    return case.get("groups", 1)


def conv2d(case: Case) -> Results:
    x, w, dy, moves = case["x"], case["w"], case["dy"], geometry(case)
    return {
        "y": ops.conv2d(x, w, moves),
        "dx": ops.conv2d_input_grad(dy, w, x.shape[1:3], moves),
        "dw": ops.conv2d_weight_grad(x, dy, w.shape[:2], moves),
    }


def conv_transpose2d(case: Case) -> Results:
    x, w, dy, moves = case["x"], case["w"], case["dy"], geometry(case)
    return {
        "y": ops.conv2d_input_grad(x, w, dy.shape[1:3], moves),
        "dx": ops.conv2d(dy, w, moves),
        "dw": ops.conv2d_weight_grad(dy, x, w.shape[:2], moves),
    }


def pool(forward: Callable[..., Any], backward: Callable[..., Array]) -> Callable[[Case], Results]:
    def results(case: Case) -> Results:
        window = pair(case["kernel"]), geometry(case)
        y, cache = forward(case["x"], *window)
        return {"y": y, "dx": backward(case["dy"], cache, *window)}

    return results


def global_average(case: Case) -> Results:
    y, cache = ops.global_average(case["x"])
    return {"y": y, "dx": ops.global_average_backward(case["dy"], cache)}


def by_factor(forward: Callable[..., Array], backward: Callable[..., Array]) -> Callable[[Case], Results]:
    def results(case: Case) -> Results:
        return {"y": forward(case["x"], case["factor"]), "dx": backward(case["dy"], case["factor"])}

    return results


# Random geometries -----------------------------------------------------------------------------------


def draw_window(rng: np.random.Generator, dilated: bool) -> tuple[Any, Any, Any, Any, Any]:
    """Kernel, stride, padding, dilation, and a size of the image into which at least one window fits."""
    kernel, stride = pair(rng.integers(1, 6, 2)), pair(rng.integers(1, 4, 2))
    dilation = pair(rng.integers(1, 4, 2)) if dilated else (1, 1)
    padding = sides(rng.integers(0, 4, 4))
    borders = sum(padding[:2]), sum(padding[2:])
    smallest = [max(1, d * (k - 1) + 1 - b) for k, d, b in zip(kernel, dilation, borders, strict=True)]
    return kernel, stride, padding, dilation, pair(np.array(smallest) + rng.integers(0, 7, 2))


def draw_channels(rng: np.random.Generator) -> tuple[int, int, int]:
    """Channels in, channels out, and the groups that divide both."""
    n_groups = int(rng.integers(1, 4))
    return n_groups * int(rng.integers(1, 4)), n_groups * int(rng.integers(1, 4)), n_groups


def draw_conv2d(rng: np.random.Generator) -> Case:
    kernel, stride, padding, dilation, size = draw_window(rng, dilated=True)
    inputs, outputs, n_groups = draw_channels(rng)
    shape = (int(rng.integers(1, 4)), *size, inputs)
    return image_cases.conv2d(rng, shape, kernel, stride, padding, dilation, outputs, n_groups)


def draw_conv_transpose2d(rng: np.random.Generator) -> Case:
    """The convolution's geometry the other way: its output is the input, and the lost remainder is given back."""
    kernel, stride, padding, dilation, size = draw_window(rng, dilated=True)
    inputs, outputs, n_groups = draw_channels(rng)
    small = image_cases.places((1, *size, 1), kernel, stride, padding, dilation)
    borders = sum(padding[:2]), sum(padding[2:])
    remainder = pair(
        (n + b - d * (k - 1) - 1) % s for n, b, d, k, s in zip(size, borders, dilation, kernel, stride, strict=True)
    )
    shape = (int(rng.integers(1, 4)), *small, inputs)
    return image_cases.conv_transpose2d(rng, shape, kernel, stride, padding, remainder, dilation, outputs, n_groups)


def draw_pool(rng: np.random.Generator) -> Case:
    """Less padding than window, so that no window lies outside the image."""
    kernel, stride, padding, _, size = draw_window(rng, dilated=False)
    limits = (kernel[0] - 1, kernel[0] - 1, kernel[1] - 1, kernel[1] - 1)
    padding = sides(min(p, limit) for p, limit in zip(padding, limits, strict=True))
    shape = (int(rng.integers(1, 4)), size[0] + kernel[0], size[1] + kernel[1], int(rng.integers(1, 4)))
    return image_cases.pool(rng, shape, kernel, stride, padding)


def draw_shape(rng: np.random.Generator) -> image_cases.Shape:
    n, height, width, channels = (int(side) for side in rng.integers(1, (4, 8, 8, 4)))
    return n, height, width, channels


def draw_enlarged(build: Callable[..., Case]) -> Callable[[np.random.Generator], Case]:
    return lambda rng: build(rng, draw_shape(rng), int(rng.integers(1, 5)))


COMPARISONS: dict[str, tuple[Callable[[np.random.Generator], Case], Callable[[Case], Results]]] = {
    "conv2d": (draw_conv2d, conv2d),
    "conv_transpose2d": (draw_conv_transpose2d, conv_transpose2d),
    "average_pool": (draw_pool, pool(ops.average_pool, ops.average_pool_backward)),
    "max_pool": (draw_pool, pool(ops.max_pool, ops.max_pool_backward)),
    "global_average": (lambda rng: image_cases.global_average(rng, draw_shape(rng)), global_average),
    "upsample_nearest": (
        draw_enlarged(image_cases.upsample),
        by_factor(ops.upsample_nearest, ops.upsample_nearest_backward),
    ),
    "upsample_bilinear": (
        draw_enlarged(image_cases.upsample),
        by_factor(ops.upsample_bilinear, ops.upsample_bilinear_backward),
    ),
    "pixel_shuffle": (draw_enlarged(image_cases.pixel_shuffle), by_factor(ops.pixel_shuffle, ops.pixel_unshuffle)),
    "pixel_unshuffle": (draw_enlarged(image_cases.pixel_unshuffle), by_factor(ops.pixel_unshuffle, ops.pixel_shuffle)),
}


def error(ours: Array, theirs: Array) -> float:
    """The largest difference, relative to the largest value; inf where shapes differ or it is no number."""
    if ours.shape != theirs.shape or not np.isfinite(ours).all():
        return np.inf
    return float(abs(ours - theirs).max() / max(abs(theirs).max(), np.finfo(np.float64).tiny))


def worst_errors(name: str, cases: int, seed: int) -> dict[str, float]:
    """The worst error of each result over so many random cases."""
    draw, ours = COMPARISONS[name]
    rng = np.random.default_rng([seed, *name.encode()])
    worst: dict[str, float] = {}
    for _ in range(cases):
        case = draw(rng)
        theirs = getattr(torch_twins, name)(**case)
        for key, result in ours(case).items():
            worst[key] = max(worst.get(key, 0.0), error(result, theirs[key]))
    return worst


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--cases", type=int, default=200, help="random geometries for each operation")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    print(f"float64, PyTorch {torch.__version__}, NumPy {np.__version__}")
    print(f"{'operation':20} {'result':8} {'cases':>5}  worst error")
    everything = 0.0
    for name in COMPARISONS:
        for result, worst in worst_errors(name, arguments.cases, arguments.seed).items():
            print(f"{name:20} {result:8} {arguments.cases:5}  {worst:.1e}{'' if worst <= TOLERANCE else '  WRONG'}")
            everything = max(everything, worst)
    print(f"worst of all {everything:.1e}, tolerance {TOLERANCE:.0e}")
    return 0 if everything <= TOLERANCE else 1


if __name__ == "__main__":
    sys.exit(main())
