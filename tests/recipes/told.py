"""A small recipe whose networks are told the class of each image, for images of any size."""

import math
from dataclasses import dataclass
from typing import ClassVar

from minigan import nn
from minigan.recipes import MLPMnist

CLASSES = 3


@dataclass(frozen=True)
class ToldMLP(MLPMnist):
    """mlp-mnist with layers that are told."""

    name: ClassVar[str] = "told-mlp"

    @property
    def condition(self):
        return CLASSES

    def generator(self, images):
        first = nn.Conditioned(CLASSES, nn.Dense(self.hidden_g[0]), nn.BatchNorm(), nn.ReLU())
        return nn.Sequential(first, nn.Conditioned(CLASSES, nn.Dense(math.prod(images.shape[1:])), nn.Tanh()))

    def discriminator(self, images):
        return nn.Sequential(nn.Conditioned(CLASSES, nn.Dense(self.hidden_d[0]), nn.LeakyReLU()), nn.Dense(1))


TOLD = ToldMLP(batch_size=8, latent=3, hidden_g=(8,), hidden_d=(8,))
