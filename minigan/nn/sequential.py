"""Layers one after the other."""

from collections.abc import Callable, Iterable, Iterator
from copy import copy
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from minigan import ops
from minigan.backend import array_module
from minigan.nn.layer import Cache, Layer, ShapeError
from minigan.nn.params import Grads, Params, Views
from minigan.typing import Array, Rng, Shape


class SequentialCache(NamedTuple):
    owner: Params  # the parameters that forward used
    version: int  # their version at that time
    kernels: bool  # whether fast kernels were in use, whose caches may be of other kinds
    steps: tuple[Cache, ...]  # one cache a step
    shapes: tuple[Shape, ...]  # of the whole batch: of what went into each step, and of what came out of the last one


@dataclass(frozen=True, init=False, repr=False)
class Sequential(Layer):
    """A network of layers in a row; itself a layer, so that networks nest.

    Layers are named by kind and number (``dense1``, ``relu1``, ``dense2``, ...), and so are their
    parameters: ``theta["dense2.w"]``.
    """

    layers: tuple[Layer, ...]
    names: tuple[str, ...]
    # What forward and backward do, by the name of the first layer, and for messages by the names of all.
    steps: tuple[tuple[str, Layer], ...] = field(compare=False)
    labels: tuple[str, ...] = field(compare=False)

    def __init__(self, *layers: Layer) -> None:
        for layer in layers:
            if not isinstance(layer, Layer):
                raise TypeError(
                    f"Sequential takes layers, one after the other: Sequential(Dense(3), ReLU()), got {layer!r}"
                )
        self._consist_of(layers, _number([type(layer).__name__.lower() for layer in layers]))

    def _consist_of(self, layers: tuple[Layer, ...], names: tuple[str, ...], fuse: bool = True) -> None:
        steps, labels = _fused(layers, names) if fuse else (tuple(zip(names, layers, strict=True)), names)
        for name, value in {"layers": layers, "names": names, "steps": steps, "labels": labels}.items():
            object.__setattr__(self, name, value)

    def __repr__(self) -> str:
        return f"Sequential({', '.join(map(repr, self.layers))})"

    def replaced(self, change: Callable[[Layer], Layer]) -> "Sequential":
        """This network with change(layer) in place of each layer, under the same names."""
        other = copy(self)
        other._consist_of(tuple(map(change, self.layers)), self.names)
        return other

    def unfused(self) -> "Sequential":
        other = copy(self)
        other._consist_of(tuple(layer.unfused() for layer in self.layers), self.names, fuse=False)
        return other

    @property
    def mixes_samples(self) -> bool:
        return any(layer.mixes_samples for layer in self.layers)

    @property
    def measures_batches(self) -> bool:
        return any(layer.measures_batches for layer in self.layers)

    @property
    def condition(self) -> int:
        return self.layers[0].condition if self.layers else 0

    def shapes(self, in_shape: Shape) -> list[tuple[str, Layer, Shape, Shape]]:
        """(name, layer, input shape, output shape) of each layer, for one sample.

        Raises ShapeError that names the first layer which does not fit.
        """
        rows = []
        for name, layer in zip(self.names, self.layers, strict=True):
            try:
                out_shape = layer.out_shape(in_shape)
            except ShapeError as err:
                raise ShapeError(f"layer {name}: {err}") from None
            rows.append((name, layer, in_shape, out_shape))
            in_shape = out_shape
        return rows

    def out_shape(self, in_shape: Shape) -> Shape:
        return self.shapes(in_shape)[-1][3] if self.layers else in_shape

    def param_shapes(self, in_shape: Shape) -> dict[str, Shape]:
        return _prefixed((name, layer.param_shapes(shape)) for name, layer, shape, _ in self.shapes(in_shape))

    def statistic_shapes(self, in_shape: Shape) -> dict[str, Shape]:
        return _prefixed((name, layer.statistic_shapes(shape)) for name, layer, shape, _ in self.shapes(in_shape))

    def macs(self, in_shape: Shape) -> int:
        return sum(layer.macs(shape) for _, layer, shape, _ in self.shapes(in_shape))

    def random_numbers(self, in_shape: Shape) -> int:
        return sum(layer.random_numbers(shape) for _, layer, shape, _ in self.shapes(in_shape))

    def init(self, theta: Views, rng: np.random.Generator) -> None:
        for name, layer in zip(self.names, self.layers, strict=True):
            layer.init(theta.scope(name), rng)

    def forward(self, theta: Views, x: Array, *, train: bool, rng: Rng = None) -> tuple[Array, SequentialCache]:
        if theta is theta.owner:  # the outermost network: what fits here fits everywhere inside
            _check_input(theta.owner, x)
        caches, shapes, dtype = [], [x.shape], x.dtype
        for (name, layer), label in zip(self.steps, self.labels, strict=True):
            try:
                x, cache = layer.forward(theta.scope(name), x, train=train, rng=rng)
            except (ValueError, TypeError, KeyError) as err:
                raise _naming(label, err) from err
            if x.dtype != dtype:  # and so would be everything after it
                raise TypeError(f"layer {label} made {x.dtype} of {dtype}, as a NumPy number such as np.sqrt(2) does")
            caches.append(cache)
            shapes.append(x.shape)
        fast = ops.with_twins(theta.owner.flat)
        return x, SequentialCache(theta.owner, theta.owner.version, fast, tuple(caches), tuple(shapes))

    def backward(self, theta: Views, dy: Array, cache: SequentialCache, grads: Grads, *, need_dx: bool = True) -> Array:
        _check_cache(theta.owner, cache, ops.with_twins(theta.owner.flat))
        if theta is theta.owner:
            _check_backward(theta.owner, dy, cache, grads)
        return self._down(theta, dy, cache, grads, need_dx=need_dx)

    def _down(self, theta: Views, dy: Array, cache: SequentialCache, grads: Grads, *, need_dx: bool) -> Array:
        """The way back through all layers, of arguments that have been checked."""
        lowest = 0 if need_dx else self._lowest_with_gradients(grads)
        for index in reversed(range(lowest, len(self.steps))):
            dy = self._step_back(index, theta, dy, cache, grads, need_dx=need_dx or index > lowest)
        return dy if need_dx else None

    def _step_back(
        self, index: int, theta: Views, dy: Array, cache: SequentialCache, grads: Grads, *, need_dx: bool
    ) -> Array:
        """The chain rule at one layer: the gradient on its output becomes that on its input."""
        name, layer = self.steps[index]
        layer_grads = None if grads is None else grads.scope(name)
        try:
            dx = layer.backward(theta.scope(name), dy, cache.steps[index], layer_grads, need_dx=need_dx)
        except (ValueError, TypeError, KeyError) as err:
            raise _naming(self.labels[index], err) from err
        if need_dx:
            _check_gradient(self.labels[index], "x", dx, cache.shapes[index], dy.dtype)
        return dx

    def input_gradient(self, theta: Views, dy: Array, cache: SequentialCache) -> tuple[Array, list[Any]]:
        _check_cache(theta.owner, cache, ops.with_twins(theta.owner.flat))
        if theta is theta.owner:
            _check_backward(theta.owner, dy, cache, None)
        return self._down_to_input(theta, dy, cache)

    def _down_to_input(self, theta: Views, dy: Array, cache: SequentialCache) -> tuple[Array, list[Any]]:
        """The same way, without gradients of parameters and with what each layer's `double_backward` asks for."""
        kept: list[Any] = []
        for index in reversed(range(len(self.steps))):
            (name, layer), label = self.steps[index], self.labels[index]
            try:
                dx, of_layer = layer.input_gradient(theta.scope(name), dy, cache.steps[index])
            except (ValueError, TypeError, KeyError) as err:
                raise _naming(label, err) from err
            _check_gradient(label, "x", dx, cache.shapes[index], dy.dtype)
            dy = dx
            kept.insert(0, of_layer)
        return dy, kept

    def double_backward(
        self, theta: Views, ddx: Array, dy: list[Any], cache: SequentialCache, grads: Grads
    ) -> tuple[Array, Array | None]:
        """Up through all layers as forward goes, and down again as backward, from each where dx depends on its input.

        The network has to be `unfused`.
        """
        return self._up_and_down(theta, ddx, None, dy, cache, grads)

    def grads_double_backward(
        self, theta: Views, ddtheta: Views, dy: list[Any], cache: SequentialCache, grads: Grads
    ) -> tuple[Array | None, Array | None]:
        """The same two walks, which begin at each layer with parameters. The network has to be `unfused`."""
        return self._up_and_down(theta, None, ddtheta, dy, cache, grads)

    def _up_and_down(
        self, theta: Views, ddx: Array | None, ddtheta: Grads, dy: list[Any], cache: SequentialCache, grads: Grads
    ) -> tuple[Array | None, Array | None]:
        """From a gradient on dx, or from those on the gradients of parameters; what is not asked for is None."""
        _check_cache(theta.owner, cache, ops.with_twins(theta.owner.flat))
        if ddx is not None and ddx.shape != cache.shapes[0]:  # which would be broadcast without a word
            raise ShapeError(f"the network was given {cache.shapes[0]}, so ddx has that shape, got {ddx.shape}")
        through_x: list[Array | None] = []
        for index in range(len(self.steps)):
            ddx, more = self._step_up(index, theta, ddx, ddtheta, dy[index], cache, grads)
            through_x.append(more)
        dx = None
        for index in reversed(range(len(self.steps))):
            if dx is not None:
                dx = self._step_back(index, theta, dx, cache, grads, need_dx=True)
            dx = _sum(dx, through_x[index])
        return ddx, dx

    def _step_up(
        self, index: int, theta: Views, ddx: Array | None, ddtheta: Grads, dy: Any, cache: SequentialCache, grads: Grads
    ) -> tuple[Array | None, Array | None]:
        """The adjoint of `_step_back`: what is asked of a layer's dy, and of its input, by its dx and its gradients."""
        (name, layer), label = self.steps[index], self.labels[index]
        layer_grads = None if grads is None else grads.scope(name)
        ddy = on_x = None
        try:
            if ddx is not None:
                ddy, on_x = layer.double_backward(theta.scope(name), ddx, dy, cache.steps[index], layer_grads)
            if ddtheta is not None:
                others = theta.scope(name), ddtheta.scope(name), dy, cache.steps[index], layer_grads
                more_dy, more_x = layer.grads_double_backward(*others)
                ddy, on_x = _sum(ddy, more_dy), _sum(on_x, more_x)
        except NotImplementedError as err:
            hint = "; of a network, take net.unfused()" if " + " in label else ""
            raise NotImplementedError(f"layer {label}: {err}{hint}") from err
        except (ValueError, TypeError, KeyError) as err:
            raise _naming(label, err) from err
        if ddx is not None or ddy is not None:
            _check_gradient(label, "dy", ddy, cache.shapes[index + 1], theta.owner.flat.dtype)
        if on_x is not None:
            _check_gradient(label, "x", on_x, cache.shapes[index], theta.owner.flat.dtype)
        return ddy, on_x

    def trace(
        self, theta: Views, x: Array, *, train: bool, rng: Rng = None
    ) -> Iterator[tuple[str, Layer, Array, Cache]]:
        """Name, layer, output and cache of one layer after the other, also of networks within, for those who only look:
        nothing is kept."""
        if theta is theta.owner:
            _check_input(theta.owner, x)
        for name, layer in zip(self.names, self.layers, strict=True):
            if isinstance(layer, Sequential) and _is_ours(layer):  # another one may do more than its layers
                for within, inner, y, cache in layer.trace(theta.scope(name), x, train=train, rng=rng):
                    yield f"{name}.{within}", inner, y, cache
                    x = y
            else:
                x, cache = layer.forward(theta.scope(name), x, train=train, rng=rng)
                yield name, layer, x, cache

    def update_statistics(self, theta: Views, cache: SequentialCache) -> None:
        for (name, layer), step_cache in zip(self.steps, cache.steps, strict=True):
            layer.update_statistics(theta.scope(name), step_cache)

    def _lowest_with_gradients(self, grads: Views | None) -> int:
        """Where backward may stop when nobody wants dx: below it no layer has parameters."""
        if grads is not None:
            for index, (name, _) in enumerate(self.steps):
                if grads.scope(name):
                    return index
        return len(self.steps)


def without_second_gradient(layer: Layer) -> str:
    """The kind of a layer that a penalty on gradients cannot go through; empty if there is none."""
    if isinstance(layer, Sequential):
        return next(filter(None, map(without_second_gradient, layer.layers)), "")
    return type(layer).__name__ if type(layer).double_backward is Layer.double_backward else ""


def needs_batches(layer: Layer) -> bool:
    """Whether what it gives for a sample depends on those beside it in inference, too: see BatchNorm."""
    if isinstance(layer, Sequential):
        return any(map(needs_batches, layer.layers))
    return not getattr(layer, "track_running_stats", True)


def _fused(layers: tuple[Layer, ...], names: tuple[str, ...]) -> tuple[tuple[tuple[str, Layer], ...], tuple[str, ...]]:
    """The layers with their names, but one for neighbours where there is one that does the work of all; all names."""
    steps, labels = [], []
    rest = list(zip(names, layers, strict=True))
    while rest:
        name, layer = rest.pop(0)
        among = [name]
        while rest and _is_ours(layer) and _is_ours(rest[0][1]) and (both := layer.fused(rest[0][1])) is not None:
            layer = both
            among.append(rest.pop(0)[0])
        steps.append((name, layer))
        labels.append(" + ".join(among))
    return tuple(steps), tuple(labels)


def _naming(label: str, err: ValueError | TypeError | KeyError) -> ValueError | TypeError | KeyError:
    """The error with the layer in front; classes derived from these may take other arguments than a text."""
    kinds = (ShapeError, TypeError, ValueError, KeyError)
    kind = next(kind for kind in kinds if isinstance(err, kind))
    return kind(f"layer {label}: {err.args[0] if kind is KeyError and err.args else err}")


def _is_ours(layer: Layer) -> bool:
    """Whether its class is one of this package: one that is derived from it may compute something else."""
    return type(layer).__module__.startswith(f"{__package__}.")


def _number(kinds: list[str]) -> tuple[str, ...]:
    return tuple(f"{kind}{kinds[: index + 1].count(kind)}" for index, kind in enumerate(kinds))


def _prefixed(groups: Iterable[tuple[str, dict[str, Shape]]]) -> dict[str, Shape]:
    return {f"{name}.{key}": shape for name, shapes in groups for key, shape in shapes.items()}


def _check_input(theta: Params, x: Array) -> None:
    array_module(x, theta.flat)
    if x.shape[1:] != theta.in_shape:
        raise ShapeError(f"the network takes (N, {', '.join(map(str, theta.in_shape))}), got {x.shape}")
    if not len(x):
        raise ShapeError(f"a batch has at least one sample, got {x.shape}")
    if x.dtype != theta.flat.dtype:
        raise TypeError(f"the parameters are {theta.flat.dtype}, the input is {x.dtype}: convert one of them")


def _check_backward(theta: Params, dy: Array, cache: SequentialCache, grads: Grads) -> None:
    """What would otherwise be broadcast, or added to the parameters, without a word."""
    array_module(dy, theta.flat)
    if dy.shape != cache.shapes[-1]:
        raise ShapeError(f"the network gave {cache.shapes[-1]}, so dy has that shape, got {dy.shape}")
    if dy.dtype != theta.flat.dtype:
        raise TypeError(f"the parameters are {theta.flat.dtype}, dy is {dy.dtype}: convert one of them")
    if grads is None:
        return
    if not isinstance(grads, Views):
        raise TypeError(f"backward adds to gradients with names: give theta.gradients(), got {type(grads).__name__}")
    if grads.owner is theta:
        raise ValueError("gradients would be added to the parameters themselves: give theta.gradients()")
    if grads.owner.trainable_shapes != theta.trainable_shapes or grads.owner.flat.dtype != theta.flat.dtype:
        raise ValueError("these are gradients of another network, or in another precision: give theta.gradients()")


def _sum(first: Array | None, second: Array | None) -> Array | None:
    """Of two gradients, each of which may be none."""
    if first is None or second is None:
        return second if first is None else first
    return first + second


def _check_gradient(label: str, of: str, gradient: Array | None, shape: Shape, dtype: np.dtype) -> None:
    """NumPy would broadcast another one where it can; fast kernels would read what lies behind it."""
    if gradient is None or gradient.shape != shape or gradient.dtype != dtype:
        found = "nothing" if gradient is None else f"{gradient.shape}, {gradient.dtype}"
        raise ShapeError(
            f"layer {label} was given {of} of shape {shape}, {dtype}, so d{of} has that, its backward returned {found}"
        )


def _check_cache(theta: Params, cache: SequentialCache, fast: bool) -> None:
    if not isinstance(cache, SequentialCache):
        raise TypeError(f"backward takes the cache that forward returned, got {type(cache).__name__}")
    if cache.owner is not theta:
        raise ValueError("this cache was made with other parameters than those given to backward")
    if cache.version != theta.version:
        raise ValueError(
            f"this cache was made with parameters of version {cache.version}, they are now at version "
            f"{theta.version}: run forward again after an update"
        )
    if cache.kernels != fast:
        raise ValueError("forward and backward belong into one `with fast_kernels(...)`, or both outside of it")
