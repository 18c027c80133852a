"""Of which kind a value is that was read as JSON: what a file claims to hold is not taken on trust."""

import sys
from collections.abc import Callable
from typing import Any


def is_text(value: Any) -> bool:
    return isinstance(value, str)


def is_size(value: Any) -> bool:
    """A number that is finite, as a float64 too, and not negative."""
    return type(value) in (int, float) and 0 <= value <= sys.float_info.max


def is_count(value: Any) -> bool:
    """An integer that is not negative, and that a float64 can hold exactly."""
    return type(value) is int and 0 <= value < 2**53


def are_counts(value: Any) -> bool:
    """A list of them."""
    return isinstance(value, list) and all(map(is_count, value))


def by_name(kind: Callable[[Any], bool]) -> Callable[[Any], bool]:
    """Whether a value is an object, and each of its entries of that kind."""
    return lambda value: isinstance(value, dict) and all(map(kind, value.values()))
