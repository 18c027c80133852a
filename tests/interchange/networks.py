"""What is exported in the tests: every recipe's networks at reduced width, and every layer, with random numbers."""

from dataclasses import dataclass, field

import numpy as np

from minigan import nn
from minigan.recipes import CDCGAN28, DCGAN28, DCGAN64, DCGAN256, MLP2014, WGANGP28, DCGANUpsample, MLPMnist
from minigan.typing import Shape


@dataclass(frozen=True)
class Case:
    """A network, the shape of its input, and which image a flat input or output stands for."""

    net: nn.Layer
    in_shape: Shape
    images: dict[str, Shape] = field(default_factory=dict)

    def theta(self, dtype=np.float32) -> nn.Params:
        """Parameters that let signals through, with no gain 1, no bias 0, no mean 0, no variance 1."""
        rng = np.random.default_rng(0)
        theta = nn.init_params(self.net, self.in_shape, rng, dtype=dtype)
        for name, view in theta.items():
            centre, spread = {"w": (0, 1), "gamma": (1, 0.2), "var": (1, 0.2)}.get(name.split(".")[-1], (0, 0.3))
            if view.ndim > 1:
                spread = (view.shape[-1] / view.size) ** 0.5
            theta[name] = centre + spread * rng.uniform(-1.7, 1.7, view.shape)
        return theta

    def x(self, count: int = 3) -> np.ndarray:
        """Inputs, (count, *in_shape) float32."""
        return np.random.default_rng(1).normal(size=(count, *self.in_shape)).astype(np.float32)

    def output(self, theta: nn.Params, x: np.ndarray) -> np.ndarray:
        """What minigan makes of inputs, channels first."""
        y, _ = self.net.forward(theta, x, train=False)
        flat = "image_out" in self.images and y.ndim == 2
        return first(y.reshape(len(y), *self.images["image_out"]) if flat else y)


def first(images: np.ndarray) -> np.ndarray:
    """(N, H, W, C) to (N, C, H, W); vectors stay as they are."""
    return np.ascontiguousarray(np.moveaxis(images, -1, 1))


# A flat image of the MLPs is neither square nor grey, so that no two orders of its pixels are the same.
RECIPES = {
    "mlp-mnist": (MLPMnist(hidden_g=(8, 12), hidden_d=(8, 6), latent=5), (5, 4, 3)),
    "mlp-2014": (MLP2014(hidden_g=16, hidden_d=6, pieces=3, latent=5), (5, 4, 3)),
    "dcgan-28": (DCGAN28(latent=5, width=4, width_d=3, units=16), (28, 28, 1)),
    "dcgan-64": (DCGAN64(latent=5, width=2), (64, 64, 3)),
    "dcgan-upsample": (DCGANUpsample(latent=5, width=4, width_d=2), (64, 64, 1)),
    "dcgan-upsample, transposed": (DCGANUpsample(latent=5, width=4, width_d=2, enlarge="transposed"), (64, 64, 3)),
    "dcgan-256": (DCGAN256(latent=5, width=1), (256, 256, 3)),
    "wgan-gp-28": (WGANGP28(latent=5, width=2), (28, 28, 1)),
    "cdcgan-28": (CDCGAN28(latent=5, classes=3, width=2, units=6), (28, 28, 1)),
}


def _case(name: str, network: str) -> Case:
    recipe, shape = RECIPES[name]
    blank = np.full((1, *shape), 100, np.uint8)
    if network == "generator":
        return Case(recipe.generator(blank), recipe.latent_shape, {"image_out": shape})
    return Case(recipe.discriminator(blank), recipe.judged_shape(shape), {"image_in": shape})


NETWORKS = {f"{name} {kind}": _case(name, kind) for name in RECIPES for kind in ("generator", "discriminator")}

IMAGE = (6, 5, 4)


def _layer(*layers: nn.Layer, in_shape: Shape = IMAGE) -> Case:
    return Case(nn.Sequential(*layers), in_shape)


LAYERS = {
    "conv": _layer(nn.Conv2D(3, (3, 2), 2, (1, 0))),
    "conv, same padding": _layer(nn.Conv2D(3, (4, 2), 2, "same")),
    "conv, asymmetric, dilated, grouped": _layer(nn.Conv2D(6, (2, 3), (1, 2), (1, 0, 2, 1), (3, 2), 2, bias=False)),
    "conv, depthwise": _layer(nn.Conv2D(4, 2, groups=4)),
    "transposed conv": _layer(nn.ConvTranspose2D(3, (4, 3), 2, 1, (1, 0))),
    "transposed conv, asymmetric, grouped": _layer(
        nn.ConvTranspose2D(6, (3, 2), 2, (1, 0, 0, 2), dilation=(1, 2), groups=2)
    ),
    "transposed conv, output padding beyond the padding": _layer(nn.ConvTranspose2D(3, 2, 3, 0, (2, 1))),
    "batchnorm of images": _layer(nn.BatchNorm(0.3)),
    "batchnorm of vectors": _layer(nn.BatchNorm(), in_shape=(7,)),
    "batchnorm of rows": _layer(nn.BatchNorm(), in_shape=(3, 4)),
    "activations": _layer(nn.LeakyReLU(0.3), nn.ELU(0.7), nn.Softplus(), nn.Tanh(), nn.Sigmoid(), nn.ReLU()),
    "dropouts": _layer(nn.Dropout(0.5), nn.Dropout(0.3, "channel")),
    "dropout of vectors": _layer(nn.Dropout(0.3, "channel"), in_shape=(7,)),
    "maxout": _layer(nn.Maxout(3), in_shape=(12,)),
    "average pool": _layer(nn.AveragePool(2)),
    "average pool, overlapping": _layer(nn.AveragePool(3, 2, 1)),
    "average pool, more padding than PyTorch takes": _layer(nn.AveragePool(3, 2, 2)),
    "average pool, same padding": _layer(nn.AveragePool(2, (2, 1), "same")),
    "max pool, same padding": _layer(nn.MaxPool(3, 2, "same")),
    "max pool, asymmetric": _layer(nn.MaxPool(2, 1, (1, 0, 0, 1))),
    "global average": _layer(nn.GlobalAveragePool(), nn.Dense(3)),
    "upsample, nearest": _layer(nn.Upsample(3)),
    "upsample, bilinear": _layer(nn.Upsample(3, "bilinear")),
    "pixel shuffle": _layer(nn.PixelShuffle(2)),
    "pixel unshuffle": _layer(nn.PixelUnshuffle(2), in_shape=(4, 6, 3)),
    "dense between images": _layer(
        nn.Flatten(), nn.BatchNorm(), nn.Dense(24), nn.ReLU(), nn.BatchNorm(), nn.Dropout(0.1), nn.Reshape((3, 4, 2))
    ),
    "two dense layers between images": _layer(
        nn.Flatten(), nn.Dense(12, bias=False), nn.Maxout(2), nn.Dense(12), nn.Reshape((2, 2, 3)), nn.BatchNorm()
    ),
    "reshape of vectors": _layer(nn.Reshape((12,)), nn.Flatten(), nn.Dense(2), in_shape=(12,)),
    "reshape of a grey image": _layer(nn.Reshape((3, 8, 1)), nn.Conv2D(2, 2), in_shape=(6, 4, 1)),
    "batchnorm without gain": _layer(nn.BatchNorm(affine=False)),
    "conditioned images": _layer(nn.Conditioned(2, nn.Conv2D(3, 2)), nn.Conditioned(2, nn.Flatten(), nn.Dense(3))),
    "conditioned vectors": _layer(
        nn.Conditioned(2, nn.Dense(12), nn.BatchNorm(), nn.Reshape((2, 3, 2))),
        nn.Conditioned(2, nn.ConvTranspose2D(3, 2)),
        in_shape=(5,),
    ),
    "conditioned, as flat as they come in": _layer(
        nn.Conditioned(1, nn.Flatten()), nn.Conditioned(1, nn.ReLU()), nn.Conditioned(2, nn.BatchNorm()), nn.Dense(3)
    ),
    "networks within": _layer(
        nn.Conv2D(2, 2), nn.Sequential(nn.Flatten(), nn.Sequential(), nn.Sequential(nn.Dense(3), nn.BatchNorm()))
    ),
    "nothing": _layer(),
}  # fmt: skip

# What ONNX can say and a torch.nn.Sequential cannot: (network, part of the error).
ONLY_ONNX = {
    "scaled tanh": (_layer(nn.ScaledTanh()), "layer scaledtanh1: torch.nn has no module"),
    "classic dropout": (_layer(nn.Dropout(0.4, "classic")), "layer dropout1: PyTorch's dropout scales in training"),
    "vectors that become images": (_layer(nn.Reshape((2, 3, 2)), in_shape=(12,)), "layer reshape1: in PyTorch"),
    "images of another shape": (_layer(nn.Reshape((4, 5, 6))), "layer reshape1: in PyTorch"),
    "images that come out flat": (_layer(nn.Flatten(), nn.ReLU()), "layer relu1: PyTorch would return"),
    "maxout of pixels": (_layer(nn.Flatten(), nn.Maxout(2), nn.Dense(1)), "layer maxout1: PyTorch would have"),
    "maxout to pixels": (
        _layer(nn.Dense(24), nn.Maxout(2), nn.Reshape((2, 3, 2)), in_shape=(3,)), "layer reshape1: in PyTorch"
    ),
    "conditioned, flat at the end": (
        _layer(nn.Conditioned(2, nn.Flatten()), nn.Conditioned(2, nn.ReLU())),
        "layer conditioned2: PyTorch would return",
    ),
    "batchnorm of volumes": (_layer(nn.BatchNorm(), in_shape=(2, 3, 2, 2)), "layer batchnorm1: samples of shape"),
}  # fmt: skip
