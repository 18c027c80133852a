"""The data and the randomness of one round, each a function of (seed, purpose, step)."""

from dataclasses import dataclass

import numpy as np

from minigan.backend import put_like
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
        return self.recipe.encode(self.images[put_like(self._indices(k), self.images)], self.dtype)

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

    def _latent(self, purpose: Purpose, k: int) -> Array:
        z = self.recipe.draw_latents(stream(self.seed, purpose, self.step, k), len(self._indices(k)))
        return put_like(z.astype(self.dtype, copy=False), self.images)
