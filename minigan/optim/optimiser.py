"""What all update rules share: no state of their own, one flat vector in, changed in place."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import ClassVar, TypeAlias

from minigan import ops
from minigan.backend import array_module
from minigan.nn.params import Params
from minigan.optim.gradients import add_weight_decay, clip_by_norm
from minigan.typing import Array

# What a rule takes from the number of the update, such as the learning rate: on a GPU they may lie on the device,
# as arrays of one number in the dtype of the parameters.
Coefficients: TypeAlias = Sequence[float | Array]
# What a rule remembers from step to step: flat vectors, by name ("m", "v", "velocity").
Moments: TypeAlias = dict[str, Array]


@dataclass(frozen=True, kw_only=True)
class Optimiser:
    """Hyperparameters only. What an optimiser remembers is the `moments` argument of `update`.

    weight_decay: lambda of the L2 penalty lambda/2 |w|^2, added to the gradient before the rule;
    decay_biases: whether it covers biases and gains (one-dimensional parameters) too;
    max_norm: clip the whole gradient to this Euclidean norm, after the decay;
    max_weight: limit every parameter to [-c, c] after the update, which keeps the critic of a WGAN Lipschitz
    (Arjovsky et al. 2017, Algorithm 1).

    Raises ValueError for numbers that no rule can use: negative or not finite, 1 or more for a running average, 0 where
    it would divide by it.
    """

    weight_decay: float = 0.0
    decay_biases: bool = False
    max_norm: float | None = None
    max_weight: float | None = None

    moment_names: ClassVar[tuple[str, ...]] = ()
    # Of the numbers of a rule, those that must be at least 0 and below 1, and those that must be positive.
    shares: ClassVar[tuple[str, ...]] = ()
    positive: ClassVar[tuple[str, ...]] = ("max_norm", "max_weight")

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if "float" not in str(field.type) or value is None or callable(value):  # no number, left out, a schedule
                continue
            most = 1 if field.name in self.shares else math.inf
            if isinstance(value, str) or not 0 <= value < most or (value == 0 and field.name in self.positive):
                wanted = "above 0" if field.name in self.positive else "at least 0"
                wanted += " and below 1" if most == 1 else ", and finite"
                raise ValueError(f"{type(self).__name__}: {field.name} must be {wanted}, got {value!r}")

    def init_moments(self, theta: Params) -> Moments:
        """Zero moments, one flat vector each, where the parameters live."""
        xp = array_module(theta.flat)
        return {name: xp.zeros_like(theta.trainable) for name in self.moment_names}

    def update(
        self, theta: Params, grads: Params, moments: Moments, t: int, coefficients: Coefficients | None = None
    ) -> None:
        """Make update number t (1, 2, ...): change theta and moments in place, and set grads to zero.

        Caches made before it are refused by backward from now on. `coefficients` are those of t where they have been
        worked out already; t is then not looked at. Raises ValueError for t below 1, for moments of another rule, and
        for gradients or moments of another network.
        """
        self._check_arguments(theta, grads, moments, t if coefficients is None else 1)
        numbers = self.coefficients(t) if coefficients is None else coefficients
        if self.weight_decay:
            add_weight_decay(grads, theta, self.weight_decay, biases=self.decay_biases)
        if self.max_norm is not None:
            clip_by_norm(grads, self.max_norm)
        change = Change(self, tuple(moments), numbers)
        ops.in_pieces(theta.trainable, grads.flat, *moments.values(), change=change)
        if self.max_weight is not None:
            xp = array_module(theta.flat)
            xp.clip(theta.trainable, -self.max_weight, self.max_weight, out=theta.trainable)
        theta.version += 1

    def _check_arguments(self, theta: Params, grads: Params, moments: Moments, t: int) -> None:
        if set(moments) != set(self.moment_names) or t < 1:
            raise ValueError(
                f"{type(self).__name__} counts updates from 1 and takes moments {self.moment_names}, "
                f"got update {t} and {tuple(moments)}"
            )
        for name, vector in {"grads": grads.flat, **moments}.items():
            if vector.shape != theta.trainable.shape:
                sizes = f"theta has {theta.trainable.size} trainable numbers, {name} {vector.size}"
                raise ValueError(f"{sizes}: are they another network's?")

    def coefficients(self, t: int) -> tuple[float, ...]:
        """What `rule` takes from the number of the update; everything else in it stays the same through a run."""
        return ()

    def rule(self, theta: Array, g: Array, moments: Moments, *coefficients: float | Array) -> None:
        """The formula, element by element, on flat vectors (P,) or pieces of them."""
        raise NotImplementedError

    def rule_backward(
        self, dtheta: Array, g: Array, moments: Moments, dmoments: Moments, *coefficients: float | Array
    ) -> tuple[Array, Moments]:
        r"""The adjoint of `rule`: back through an update, from what a number R asks of what it has made.

        .. math:: (\theta', m') = U(\theta, g, m), \quad \theta' = \theta + u(g, m) \quad\Longrightarrow\quad
                  \frac{\partial R}{\partial \theta} = \frac{\partial R}{\partial \theta'}, \quad
                  \frac{\partial R}{\partial g}, \quad \frac{\partial R}{\partial m}

        Parameters: dtheta and dmoments, the gradients of R on the new parameters and moments; g, and the new moments;
        all vectors (P,). Returns dg and the gradients on the old moments; derivation: docs/derivations/adam.md.
        """
        raise NotImplementedError(f"{type(self).__name__} has no rule_backward, which an unrolled D needs")


def root_and_inverse(v: Array) -> tuple[Array, Array]:
    """sqrt(v) and 1 / sqrt(v), which is 0 for 0: where no gradient has ever been, no R asks for one through v."""
    xp = array_module(v)
    root = xp.sqrt(v)
    return root, xp.where(root > 0, 1 / xp.where(root > 0, root, 1), 0)


@dataclass(frozen=True)
class Change:
    """An update of some numbers: a function that says which rule it is, for the kernels that know a faster way.

    The gradient has done its work and becomes zero.
    """

    optimiser: Optimiser
    names: tuple[str, ...]  # of the moments
    coefficients: Coefficients

    @property
    def rule_name(self) -> str:
        """By which kernels know the rule: its class's name. One of somebody else, derived or not, has none for them."""
        kind = type(self.optimiser)
        return kind.__name__ if kind.__module__.startswith(f"{__package__}.") else ""

    def __call__(self, theta: Array, g: Array, *moments: Array) -> None:
        self.optimiser.rule(theta, g, dict(zip(self.names, moments, strict=True)), *self.coefficients)
        g.fill(0)  # while it is at hand
