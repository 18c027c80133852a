"""Dropout as a layer; see functional.dropout for its three forms."""

import math
from dataclasses import dataclass
from typing import Literal, get_args

from minigan import ops
from minigan.nn.layer import Cache, Layer
from minigan.nn.params import Grads, Views
from minigan.typing import Array, Rng, Shape

Form = Literal["inverted", "classic", "channel"]


@dataclass(frozen=True)
class Dropout(Layer):
    """Drop inputs with probability `rate` while training.

    `form`: "inverted" scales what is kept by 1 / (1 - rate); "classic" scales at use by 1 - rate
    instead; "channel" is inverted and drops whole channels (Tompson et al. 2015).
    """

    rate: float
    form: Form = "inverted"

    def __post_init__(self) -> None:
        if not 0 <= self.rate < 1:
            raise ValueError(f"dropout rate must be in [0, 1), got {self.rate}")
        if self.form not in get_args(Form):
            raise ValueError(f"unknown form of dropout {self.form!r}: choose {', '.join(get_args(Form))}")

    @property
    def scale(self) -> float:
        """The factor on what is kept, in training."""
        return 1.0 if self.form == "classic" else 1 / (1 - self.rate)

    def random_numbers(self, in_shape: Shape) -> int:
        return math.prod(self._mask_shape((1, *in_shape)))

    def forward(self, theta: Views, x: Array, *, train: bool, rng: Rng = None) -> tuple[Array, Cache]:
        if not train:
            factor = float(1 - self.rate) if self.form == "classic" else 1.0
            return (x if factor == 1 else x * factor), factor  # the cache of a constant factor is the factor
        if not hasattr(rng, "random"):
            given = "" if rng is None else f", got {rng!r}"
            raise ValueError(f"dropout in training needs a random generator: forward(..., train=True, rng=...){given}")
        return ops.drawn_dropout(x, rng, self._mask_shape(x.shape), self.rate, self.scale)

    def backward(self, theta: Views, dy: Array, cache: Cache, grads: Grads, *, need_dx: bool = True) -> Array:
        if not need_dx:
            return None
        if isinstance(cache, float):  # used without randomness: a constant factor
            return dy * cache
        return ops.dropout_backward(dy, cache)

    def double_backward(
        self, theta: Views, ddx: Array, dy: Array, cache: Cache, grads: Grads
    ) -> tuple[Array, Array | None]:
        return self.backward(theta, ddx, cache, None), None  # the same mask and factor

    def _mask_shape(self, shape: Shape) -> Shape:
        if self.form != "channel":
            return shape
        return (shape[0], *(1 for _ in shape[1:-1]), shape[-1])  # (N, 1, ..., 1, C)
