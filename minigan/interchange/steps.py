"""A network as a row of steps, and the order in which PyTorch has the numbers at each of them.

minigan's images are (H, W, C), PyTorch's (C, H, W). In between two layers that take images this is
only another layout of the same image. But where an image becomes a vector, or a vector an image,
PyTorch's vector holds the same numbers in another order:

    minigan   Dense -> (H W C,) -> Reshape((H, W, C))
    PyTorch   Linear -> (C H W,) -> Unflatten(1, (C, H, W))

so that the outputs of the dense layer before a Reshape, the inputs of the one after a Flatten, and
every vector between (BatchNorm's gains) have to be permuted. `orders` finds out where.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from minigan import nn
from minigan.errors import UserError
from minigan.nn.activations import Activation
from minigan.typing import Shape


class Untranslatable(UserError):
    """A network that the other program cannot express; the message names the layer."""


# A vector of P C numbers in the order (C, P), where minigan has (P, C): the channels-first order of an image
# with P pixels and C channels; behind them K numbers of a condition, in their order. (1, n, 0) is minigan's own order.
Order: TypeAlias = tuple[int, int, int]

# Layers that treat every number of a vector alone, and leave it where it is.
KEEP_ORDER = (Activation, nn.BatchNorm, nn.Dropout)


@dataclass(frozen=True)
class Reading:
    """What stands in front of the layers of a Conditioned: its condition, so many numbers, is read here."""

    size: int


@dataclass(frozen=True)
class Step:
    """One layer of a network that is no network itself; or in front of those of a Conditioned a Reading, and behind
    them the Conditioned, for the condition that it puts beside what they have made."""

    number: str  # what a torch.nn.Sequential calls it: "3", and "3.0" in a Sequential within
    name: str  # what minigan calls it: "dense2", "sequential1.dense2"
    layer: Any  # a nn.Layer; what translates it knows which
    in_shape: Shape  # of one sample
    out_shape: Shape


def steps(net: nn.Layer, in_shape: Shape) -> list[Step]:
    """All layers of a network in a row. Raises Untranslatable if it is no Sequential."""
    if not isinstance(net, nn.Sequential):
        raise Untranslatable(f"only a Sequential can be exported, not {type(net).__name__}")
    return list(_walk(net, in_shape, "", ""))


def _walk(net: nn.Sequential, in_shape: Shape, numbers: str, names: str) -> Iterator[Step]:
    for index, (name, layer, before, after) in enumerate(net.shapes(in_shape)):
        number, name = f"{numbers}{index}", f"{names}{name}"
        if isinstance(layer, nn.Conditioned):
            made = layer.made_shape(before)
            yield Step(number, name, Reading(layer.size), before, before)
            yield from _walk(layer, before, f"{number}.", f"{name}.")
            yield Step(number, name, layer, made, after)
        elif isinstance(layer, nn.Sequential):
            yield from _walk(layer, before, f"{number}.", f"{name}.")
        else:
            yield Step(number, name, layer, before, after)


def channels_first(shape: Shape) -> Shape:
    """(C, H, W) of (H, W, C); a vector stays as it is."""
    return (*shape[-1:], *shape[:-1])


def order_of(shape: Shape) -> Order:
    """The order in which PyTorch has the numbers of a sample (H, W, C); one pixel or one channel leave no choice."""
    size, channels = math.prod(shape), math.prod(shape[-1:])
    return (1, size, 0) if channels in (1, size) else (size // channels, channels, 0)


def permutation(order: Order) -> np.ndarray:
    """Where minigan has the numbers of a vector in this order: ``torch_vector = vector[permutation(order)]``."""
    pixels, channels, behind = order
    numbers = np.arange(pixels * channels + behind)
    image, condition = np.split(numbers, [pixels * channels])
    return np.concatenate([image.reshape(pixels, channels).T.ravel(), condition])


def orders(row: list[Step], first: Order, last: Order) -> list[Order]:
    """The order in front of each step, and behind the last one.

    `first` and `last` are those of the network's input and output. Raises Untranslatable, naming
    the layer, where the numbers would have to change places between two layers.
    """
    found = [first]
    for step, wanted in zip(row, _wanted(row, last), strict=True):
        found.append(_order_after(step, found[-1], wanted))
    if found[-1] != last:
        name = row[-1].name if row else "(none)"
        raise Untranslatable(f"layer {name}: PyTorch would return its numbers in another order")
    return found


def _wanted(row: list[Step], last: Order) -> list[Order | None]:
    """The order that the following layers want of each step's output; None if they take any."""
    wanted: list[Order | None] = [last]
    for step in reversed(row[1:]):
        wanted.append(_wanted_before(step, wanted[-1]))
    return wanted[::-1][: len(row)]


def _wanted_before(step: Step, after: Order | None) -> Order | None:
    if isinstance(step.layer, nn.Conditioned):
        return _in_front(after, step.layer.size) if len(step.in_shape) == 1 else order_of(step.in_shape)
    if isinstance(step.layer, Reading):
        return after
    if isinstance(step.layer, nn.Dense):  # its weights can be permuted to fit
        return None
    if isinstance(step.layer, nn.Reshape | nn.Flatten):
        return order_of(step.out_shape) if len(step.out_shape) > 1 else after
    if isinstance(step.layer, KEEP_ORDER) and len(step.in_shape) == 1:
        return after
    return order_of(step.in_shape)


def with_behind(order: Order, size: int) -> Order:
    """The order with so many numbers more behind it."""
    pixels, channels, behind = order
    return (1, channels + size, 0) if pixels == 1 else (pixels, channels, behind + size)


def _in_front(order: Order | None, size: int) -> Order | None:
    """The order without so many numbers behind it; None where any will do, or where none has them there."""
    if order is None or (order[0] > 1 and order[2] < size):
        return None
    pixels, channels, behind = order
    return (1, channels - size, 0) if pixels == 1 else (pixels, channels, behind - size)


def _order_after(step: Step, before: Order, wanted: Order | None) -> Order:
    if isinstance(step.layer, nn.Conditioned):
        return with_behind(before, step.layer.size) if len(step.in_shape) == 1 else order_of(step.out_shape)
    if isinstance(step.layer, Reading):
        return before
    if isinstance(step.layer, nn.Dense):
        return wanted or order_of(step.out_shape)
    if isinstance(step.layer, nn.Reshape | nn.Flatten):
        if len(step.out_shape) > 1 and before != order_of(step.out_shape):
            raise Untranslatable(
                f"layer {step.name}: in PyTorch the numbers would have to change places before it, "
                "which needs a Dense layer there"
            )
        return before
    if isinstance(step.layer, KEEP_ORDER):
        return before
    if before != order_of(step.in_shape):  # Maxout takes neighbours, which have been torn apart
        raise Untranslatable(f"layer {step.name}: PyTorch would have its inputs in another order")
    return order_of(step.out_shape)
