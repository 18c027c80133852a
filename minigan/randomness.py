"""Every random number is a function of (seed, purpose, step): there is no generator to carry around.

Why: a generator that lives through a run is hidden state. It must be saved in each checkpoint,
and one draw more or less (another layer, a skipped sample picture) shifts all that follow.
Here a step makes the generator it needs from three numbers, so that nothing has to be saved, and a
resumed run is exact by construction. A CPU and a GPU get the same numbers, because they are drawn on
the host, or on the GPU by the same generator from the same state (cuda/pcg64.cu).
"""

from copy import deepcopy
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

import numpy as np

from minigan.errors import UsageError
from minigan.typing import Shape

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
    BETWEEN = 12


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
    # As a list gives, in two thirds of the time.
    words = np.array([seed, purpose, *counters], np.uint32)
    return np.random.default_rng(words)


def state_words(rng: np.random.Generator) -> np.ndarray:
    """The state of a generator, all that a GPU needs to draw its numbers: (4,) uint64, state and increment, of each the
    low half first.

    Raises ValueError for another kind than PCG64, and where half a word is left over from the last draw.
    """
    now = rng.bit_generator.state
    if now["bit_generator"] != "PCG64" or now["has_uint32"]:
        raise ValueError(f"expected a PCG64 between two words, got a {now['bit_generator']}")
    wide = now["state"]["state"], now["state"]["inc"]
    return np.array([half for number in wide for half in (number % 2**64, number >> 64)], np.uint64)


def parted(rng: Any, parts: int, apart: int) -> Any:
    """A generator for the parts of an array, (N, ...): it gives each the numbers that `rng` would give it if the parts
    came one after the other and took `apart` numbers each.

    `rng` goes on where the last part ends. A generator of a device has a way of its own.
    """
    if not isinstance(rng, np.random.Generator):
        return rng.parted(parts, apart)
    generators = []
    for _ in range(parts):
        generators.append(deepcopy(rng))
        _skip(rng, apart)
    return PartedGenerator(tuple(generators))


def _skip(rng: np.random.Generator, count: int) -> None:
    """Leave out so many float32, of which a word of PCG64 gives two."""
    now = rng.bit_generator.state
    if isinstance(rng.bit_generator, np.random.PCG64) and not now["has_uint32"]:
        rng.bit_generator.advance(count // 2)
        count %= 2
    rng.random(count, dtype=np.float32)


@dataclass(frozen=True)
class PartedGenerator:
    """Draws for equal parts of an array, each from a generator of its own: all that layers ask of a generator."""

    generators: tuple[np.random.Generator, ...]

    def random(self, size: Shape, dtype: Any = np.float64) -> np.ndarray:
        """U[0, 1) of shape `size`. Raises ValueError if its first axis has no equal parts."""
        each, rest = divmod(size[0], len(self.generators))
        if rest:
            raise ValueError(f"an array of shape {size} has no {len(self.generators)} equal parts")
        return np.concatenate([rng.random((each, *size[1:]), dtype=dtype) for rng in self.generators])


def check_seed(seed: int) -> int:
    """Return the seed. Raises UsageError, with the allowed range, for one that cannot be used."""
    if not 0 <= seed < WORD:
        raise UsageError(f"seed {seed} is out of range: allowed are 0 to {WORD - 1}")
    return seed
