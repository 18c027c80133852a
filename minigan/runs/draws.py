"""The data and the randomness of one round, each a function of (seed, purpose, step)."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from minigan import ops
from minigan.data import augment
from minigan.errors import UserError
from minigan.randomness import Purpose, state_words, stream
from minigan.recipes import Recipe
from minigan.runs.feed import Feed
from minigan.typing import Array


@dataclass(frozen=True)
class HostDraws:
    """The numbers that round `step` needs from the host, as NumPy arrays.

    Numbers are drawn for whole batches; where processes share them, this one keeps those of its part.
    """

    recipe: Recipe
    feed: Feed
    seed: int
    step: int
    d_steps: int
    dtype: np.dtype

    def number(self, k: int) -> int:
        """Of the k-th batch of this round, counted through the run: batches go on where the last round stopped.

        Raises UserError for one that the rules do not have, which would be that of the next round.
        """
        if not 0 <= k < self.d_steps:
            raise UserError(f"a round asks for batch {k}, counted from 0, and its rules have d_steps = {self.d_steps}")
        return self.step * self.d_steps + k

    def indices(self, k: int) -> np.ndarray:
        """(B,) int64: the images of the k-th batch."""
        return self.feed.indices(self.number(k))

    def mirrored(self, k: int) -> np.ndarray:
        """(B,) bool: which images of the k-th batch are mirrored."""
        return self.feed.team.part(self._changes(k).mirrored)

    def factors(self, k: int) -> np.ndarray:
        """(B, 3): the colour jitter of the k-th batch."""
        return self.feed.team.part(self._changes(k).factors).astype(self.dtype)

    def conditions(self, k: int) -> np.ndarray:
        """(B, classes): the one-hot classes of the images of the k-th batch."""
        return self.feed.team.part(self._codes(k)).astype(self.dtype, copy=False)

    def z_d(self, k: int) -> np.ndarray:
        """(B, *latent_shape): z of the k-th discriminator step, one for each real image, with its class."""
        return self._z(Purpose.LATENT_D, k)

    def z_g(self, k: int = 0) -> np.ndarray:
        """(B, *latent_shape): z of the generator step, of which a round has one, with classes of its first batch."""
        return self._z(Purpose.LATENT_G, k)

    def shares(self, k: int) -> np.ndarray:
        """(B,) in [0, 1): how much of each point between real and generated samples is real, in the k-th D step."""
        rng = stream(self.seed, Purpose.BETWEEN, self.step, k)
        drawn = rng.random(len(self.feed.batches.indices(self.number(k))), dtype=np.float32)
        return self.feed.team.part(drawn).astype(self.dtype, copy=False)

    def dropout(self, k: int) -> np.random.Generator:
        """Draws the masks of the k-th discriminator step; k = d_steps: of the generator step."""
        return self.feed.team.draws(self._masks(k), self.recipe.batch_size // self.feed.team.size)

    def state_of_masks(self, k: int) -> np.ndarray:
        """(4,) uint64: from which the device draws those masks itself, if there is one process."""
        return state_words(self._masks(k))

    def _masks(self, k: int) -> np.random.Generator:
        return stream(self.seed, Purpose.DROPOUT, self.step, k)

    def _changes(self, k: int) -> augment.Changes:
        rng = stream(self.seed, Purpose.AUGMENT, self.step, k)
        return augment.draw_changes(rng, len(self.indices(k)) * self.feed.team.size, self.recipe.jitter)

    def _codes(self, k: int) -> np.ndarray:
        """(B, classes): of the whole k-th batch. Raises ValueError for a feed of images without classes."""
        if self.feed.labels is None:
            raise ValueError(f"{self.recipe.name} has to know the class of each image: give the feed its labels")
        chosen = self.feed.batches.indices(self.number(k))
        return self.recipe.codes(len(chosen), self.feed.labels[chosen])

    def _z(self, purpose: Purpose, k: int) -> np.ndarray:
        chosen = self.feed.batches.indices(self.number(k))
        if self.recipe.latent_of_image:
            z = _latents_of_images(self.recipe, self.seed, self.feed.batches.count)[chosen]
        else:
            z = self.recipe.draw_latents(stream(self.seed, purpose, self.step, k), len(chosen))
        if self.recipe.condition:
            z = self.recipe.told(z, self._codes(k))
        return self.feed.team.part(z).astype(self.dtype, copy=False)


@dataclass(frozen=True)
class SeededDraws(HostDraws):
    """What `games.play.play_round` asks for; the arrays live on the device of `feed`."""

    def real(self, k: int) -> Array:
        """The k-th batch, encoded for D, with the class of each image behind its channels if D is told."""
        x = self._encoded(k)
        return ops.with_condition(x, self._there(HostDraws.conditions, k)) if self.recipe.condition else x

    def _encoded(self, k: int) -> Array:
        """The k-th batch. The recipe may mirror its images, still bytes, and jitter their colours, then numbers."""
        if not (self.recipe.flip or self.recipe.jitter):
            return self._unchanged(k)
        images = self._images(k)
        if self.recipe.flip:
            images = augment.mirror(images, self._there(HostDraws.mirrored, k))
        if self.recipe.jitter:
            images = augment.jitter(images.astype(self.dtype), self._there(HostDraws.factors, k))
        return self.recipe.encode(images, self.dtype)

    def latent_d(self, k: int) -> Array:
        """z for the k-th discriminator step."""
        return self._there(HostDraws.z_d, k)

    def latent_g(self) -> Array:
        """z for the generator step."""
        return self._there(HostDraws.z_g, 0)

    def share(self, k: int) -> Array:
        """Of the points between, in the k-th discriminator step."""
        return self._there(HostDraws.shares, k)

    def _unchanged(self, k: int) -> Array:
        return self.recipe.encode(self._images(k), self.dtype)

    def _images(self, k: int) -> Array:
        return self.feed.batch(self.number(k))

    def _there(self, draw: Callable[[HostDraws, int], np.ndarray], k: int) -> Array:
        """Numbers from the host, on the device."""
        return self.feed.device.put(draw(self, k))


# The cache only saves time: the function is pure.
@lru_cache(maxsize=1)
def _latents_of_images(recipe: Recipe, seed: int, count: int) -> np.ndarray:
    """One z for each image, (count, latent): those that round 0 would draw for a batch of them all."""
    return recipe.draw_latents(stream(seed, Purpose.LATENT_D, 0, 0), count)
