"""Every random number is a function of (seed, purpose, step): there is no generator to carry around.

Why: a generator that lives through a run is hidden state. It must be saved in each checkpoint,
and one draw more or less (another layer, a skipped sample picture) shifts all that follow.
Here a step makes the generator it needs from three numbers, so that nothing has to be saved, a
resumed run is exact by construction, and because the numbers are drawn on the host, a CPU and a
GPU get the same ones.
"""

from enum import IntEnum

import numpy as np

from minigan.errors import UsageError

# SeedSequence cuts its input into words of 32 bits and joins them, so that a seed of two words
# would be the same as another seed with another purpose: [5 + 3 * 2**32, 1] is [5, 3, 1].
WORD = 2**32


class Purpose(IntEnum):
    """What random numbers are for, one number a use; never renumber: it would change every run."""

    INIT_GENERATOR = 1
    INIT_DISCRIMINATOR = 2
    SHUFFLE = 3
    LATENT_D = 4
    LATENT_G = 5
    DROPOUT = 6
    FIXED_LATENT = 7
    SAMPLE = 8
    AUGMENT = 9
    TOY_DATA = 10
    STACKED_DIGITS = 11


def stream(seed: int, purpose: Purpose, *counters: int) -> np.random.Generator:
    """Return the generator of (seed, purpose, counters): the same arguments, the same numbers.

    The counters are what tells draws of one purpose apart: usually the step, or the epoch. One
    purpose must always give equally many, because SeedSequence pads with zeros: (seed, purpose)
    and (seed, purpose, 0) are one stream.

    Parameters: seed and counters in 0 ... 2**32 - 1. Source: numpy.random.SeedSequence, PCG64.
    Raises UsageError for a seed outside, ValueError for a counter outside (a mistake in the code).
    """
    check_seed(seed)
    if not all(0 <= counter < WORD for counter in counters):
        raise ValueError(f"counters must be in 0 ... {WORD - 1}, got {counters}")
    return np.random.default_rng([seed, purpose, *counters])


def check_seed(seed: int) -> int:
    """Return the seed. Raises UsageError, with the allowed range, for one that cannot be used."""
    if not 0 <= seed < WORD:
        raise UsageError(f"seed {seed} is out of range: allowed are 0 to {WORD - 1}")
    return seed
