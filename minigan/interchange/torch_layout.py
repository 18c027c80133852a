"""A network's numbers under PyTorch's names and in its layouts, both ways.

The twin is the torch.nn.Sequential of the same layers, so that number i is minigan's layer i; a nn.Conditioned is a
torch.nn.Sequential, too, whose class is left to the reader (docs/library.md shows it).

    minigan                                         PyTorch
    dense2.w            (I, O)                      3.weight  (O, I)
    conv2d1.w           (kh, kw, I/groups, O)       0.weight  (O, I/groups, kh, kw)
    convtranspose2d1.w  (kh, kw, O/groups, I)       1.weight  (I, O/groups, kh, kw)
    batchnorm1.gamma    (C,), beta, mean, var       2.weight  (C,), bias, running_mean, running_var

and dense layers next to an image have their inputs or outputs in the order (C, H, W); see `steps`.
A network whose input or output is a flat image (the MLPs) has it in that order too: its callers
name the image's shape as `image_in` or `image_out`, and the twin's last module is then an Unflatten.
"""

import math
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from minigan import nn
from minigan.backend import put_like, to_host
from minigan.errors import DataError
from minigan.interchange.steps import Order, Step, order_of, orders, permutation, steps, with_behind
from minigan.interchange.torch_modules import modules_of, unflatten
from minigan.interchange.torch_pickle import is_torch_file, read_state_dict
from minigan.nn.params import Params
from minigan.typing import Shape

COUNTER = "num_batches_tracked"  # BatchNorm's, which PyTorch stores and does not use
MAIN = "main."  # what pytorch/examples calls its Sequential
WRAPPED = "module."  # what torch.nn.DataParallel puts in front of all names
WITH_TENSORS = ("Linear", "Conv2d", "ConvTranspose2d", "BatchNorm1d", "BatchNorm2d")
SHOWN = 4  # differences that an error lists


Arrange: TypeAlias = Callable[[np.ndarray], np.ndarray]  # from minigan's layout to PyTorch's


@dataclass(frozen=True)
class Tensor:
    """One of PyTorch's tensors: a rearrangement of one of minigan's views."""

    name: str  # PyTorch's
    view: str  # minigan's
    arrange: Arrange


@dataclass(frozen=True)
class Twin:
    """A network as PyTorch has it: ``torch.nn.<kind>(**arguments)`` by name, the tensors, and the counters' names."""

    modules: dict[str, tuple[str, dict[str, Any]]]
    tensors: list[Tensor]
    counters: list[str]


def twin(net: nn.Layer, in_shape: Shape, *, image_in: Shape | None = None, image_out: Shape | None = None) -> Twin:
    """The torch.nn.Sequential that does the same.

    Raises Untranslatable, naming the layer, if there is none.
    """
    row = steps(net, in_shape)
    out_shape = row[-1].out_shape if row else in_shape
    ends = [_order_at_end(*end, net.condition) for end in ((in_shape, image_in), (out_shape, image_out))]
    places = orders(row, *ends)
    modules, tensors, counters = {}, list[Tensor](), list[str]()
    for step, before, after in zip(row, places, places[1:], strict=False):
        for module in modules_of(step):
            name = ".".join(filter(None, (step.number, module.path)))
            modules[name] = (module.kind, module.arguments)
            if module.kind in WITH_TENSORS:
                tensors += _tensors(step, name, before, after)
            if module.kind.startswith("BatchNorm") and step.layer.track_running_stats:
                counters.append(f"{name}.{COUNTER}")
    if image_out is not None and out_shape == (math.prod(image_out),):
        last = unflatten(image_out)
        modules[str(len(net.layers) if isinstance(net, nn.Sequential) else 0)] = (last.kind, last.arguments)
    return Twin(modules, tensors, counters)


def _order_at_end(shape: Shape, image: Shape | None, condition: int) -> Order:
    """That of the network's input or output; a flat image may have a condition behind it."""
    if image is None or shape not in ((math.prod(image),), (math.prod(image) + condition,)):
        return order_of(shape)
    return with_behind(order_of(image), shape[0] - math.prod(image))


def _tensors(step: Step, name: str, before: Order, after: Order) -> Iterator[Tensor]:
    """The tensors of the module `name`, which stands for a layer with parameters."""
    there = step.layer.param_shapes(step.in_shape) | step.layer.statistic_shapes(step.in_shape)
    for theirs, (ours, arrange) in _arrangements(step, before, after).items():
        if ours in there:  # b may be missing
            yield Tensor(f"{name}.{theirs}", f"{step.name}.{ours}", arrange)


def _arrangements(step: Step, before: Order, after: Order) -> dict[str, tuple[str, Arrange]]:
    """PyTorch's names, minigan's, and the way from one to the other."""
    inputs, outputs = permutation(before), permutation(after)
    if isinstance(step.layer, nn.Dense):  # (I, O) to (O, I)
        return {"weight": ("w", lambda w: w[np.ix_(inputs, outputs)].T), "bias": ("b", lambda b: b[outputs])}
    if isinstance(step.layer, nn.Conv2D | nn.ConvTranspose2D):
        # (kh, kw, I/g, O) to (O, I/g, kh, kw), and for a transposed one (kh, kw, O/g, I) to (I, O/g, kh, kw)
        return {"weight": ("w", lambda w: w.transpose(3, 2, 0, 1)), "bias": ("b", lambda b: b)}
    theirs = {"weight": "gamma", "bias": "beta", "running_mean": "mean", "running_var": "var"}
    in_order: Arrange = (lambda v: v[inputs]) if len(step.in_shape) == 1 else (lambda v: v)  # channels stay in order
    return {name: (ours, in_order) for name, ours in theirs.items()}


def example_twin(whole: Twin) -> Twin:
    """The twin of a DCGAN under the names of pytorch/examples, dcgan/main.py: ``main.0.weight``, ...

    Its G takes z as images (N, nz, 1, 1), so that it lacks the Unflatten in front, and every number
    is one less; its D has a Sigmoid where minigan's has a Flatten.
    """
    kinds = {name: kind for name, (kind, _) in whole.modules.items()}
    shift = int(kinds.get("0") == "Unflatten")

    def renamed(name: str) -> str:
        number, dot, rest = name.partition(".")
        return f"{MAIN}{int(number) - shift}{dot}{rest}"

    kept = {name: module for name, module in whole.modules.items() if module[0] not in ("Unflatten", "Flatten")}
    tensors = [Tensor(renamed(tensor.name), tensor.view, tensor.arrange) for tensor in whole.tensors]
    return Twin({renamed(name): module for name, module in kept.items()}, tensors, [*map(renamed, whole.counters)])


def state_dict(whole: Twin, theta: Params) -> dict[str, np.ndarray]:
    """All tensors of a twin, on the host, contiguous, in the precision of `theta`."""
    arrays = {tensor.name: np.array(tensor.arrange(to_host(theta[tensor.view])), order="C") for tensor in whole.tensors}
    arrays |= {name: np.zeros((), np.int64) for name in whole.counters}
    return dict(sorted(arrays.items(), key=lambda item: natural(item[0])))


def natural(name: str) -> list[tuple[int, str]]:
    """Sorts "2.weight" before "10.weight"."""
    parts = name.split(".")
    return [(int(part), "") if part.isascii() and part.isdigit() and len(part) < 10 else (-1, part) for part in parts]


def load_into(
    net: nn.Layer,
    theta: Params,
    tensors: Mapping[str, np.ndarray],
    *,
    image_in: Shape | None = None,
    image_out: Shape | None = None,
) -> None:
    """Put a PyTorch state dict, also one of pytorch/examples' dcgan, into a network's parameters.

    BatchNorm's counters may be missing. Raises DataError, with nothing changed, for tensors that
    are missing, unknown, of another shape or not of floating point, and for numbers that are not finite in the
    precision of the parameters.
    """
    whole = twin(net, theta.in_shape, image_in=image_in, image_out=image_out)
    if any(name.startswith(MAIN) for name in tensors):
        whole = example_twin(whole)
    shapes = theta.trainable_shapes | theta.statistic_shapes
    # Rearranging the numbers 0, 1, 2, ... tells where each of PyTorch's numbers belongs.
    problems = []
    for tensor in whole.tensors:
        needed = tensor.arrange(_numbered(shapes[tensor.view])).shape
        problems += _problem(tensor.name, needed, tensors.get(tensor.name))
    known = {tensor.name for tensor in whole.tensors} | set(whole.counters)
    problems += [f"{name} is unknown" for name in tensors if name not in known]
    if problems:
        more = f"; and {len(problems) - SHOWN} more" if len(problems) > SHOWN else ""
        raise DataError(f"the tensors are not of this network: {'; '.join(problems[:SHOWN])}{more}")
    with np.errstate(over="ignore"):
        for tensor in whole.tensors:
            if not np.isfinite(tensors[tensor.name].astype(theta.flat.dtype)).all():
                raise DataError(f"{tensor.name} holds numbers that are not finite in {theta.flat.dtype}")
            if tensor.name.endswith("running_var") and (tensors[tensor.name] < 0).any():
                raise DataError(f"{tensor.name} holds variances below zero")
    for tensor in whole.tensors:
        filled = np.empty(shapes[tensor.view], theta.flat.dtype)
        filled.reshape(-1)[tensor.arrange(_numbered(filled.shape))] = tensors[tensor.name]
        theta[tensor.view] = put_like(filled, theta.flat)


def _numbered(shape: Shape) -> np.ndarray:
    return np.arange(np.prod(shape, dtype=int)).reshape(shape)


def _problem(name: str, needed: Shape, found: np.ndarray | None) -> list[str]:
    if found is None:
        return [f"{name} is missing"]
    if found.shape != needed:
        return [f"{name} is {found.shape}, not {needed}"]
    return [] if np.issubdtype(found.dtype, np.floating) else [f"{name} is {found.dtype}, not of floating point"]


def read_tensors(path: Path) -> dict[str, np.ndarray]:
    """The tensors of a safetensors file, or of a state dict that torch.save has written.

    Raises DataError, in one line, if it is none.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load

    try:
        if path.exists() and not path.is_file():  # a pipe or a device may have no end
            raise DataError(f"cannot read {path}: not a regular file")
        content = path.read_bytes()
    except OSError as err:
        raise DataError(f"cannot read {path}: {err.strerror}") from err
    try:
        tensors = read_state_dict(path, content) if is_torch_file(content) else load(content)
    except (SafetensorError, ValueError, TypeError, KeyError) as err:
        text = re.sub(r"\s+", " ", str(err))
        raise DataError(f"{path} is no safetensors file that NumPy can hold ({text})") from err
    wrapped = all(name.startswith(WRAPPED) for name in tensors)
    return {name.removeprefix(WRAPPED) if wrapped else name: tensor for name, tensor in tensors.items()}


def read_facts(path: Path) -> dict[str, str]:
    """The metadata of a file that `read_tensors` has read; a state dict has none."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "np") as file:
            return dict(file.metadata() or {})
    except SafetensorError:
        return {}
