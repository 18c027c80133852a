"""Measures the vitals of a run: what its layers do, and what its players did in one round.

Looking changes nothing. Gradients and updates are those of the round itself; all else is measured after it, in
inference mode and without randomness: dropout drops nothing, BatchNorm uses its running statistics.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import numpy as np

from minigan import ops
from minigan.backend import Device, array_module, to_host
from minigan.data.resize import fit
from minigan.data.sources import evenly
from minigan.games.player import Player
from minigan.nn import LeakyReLU, Params, ReLU, ScaledTanh, Sequential, Sigmoid, Tanh
from minigan.nn.activations import Activation
from minigan.nn.layer import Cache, Layer
from minigan.recipes import Recipe
from minigan.runs.health import is_finite
from minigan.runs.saved import groups
from minigan.runs.state import State
from minigan.runs.vitals import BINS, ByLayer, Vitals
from minigan.typing import Array, Images

LOOKED_AT = 100  # training images that D is shown
SPREAD_OF = 1000  # training images whose spread is that of the data
FLAT = 0.01  # a sigmoid is flat where its slope is below this share of its largest


class Watch:
    """Looks on while a round is played: ``with Watch(state) as watch: play_round(...)``.

    gradients: norm of each layer's gradient at the player's last update; updates: norm of the change of its
    parameters from the beginning to the end of the round, over their norm at the end; weights: that norm.
    """

    def __init__(self, state: State) -> None:
        self._players = {"G": state.g, "D": state.d}
        self._before = {role: player.theta.copy() for role, player in self._players.items()}
        self.gradients: dict[str, dict[str, Array]] = {}
        self.updates: dict[str, dict[str, Array]] = {}
        self.weights: dict[str, dict[str, Array]] = {}

    def __enter__(self) -> "Watch":
        for role, player in self._players.items():
            player.observer = partial(self._note_gradients, role)
        return self

    def __exit__(self, *_: object) -> None:
        for role, player in self._players.items():
            player.observer = None
            change = self._before[role]
            change.flat -= player.theta.flat
            self.weights[role] = norms(player.theta)
            self.updates[role] = _over(norms(change), self.weights[role])

    def _note_gradients(self, role: str, player: Player) -> None:
        self.gradients[role] = norms(player.grads)


def norms(params: Params) -> dict[str, Array]:
    """Euclidean norm of the trainable parameters of each layer, 0-d arrays where they live."""
    squares: dict[str, Any] = {}
    for name in params.trainable_shapes:
        layer, view = name.rpartition(".")[0], params[name]
        squares[layer] = squares.get(layer, 0) + (view * view).sum()
    return {layer: array_module(square).sqrt(square) for layer, square in squares.items()}


def _over(parts: dict[str, Array], wholes: dict[str, Array]) -> dict[str, Array]:
    """Quotients; 0 for 0 / 0."""
    tiny = np.finfo(np.float32).tiny
    return {name: part / array_module(part).maximum(wholes[name], tiny) for name, part in parts.items()}


class Activity:
    """What the layers of a player make of the samples that pass through it.

    dead: a unit (of a convolution: a channel) of a rectifier is dead if its slope is 0 for every sample, at every
    place: its weights get no gradient and never will, unless what comes in changes. Rectifiers are ReLU and leaky
    ones of slope 0. A piece of maxout that never wins is not counted, because then another one learns.
    saturated: share of the outputs of a sigmoid or tanh where its slope is below `FLAT` of its largest.
    """

    def __init__(self, player: Player) -> None:
        assert isinstance(player.net, Sequential)  # the networks of all recipes
        self._net, self._theta = player.net, player.theta
        self._alive: dict[str, list[Array]] = {}  # a batch (1, C): whether a sample of it switches the unit on
        self._flat: dict[str, list[Array]] = {}  # a batch (N,): the share of each sample

    def forward(self, x: Array) -> Array:
        """The network's output in inference mode."""
        y = x
        for name, layer, y, cache in self._net.trace(self._theta, x, train=False):
            if _is_rectifier(layer):
                on = (_slopes(layer, y, cache) > 0).reshape(-1, y.shape[-1]).any(axis=0, keepdims=True)
                self._alive.setdefault(name, []).append(on)
            elif isinstance(layer, Sigmoid | Tanh | ScaledTanh):
                _, at_zero = layer.apply(array_module(y).zeros_like(y))
                flat = _slopes(layer, y, cache) < FLAT * _slopes(layer, y, at_zero)
                self._flat.setdefault(name, []).append(flat.reshape(len(y), -1).mean(axis=1))
        return y

    def dead(self) -> dict[str, float]:
        return {name: _digits(1 - _joined(alive).any(axis=0).mean()) for name, alive in self._alive.items()}

    def saturated(self) -> dict[str, float]:
        return {name: _digits(_joined(shares).mean()) for name, shares in self._flat.items()}


def _is_rectifier(layer: Layer) -> bool:
    return isinstance(layer, ReLU) or (isinstance(layer, LeakyReLU) and layer.slope == 0)


def _slopes(layer: Layer, y: Array, cache: Cache) -> Array:
    """f'(x), by the layer's own backward."""
    assert isinstance(layer, Activation)
    return layer.gradient(array_module(y).ones_like(y), cache)


@dataclass
class Gauge:
    """Measures vitals, with what they are measured against.

    Raises DataError at once, and not in the middle of a run, if the classifier for the data is damaged.
    """

    recipe: Recipe
    images: Images  # on the host
    latents: Array  # on the device
    device: Device
    source: str  # of the images: RunOptions.data
    labels: np.ndarray | None = None  # (N,), which D is told if the recipe has a condition

    def __post_init__(self) -> None:
        # Imported here, so that commands that train nothing start faster.
        from minigan.evaluation.classifier import load_classifier
        from minigan.evaluation.material import classifier_name, is_stacked

        # A hundred samples say nothing about the thousand classes of stacked digits.
        name = None if is_stacked(self.source) else classifier_name(self.source, self.images.shape[1:])
        self._classifier = None if name is None else load_classifier(name, self.device)

    def measure(self, state: State, watch: Watch, samples: np.ndarray) -> Vitals | None:
        """Vitals after a watched round, with its `samples` (N, H, W, C) of bytes; None if a number is not finite.

        Batches are as large as those of the run, so that no layer needs more memory than it does in a round.
        """
        g, d = Activity(state.g), Activity(state.d)
        logits_real = [d.forward(x) for x in self._real()]
        logits_fake = [d.forward(g.forward(z)) for z in self._parts(self.latents)]
        gradients, updates, weights = map(_on_host, (watch.gradients, watch.updates, watch.weights))
        if not _all_finite(gradients, updates, weights) or not is_finite(_joined(logits_real + logits_fake)):
            return None
        return Vitals(
            state.step, gradients, updates, weights,
            dead={"G": g.dead(), "D": d.dead()},
            saturated={"G": g.saturated(), "D": d.saturated()},
            d_real=_histogram(logits_real),
            d_fake=_histogram(logits_fake),
            spread=_digits(spread(samples) / max(self._data_spread, 1e-9)),
            classes=self._classes(samples),
        )  # fmt: skip

    def _parts(self, whole: Array) -> Iterator[Array]:
        return (whole[some] for some in groups(len(whole), max(self.recipe.batch_size, 2)))

    def _classes(self, samples: np.ndarray) -> list[int] | None:
        if self._classifier is None:
            return None
        from minigan.evaluation.classifier import CLASSES, IMAGE_SHAPE

        chosen = to_host(self._classifier.classes(fit(samples, IMAGE_SHAPE[:2])))
        return [int(count) for count in np.bincount(chosen, minlength=CLASSES)]

    def _real(self) -> Iterator[Array]:
        """Training images as D sees them."""
        dtype = self.latents.dtype
        encoded = (self.recipe.encode(pixels, dtype) for pixels in self._parts(self._shown))
        if self._told is None:
            return encoded
        return (ops.with_condition(x, y) for x, y in zip(encoded, self._parts(self._told), strict=True))

    @cached_property
    def _shown(self) -> Array:
        return self.device.put(evenly(self.images, LOOKED_AT))

    @cached_property
    def _told(self) -> Array | None:
        if self.labels is None or not self.recipe.condition:
            return None
        shown = evenly(self.labels, LOOKED_AT)
        return self.device.put(self.recipe.codes(len(shown), shown).astype(self.latents.dtype))

    @cached_property
    def _data_spread(self) -> float:
        return spread(evenly(self.images, SPREAD_OF))


def spread(images: np.ndarray) -> float:
    """Mean over the pixels of their standard deviation from image to image: images (N, H, W, C), row by row."""
    rows = (images[:, row].astype(np.float32) for row in range(images.shape[1]))
    return float(np.mean([row.std(axis=0).mean() for row in rows]))


def _histogram(logits: list[Array]) -> list[int]:
    """Of D = sigmoid(logit), in equal bins over [0, 1]."""
    counts, _ = np.histogram(to_host(ops.sigmoid(_joined(logits))[0]), BINS, (0, 1))
    return [int(count) for count in counts]


def _joined(arrays: list[Array]) -> Array:
    return array_module(*arrays).concatenate(arrays)


def _on_host(numbers: dict[str, dict[str, Array]]) -> ByLayer:
    """G first, whoever moved first."""
    return {role: {name: _digits(number) for name, number in numbers[role].items()} for role in ("G", "D")}


def _all_finite(*tables: ByLayer) -> bool:
    return all(np.isfinite(list(layers.values())).all() for table in tables for layers in table.values())


def _digits(number: Array | float) -> float:
    """Six significant ones: enough to judge by."""
    return float(f"{float(number):.6g}")
