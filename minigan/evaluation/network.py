"""What scores look through: a trained network that turns images into features and into the logits of its classes."""

from typing import ClassVar

import numpy as np

from minigan.backend import Device
from minigan.data.resize import fit
from minigan.errors import DataError
from minigan.typing import Array, Shape


class Network:
    """A trained network under a name, which stands beside every number that it has a part in."""

    name: str
    device: Device
    image_shape: ClassVar[Shape]  # (H, W, C) of what `forward` takes
    rows: ClassVar[int]  # images at once, so that memory stays bounded
    names_the_data: ClassVar[bool]  # whether its classes are those of the data, so that to count them says something

    @property
    def sha256(self) -> str:
        """Of the file with its weights."""
        raise NotImplementedError

    def forward(self, images: np.ndarray) -> tuple[Array, Array]:
        """Features (N, F) and logits (N, K) of a few images (N, *image_shape) of bytes, on the device, to infer."""
        raise NotImplementedError

    def look(self, images: np.ndarray) -> tuple[Array, Array]:
        """Features (N, F) and logits (N, K) of images (N, H, W, C) of bytes, of any size, on the device.

        They are resized by `minigan.data.resize.fit` (cropped at the centre to the shape, then Pillow's bilinear
        filter), which is a part of what every score means. Raises DataError for images of other colours, or not of
        bytes.
        """
        height, width, channels = self.image_shape
        if images.shape[3] != channels or images.dtype != np.uint8:
            got = f"{images.shape[1:]} {images.dtype}"
            raise DataError(f"{self.name} takes images of {channels} colour channels of bytes, got {got}")
        starts = range(0, len(images), self.rows)
        parts = [self.forward(fit(images[i : i + self.rows], (height, width))) for i in starts]
        features, logits = zip(*parts, strict=True)
        return self.device.xp.concatenate(features), self.device.xp.concatenate(logits)
