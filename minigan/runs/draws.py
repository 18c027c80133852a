"""The data and the randomness of one round, each a function of (seed, purpose, step)."""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from minigan.data import augment
from minigan.randomness import Purpose, stream
from minigan.recipes import Recipe
from minigan.runs.feed import Feed
from minigan.typing import Array


@dataclass(frozen=True)
class SeededDraws:
    """What `games.gan.play_round` asks for, in round `step`; the arrays live on the device of `feed`.

    Numbers are drawn for whole batches; where processes share them, this one keeps those of its part.
    """

    recipe: Recipe
    feed: Feed
    seed: int
    step: int
    d_steps: int
    dtype: np.dtype

    def real(self, k: int) -> Array:
        """The k-th batch of this round, encoded for D; batches go on where the last round stopped."""
        images = self.feed.batch(self._number(k))
        return self.recipe.encode(self._augmented(images, k), self.dtype)

    def latent_d(self, k: int) -> Array:
        """z for the k-th discriminator step, as many as there are real images."""
        return self._latent(Purpose.LATENT_D, k)

    def latent_g(self) -> Array:
        """z for the generator step."""
        return self._latent(Purpose.LATENT_G, 0)

    def dropout(self, k: int) -> np.random.Generator:
        """Masks of the k-th discriminator step; k = d_steps: of the generator step."""
        rng = stream(self.seed, Purpose.DROPOUT, self.step, k)
        return self.feed.team.draws(rng, self.recipe.batch_size // self.feed.team.size)

    def _number(self, k: int) -> int:
        """Of the k-th batch of this round, counted through the run."""
        return self.step * self.d_steps + k

    def _augmented(self, images: Array, k: int) -> Array:
        """The k-th batch, changed as the recipe says: mirrored still bytes, with other colours no longer."""
        if not (self.recipe.flip or self.recipe.jitter):
            return images
        rng = stream(self.seed, Purpose.AUGMENT, self.step, k)
        team = self.feed.team
        changes = augment.draw_changes(rng, len(images) * team.size, self.recipe.jitter)
        if self.recipe.flip:
            images = augment.mirror(images, self.feed.device.put(team.part(changes.mirrored)))
        if self.recipe.jitter:
            factors = self.feed.device.put(team.part(changes.factors).astype(self.dtype))
            images = augment.jitter(images.astype(self.dtype), factors)
        return images

    def _latent(self, purpose: Purpose, k: int) -> Array:
        chosen = self.feed.batches.indices(self._number(k))
        if self.recipe.latent_of_image:
            z = _latents_of_images(self.recipe, self.seed, self.feed.batches.count)[chosen]
        else:
            z = self.recipe.draw_latents(stream(self.seed, purpose, self.step, k), len(chosen))
        return self.feed.device.put(self.feed.team.part(z).astype(self.dtype, copy=False))


# The cache only saves time: the function is pure.
@lru_cache(maxsize=1)
def _latents_of_images(recipe: Recipe, seed: int, count: int) -> np.ndarray:
    """One z for each image, (count, latent): those that round 0 would draw for a batch of them all."""
    return recipe.draw_latents(stream(seed, Purpose.LATENT_D, 0, 0), count)
