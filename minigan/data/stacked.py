"""Stacked MNIST: three random digits as the red, green and blue of one image, 1,000 classes in all.

Metz et al. 2017 ("Unrolled Generative Adversarial Networks", section 3.3.1) made it to count how many modes of the data
a generator has found. Which digits are stacked is a function of their number and of the split, so that each run
sees the same images. There are as many for training as MNIST has, and as many for tests as samples are usually
counted in (26,000; Lin et al. 2018, "PacGAN", in their code).
"""

from typing import Literal

import numpy as np

from minigan.randomness import Purpose, stream

COUNTS = {"train": 60_000, "test": 26_000}


def stack_digits(
    images: np.ndarray, labels: np.ndarray, split: Literal["train", "test"]
) -> tuple[np.ndarray, np.ndarray]:
    """Images (M, 28, 28, 3) of three digits each, and their classes 100 red + 10 green + blue, (M,) int64.

    Parameters: images (N, 28, 28, 1) of bytes, labels (N,) of 0 to 9. M is `COUNTS` of the split.
    """
    rng = stream(0, Purpose.STACKED_DIGITS, list(COUNTS).index(split))
    red, green, blue = rng.integers(0, len(images), (3, COUNTS[split]))
    stacked = np.concatenate([images[red], images[green], images[blue]], axis=3)
    classes = labels.astype(np.int64)
    return stacked, 100 * classes[red] + 10 * classes[green] + classes[blue]
