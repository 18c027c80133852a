"""All parameters of a network in one flat vector, with named views into it.

An optimiser is then one pass over one vector, a checkpoint one array, a snapshot one copy.
The vector starts with what training changes and ends with the running statistics:

    flat = [ dense1.w | dense1.b | batchnorm1.gamma | ... | batchnorm1.mean | batchnorm1.var ]
           '---------------- trainable ----------------' '----------- statistics -----------'
"""

import math
from collections.abc import Iterator, Mapping
from typing import TypeAlias

from numpy.typing import DTypeLike

from minigan.backend import Device, array_module, to_host
from minigan.errors import did_you_mean
from minigan.typing import Array, Shape


class Views(Mapping[str, Array]):
    """Named arrays that share memory with the flat vector of `owner`."""

    def __init__(self, arrays: dict[str, Array], owner: "Params", parts: "Parts | None" = None) -> None:
        self._arrays = arrays
        self._parts: Parts = {} if parts is None else parts
        self._owner = owner

    @property
    def owner(self) -> "Params":
        """All parameters of the network."""
        return self._owner

    def __getitem__(self, name: str) -> Array:
        try:
            return self._arrays[name]
        except KeyError:
            hint = did_you_mean(name, self._arrays) or "."
            raise KeyError(f"no parameter {name!r}{hint} There are: {', '.join(self._arrays) or 'none'}") from None

    def __setitem__(self, name: str, value: Array) -> None:
        view = self[name]
        if value is not view:  # after ``views[name] += ...`` it is the view itself
            view[...] = value
        self.owner.version += 1

    def __iter__(self) -> Iterator[str]:
        return iter(self._arrays)

    def __len__(self) -> int:
        return len(self._arrays)

    def __repr__(self) -> str:
        shapes = ", ".join(f"{name} {view.shape}" for name, view in self._arrays.items())
        return f"{type(self).__name__}({shapes})"

    # Two sets of views are equal if they are the same one; Mapping would compare arrays for truth.
    __eq__ = object.__eq__
    __hash__ = object.__hash__

    def scope(self, name: str) -> "Views":
        """The views of one layer: ``theta.scope("dense1")["w"]`` is ``theta["dense1.w"]``."""
        if name not in self._parts:
            prefix = name + "."
            inside = {key[len(prefix) :]: view for key, view in self._arrays.items() if key.startswith(prefix)}
            self._parts[name] = inside, {}
        inside, parts = self._parts[name]
        return Views(inside, self.owner, parts)


# What `scope` has found before, by name: the views inside, and the same of those. No Views are kept here: they know
# their owner, and a vector that is part of a circle stays in memory until Python's collector comes by.
Parts: TypeAlias = dict[str, tuple[dict[str, Array], "Parts"]]
# Where backward adds the parameter gradients; None to compute none.
Grads: TypeAlias = Views | None


class Params(Views):
    """One flat vector, its views, and a version that tells when it changed.

    Attributes: flat (P + S,), P trainable numbers and then S statistics; in_shape, the input of
    the network they belong to; version, raised by every optimiser update and every assignment,
    ``theta["dense1.w"] = w``, ``theta["dense1.w"] *= 2``, or ``theta.flat = loaded``, which copies the
    numbers into the vector. A network (`Sequential`) refuses caches of
    an older version in backward. What is written into ``flat[...]``, or into a view under another name
    (``w = theta["dense1.w"]; w *= 2``), nobody sees: raise `version` yourself then.
    """

    def __init__(
        self, flat: Array, trainable: dict[str, Shape], statistics: dict[str, Shape], in_shape: Shape, version: int = 0
    ) -> None:
        shapes = trainable | statistics
        needed = sum(map(math.prod, shapes.values()))
        if flat.shape != (needed,):
            raise ValueError(f"the views need {needed} numbers, the vector has {flat.size}")
        self.trainable_shapes, self.statistic_shapes = trainable, statistics
        self.in_shape = in_shape
        self._flat = flat
        self.version = version
        self._arrays, self._parts, start = {}, {}, 0
        for name, shape in shapes.items():
            stop = start + math.prod(shape)
            self._arrays[name] = flat[start:stop].reshape(shape)
            start = stop

    @property
    def owner(self) -> "Params":
        """Itself."""
        return self

    @property
    def flat(self) -> Array:
        return self._flat

    @flat.setter
    def flat(self, numbers: Array) -> None:
        """Another vector would leave the views behind. Raises ValueError if it has another shape."""
        if numbers is not self._flat:  # after ``theta.flat *= 2`` it is
            numbers = array_module(self._flat).asarray(numbers)  # what was loaded from a file lies on the host
            if numbers.shape != self._flat.shape:
                raise ValueError(f"the vector has shape {self._flat.shape}, got {numbers.shape}")
            self._flat[...] = numbers
        self.version += 1

    @property
    def trainable_size(self) -> int:
        """P, the number of parameters."""
        return sum(map(math.prod, self.trainable_shapes.values()))

    @property
    def trainable(self) -> Array:
        """The part of the vector that an optimiser changes, (P,)."""
        return self.flat[: self.trainable_size]

    def gradients(self) -> "Params":
        """A zero vector of the trainable part, with the same names: what backward adds into."""
        zeros = array_module(self.flat).zeros_like(self.trainable)
        return Params(zeros, self.trainable_shapes, {}, self.in_shape)

    def copy(self) -> "Params":
        """An independent copy, of the same version."""
        return self._with(self.flat.copy())

    def astype(self, dtype: DTypeLike) -> "Params":
        """An independent copy in another precision: in float64, a trained network's gradients can be checked."""
        return self._with(self.flat.astype(dtype))

    # Copied part by part, the views would no longer lie in the vector.
    def __copy__(self) -> "Params":
        return self.copy()

    def __deepcopy__(self, memo: dict[int, object]) -> "Params":
        memo[id(self)] = other = self.copy()
        return other

    def __reduce__(self) -> tuple[type["Params"], tuple[object, ...]]:
        return Params, (self.flat, self.trainable_shapes, self.statistic_shapes, self.in_shape, self.version)

    def to(self, device: Device) -> "Params":
        """The same numbers on a device: a copy, unless they are there already."""
        there = array_module(self.flat) is device.xp
        return self._with(self.flat if there else device.put(to_host(self.flat)))

    def _with(self, flat: Array) -> "Params":
        return Params(flat, self.trainable_shapes, self.statistic_shapes, self.in_shape, self.version)
