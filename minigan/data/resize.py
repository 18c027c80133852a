"""Images of one size: cropped at the centre to the wanted shape, then resized.

The one rule for every source, so that MNIST can be 64 x 64 and photographs can be square.
"""

import math
from collections.abc import Iterable
from typing import TypeVar

import numpy as np
from PIL import Image

from minigan.typing import Shape

Size = tuple[int, int]  # (H, W), as everywhere here; Pillow has (W, H)

RULE = "cropped at the centre to the shape wanted, then resized (bilinear, antialiased)"
MEMORY = 4 * 2**30  # bytes that all images may take, if nothing else is said

Pixels = TypeVar("Pixels", Image.Image, np.ndarray)


def fit(images: Pixels, size: Size) -> Pixels:
    """Return the images in another size; those that have it already come back as they are.

    1. Crop to the largest rectangle in the middle with the shape (aspect) of `size`, to whole pixels;
       of an odd rest the right and lower edge lose the pixel more.
    2. Resize by Pillow's bilinear filter, which averages over all pixels where an image gets smaller.

    Parameters: images, one Pillow image of mode L or RGB, or an array (N, H, W, C) uint8 with C = 1 or
    3; size, (H, W). Arrays give new arrays of the same N and C.
    """
    if isinstance(images, Image.Image):
        return _fit_image(images, size)
    if images.shape[1:3] == tuple(size):
        return images
    count, channels = len(images), images.shape[3]
    result = np.empty((count, *size, channels), np.uint8)
    pictures = images[..., 0] if channels == 1 else images  # Pillow has no axis for a single channel
    for index, picture in enumerate(pictures):
        small = np.asarray(_fit_image(Image.fromarray(picture), size))
        result[index] = small.reshape(*size, channels)
    return result


def _fit_image(image: Image.Image, size: Size) -> Image.Image:
    if (image.height, image.width) == tuple(size):
        return image
    left, top, width, height = centre_crop((image.height, image.width), size)
    part = image.crop((left, top, left + width, top + height))
    return part.resize((size[1], size[0]), Image.Resampling.BILINEAR)


def centre_crop(found: Size, wanted: Size) -> tuple[int, int, int, int]:
    """(left, top, width, height) of the largest centred part of `found` with the aspect of `wanted`."""
    (h, w), (H, W) = found, wanted
    width = min(w, max(1, round(h * W / H)))
    height = min(h, max(1, round(w * H / W)))
    return (w - width) // 2, (h - height) // 2, width, height


def streaming(shape: Shape, memory: float) -> str:
    """What to tell the user about images (N, H, W, C) that are not kept in so many bytes of memory."""
    return (
        f"{shape[0]} images of {times(shape[1:])} bytes would take {math.prod(shape) / 2**30:.3g} GiB, --image-memory "
        f"is {memory / 2**30:.3g}: they are decoded again and again while training goes on"
    )


def times(sizes: Iterable[int]) -> str:
    """A size as a person writes it: 28 x 28."""
    return " x ".join(map(str, sizes))
