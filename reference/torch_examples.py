"""The DCGAN of pytorch/examples, dcgan/main.py, at width 2, saved as it saves it: netG.pth and netD.pth.

Weights and running statistics are random, so that no gain is 1 and no mean 0. With them goes what PyTorch makes of
them in eval mode: one image of one latent, and D's logit for it (its output before the Sigmoid).
"""

from pathlib import Path

import torch
from torch import nn

from reference import Array

NZ, NGF, NDF, NC = 5, 2, 2, 3


class Generator(nn.Module):
    """z (N, 5, 1, 1) to images (N, 3, 64, 64)."""

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = [nn.ConvTranspose2d(NZ, NGF * 8, 4, 1, 0, bias=False)]
        for wide in (8, 4, 2):
            layers += [nn.BatchNorm2d(NGF * wide), nn.ReLU(True)]
            layers += [nn.ConvTranspose2d(NGF * wide, NGF * wide // 2, 4, 2, 1, bias=False)]
        layers += [nn.BatchNorm2d(NGF), nn.ReLU(True), nn.ConvTranspose2d(NGF, NC, 4, 2, 1, bias=False), nn.Tanh()]
        self.main = nn.Sequential(*layers)


class Discriminator(nn.Module):
    """Images (N, 3, 64, 64) to probabilities (N, 1, 1, 1)."""

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = [nn.Conv2d(NC, NDF, 4, 2, 1, bias=False), nn.LeakyReLU(0.2, inplace=True)]
        for wide in (1, 2, 4):
            layers += [nn.Conv2d(NDF * wide, NDF * wide * 2, 4, 2, 1, bias=False), nn.BatchNorm2d(NDF * wide * 2)]
            layers += [nn.LeakyReLU(0.2, inplace=True)]
        self.main = nn.Sequential(*layers, nn.Conv2d(NDF * 8, 1, 4, 1, 0, bias=False), nn.Sigmoid())


def save(folder: Path) -> dict[str, Array]:
    """Write both files, and return z, the image and the logit."""
    torch.manual_seed(64)
    g, d = Generator(), Discriminator()
    for name, net in (("netG", g), ("netD", d)):
        for key, tensor in net.state_dict().items():
            if tensor.is_floating_point():
                centre = 1.0 if key.endswith("var") or (tensor.ndim == 1 and key.endswith("weight")) else 0.0
                tensor.uniform_(centre - 0.3, centre + 0.3)
        torch.save(net.state_dict(), folder / f"{name}.pth")
    z = torch.randn(1, NZ, 1, 1)
    with torch.no_grad():
        image = g.eval().main(z)
        logit = d.eval().main[:-1](image)
    return {"z": z.numpy(), "image": image.numpy(), "logit": logit.numpy()}
