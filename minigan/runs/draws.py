"""The data and the randomness of one round, each a function of (seed, purpose, step)."""

from dataclasses import dataclass

import numpy as np

from minigan.backend import put_like
from minigan.data import augment
from minigan.data.batches import Batches
from minigan.randomness import Purpose, stream
from minigan.recipes import Recipe
from minigan.typing import Array


@dataclass(frozen=True)
class SeededDraws:
    """What `games.gan.play_round` asks for, in round `step`; the arrays live where `images` does."""

    recipe: Recipe
    images: Array  # (N, H, W, C) uint8
    batches: Batches
    seed: int
    step: int
    d_steps: int
    dtype: np.dtype

    def real(self, k: int) -> Array:
        """The k-th batch of this round, encoded for D; batches go on where the last round stopped."""
        images = self.images[put_like(self._indices(k), self.images)]
        return self.recipe.encode(self._augmented(images, k), self.dtype)

    def latent_d(self, k: int) -> Array:
        """z for the k-th discriminator step, as many as there are real images."""
        return self._latent(Purpose.LATENT_D, k)

    def latent_g(self) -> Array:
        """z for the generator step."""
        return self._latent(Purpose.LATENT_G, 0)

    def dropout(self, k: int) -> np.random.Generator:
        """Masks of the k-th discriminator step; k = d_steps: of the generator step."""
        return stream(self.seed, Purpose.DROPOUT, self.step, k)

    def _indices(self, k: int) -> np.ndarray:
        return self.batches.indices(self.step * self.d_steps + k)

    def _augmented(self, images: Array, k: int) -> Array:
        """The k-th batch, changed as the recipe says: mirrored still bytes, with other colours no longer."""
        if not (self.recipe.flip or self.recipe.jitter):
            return images
        rng = stream(self.seed, Purpose.AUGMENT, self.step, k)
        changes = augment.draw_changes(rng, len(images), self.recipe.jitter)
        if self.recipe.flip:
            images = augment.mirror(images, put_like(changes.mirrored, images))
        if self.recipe.jitter:
            factors = put_like(changes.factors.astype(self.dtype), images)
            images = augment.jitter(images.astype(self.dtype), factors)
        return images

    def _latent(self, purpose: Purpose, k: int) -> Array:
        z = self.recipe.draw_latents(stream(self.seed, purpose, self.step, k), len(self._indices(k)))
        return put_like(z.astype(self.dtype, copy=False), self.images)
