"""What the numbers of a run mean, in words."""

from collections.abc import Sequence

from minigan.runs.metrics import Row

WINDOW = 20  # rows that a verdict looks back on


def verdict(rows: Sequence[Row]) -> str:
    """A plain-language judgement of the last rows: who is winning, and what to do about it.

    D(x) and D(G(z)) are D's mean probabilities of "real" for real and for generated images. With
    a perfect generator both are 1/2.
    """
    recent = rows[-WINDOW:]
    if not recent:
        return "no measurements yet"
    real = sum(row["d_real"] for row in recent) / len(recent)
    fake = sum(row["d_fake"] for row in recent) / len(recent)
    gap = real - fake
    if gap > 0.8:
        return (
            "D is winning: it tells real from generated nearly every time, so G learns little; "
            "give D more dropout or label smoothing, or a lower learning rate"
        )
    if gap < 0.02 and len(recent) == WINDOW:
        return (
            "D sees no difference: it has not learnt yet, has stopped learning, or G has won; "
            "if it lasts, raise D's learning rate, or give D more steps a round"
        )
    if gap > 0.5:
        return "D is ahead"
    return "balanced"


NARROW = 0.35  # a spread below this means that samples look alike


def diversity_warning(spread: float) -> str | None:
    """A warning if samples for different z look alike; `spread` is their pixel deviation over that of the data."""
    if spread > NARROW:
        return None
    return (
        f"the samples are nearly all the same ({spread:.0%} of the data's spread): G has collapsed; "
        "lower both learning rates, or make the batch larger"
    )
