"""The networks that scores look through: small classifiers of MNIST and Fashion-MNIST, made by minigan itself.

A score that compares images by the features of a network says as much about the network as about the
images. The usual one was trained on photographs and knows nothing of digits (Barratt & Sharma 2018, "A Note
on the Inception Score"), so digits are scored by a network that can read them. The shipped weights were made by

    python -m minigan.evaluation.train_classifier mnist:DIR --out classifier-mnist.safetensors
    python -m minigan.evaluation.train_classifier fashion:DIR --flip --epochs 30 --out classifier-fashion.safetensors

in 9 and 14 minutes on a busy core. Of the test images they name 99.55 % of the digits and 92.33 % of the clothes.
"""

import hashlib
from dataclasses import dataclass
from importlib import resources

import numpy as np
from safetensors.numpy import load, save

from minigan.backend import CPU, Device
from minigan.errors import DataError
from minigan.evaluation.network import Network
from minigan.nn import (
    BatchNorm,
    Conv2D,
    Dense,
    Dropout,
    GlobalAveragePool,
    Layer,
    Params,
    ReLU,
    Sequential,
    init_params,
)
from minigan.nn.initialisers import HeNormal
from minigan.typing import Array

IMAGE_SHAPE = (28, 28, 1)  # (H, W, C)
CLASSES = 10
FEATURES = 128  # what the network has computed when the classes are read off


@dataclass(frozen=True)
class Weights:
    """A file that is shipped with minigan."""

    file: str
    sha256: str
    accuracy: float  # share of the 10,000 test images that are named rightly


def _convolution(channels: int, kernel: int, stride: int) -> list[Layer]:
    return [
        Conv2D(channels, kernel, stride, kernel // 2, bias=False, w_init=HeNormal()), BatchNorm(), ReLU()
    ]  # fmt: skip


def network() -> Sequential:
    """Images (N, 28, 28, 1) in [0, 1] to features (N, 128), then to logits (N, 10): 4.0 million multiply-adds."""
    features = Sequential(
        *_convolution(32, 5, 2),  # (14, 14, 32)
        *_convolution(64, 3, 2),  # (7, 7, 64)
        *_convolution(64, 3, 1),  # (7, 7, 64)
        *_convolution(FEATURES, 3, 2),  # (4, 4, 128)
        GlobalAveragePool(),
    )
    return Sequential(features, Sequential(Dropout(0.3), Dense(CLASSES)))


def encode(images: np.ndarray) -> np.ndarray:
    """Bytes to numbers in [0, 1], float32."""
    return images.astype(np.float32) / np.float32(255)


@dataclass(frozen=True)
class Classifier(Network):
    """A small classifier: features (N, 128) and logits (N, 10) of images (N, 28, 28, 1)."""

    name: str
    theta: Params
    device: Device = CPU

    image_shape = IMAGE_SHAPE
    rows = 500  # at most 60 MiB: its widest layer has 14 * 14 * 32 numbers, the windows of that 25 times its input
    names_the_data = True

    @property
    def sha256(self) -> str:
        return WEIGHTS[self.name].sha256

    def forward(self, images: np.ndarray) -> tuple[Array, Array]:
        net = network()
        (body, head), (lower, upper) = net.layers, (self.theta.scope(name) for name in net.names)
        features, _ = body.forward(lower, self.device.put(encode(images)), train=False)
        logits, _ = head.forward(upper, features, train=False)
        return features, logits

    def classes(self, images: np.ndarray) -> Array:
        """The likeliest class of each image, (N,) integers on the device."""
        return self.look(images)[1].argmax(axis=1)


def load_classifier(name: str, device: Device = CPU) -> Classifier:
    """The shipped classifier of that name. Raises DataError where its file is missing or damaged."""
    shipped = WEIGHTS[name]
    try:
        data = resources.files("minigan.evaluation").joinpath(shipped.file).read_bytes()
    except OSError as err:
        raise DataError(f"the shipped {shipped.file} cannot be read ({err.strerror}): reinstall minigan") from err
    # The checksum comes first: bytes that pass it are known to hold the right tensors.
    if hashlib.sha256(data).hexdigest() != shipped.sha256:
        raise DataError(f"the shipped {shipped.file} is damaged (checksum mismatch): reinstall minigan")
    return Classifier(name, read_weights(data).to(device), device)


def read_weights(data: bytes) -> Params:
    """Parameters and running statistics, float32, from a file that `write_weights` made."""
    theta = init_params(network(), IMAGE_SHAPE, np.random.default_rng(0))
    for name, tensor in load(data).items():
        theta[name] = tensor.astype(np.float32)
    return theta


def write_weights(theta: Params, made: str = "") -> bytes:
    """A safetensors file of float16, half as large as float32; `made` says how, in its metadata."""
    facts = {"made": made}  # one entry, because the order of several is random in the file
    return save({name: np.asarray(view, np.float16) for name, view in theta.items()}, metadata=facts)


WEIGHTS = {
    "classifier-mnist": Weights(
        "classifier-mnist.safetensors", "931b5eeb5a0364183900d0797b7479a160f0a81384b4e646b15571dcbde2bbde", 0.9955
    ),
    "classifier-fashion": Weights(
        "classifier-fashion.safetensors", "af6f8b90b54e7cf68aaa402032bbde21fcdd451fb6e464276836536fcb7ddac0", 0.9233
    ),
}
