"""Damaged copies of a file, for readers that must survive them."""

import random
from collections.abc import Iterator


def mutations(original: bytes, number: int, seed: int, head: int) -> Iterator[bytes]:
    """Yield damaged copies: cut, flipped, overwritten, lengthened; half of the damage is in the first `head` bytes."""
    rng = random.Random(seed)
    for _ in range(number):
        data = bytearray(original)
        for _ in range(rng.randint(1, 3)):
            where = rng.randrange(len(data)) if rng.random() < 0.5 else rng.randrange(min(head, len(data)))
            match rng.randrange(5):
                case 0:
                    del data[max(1, where) :]
                case 1:
                    data[where] ^= 1 << rng.randrange(8)
                case 2:
                    data[where : where + 4] = rng.choice([b"\xff" * 4, b"\0" * 4, b"\0\0\0\x01", b"\x7f\xff\xff\xff"])
                case 3:
                    data[where:where] = rng.randbytes(rng.randint(1, 20))
                case 4:
                    data += rng.randbytes(rng.randint(1, 20))
        yield bytes(data)
