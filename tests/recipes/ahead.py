"""A small recipe whose generator looks ahead."""

from dataclasses import dataclass, replace
from typing import ClassVar

from minigan import nn
from minigan.games import UnrolledGame
from minigan.recipes import MLPMnist


@dataclass(frozen=True)
class AheadMLP(MLPMnist):
    """mlp-mnist with an unrolled D, through Adam, whose moments a checkpoint has."""

    name: ClassVar[str] = "ahead-mlp"
    limits: ClassVar[dict[str, tuple[float, float]]] = {**MLPMnist.limits, "unroll": (0, 100), "decay": (0, 1)}

    unroll: int = 2
    decay: float = 0.0
    ghosts: bool = False

    def discriminator(self, images):
        return nn.Sequential(super().discriminator(images), *[nn.GhostBatchNorm(parts=2)] * self.ghosts)

    def optimisers(self, batches_per_epoch):
        g, d = super().optimisers(batches_per_epoch)
        return g, replace(d, weight_decay=self.decay)

    def game(self):
        return UnrolledGame(unroll=self.unroll)


AHEAD = AheadMLP(batch_size=8, latent=3, hidden_g=(8,), hidden_d=(8,))
