r"""Squared distances between two sets of points, block by block, so that memory does not grow with the sets.

.. math:: \lVert a - b \rVert^2 = \lVert a \rVert^2 - 2\, a \cdot b + \lVert b \rVert^2

makes a block one matrix product. It is computed in float64, because the three terms nearly cancel where two
points are close: in float32, distances below a thousandth of the norms would be noise.

Memory: a block has at most `ROWS` x `ROWS` distances, and its points at most `NUMBERS` numbers a side, so a
score that walks over blocks needs about 10 arrays of 8 MiB and 2 of 32 MiB: under 160 MiB beside the points.
"""

from collections.abc import Iterator

from minigan.backend import array_module
from minigan.typing import Array

ROWS = 1024
NUMBERS = 2**22


def rows_in_block(dimension: int) -> int:
    """How many points of that dimension are taken at once."""
    return max(1, min(ROWS, NUMBERS // max(dimension, 1)))


def blocks(points: Array) -> Iterator[tuple[slice, Array]]:
    """(where, rows in float64) of consecutive parts of points (N, ...), each point flattened to (D,).

    Bytes are pixels and count as numbers in [0, 1], so that nobody has to keep images as floats.
    """
    flat = points.reshape(len(points), -1)
    step = rows_in_block(flat.shape[1])
    for start in range(0, len(flat), step):
        where = slice(start, min(start + step, len(flat)))
        rows = flat[where].astype("float64")
        if flat.dtype == "uint8":
            rows /= 255
        yield where, rows


def squared_distances(a: Array, b: Array) -> Array:
    """Between rows a (A, D) and b (B, D), float64: (A, B). Rounding never makes one negative."""
    xp = array_module(a, b)
    cross = a @ b.T  # (A, B)
    cross *= -2
    cross += (a * a).sum(axis=1)[:, None]
    cross += (b * b).sum(axis=1)
    return xp.maximum(cross, 0, out=cross)


def check_points(*sets: Array) -> None:
    """Raises ValueError unless all sets hold finite points of one dimension, at least one each."""
    xp = array_module(*sets)
    sizes = {points[0].size if len(points) else 0 for points in sets}
    if len(sizes) != 1 or 0 in sizes:
        shapes = ", ".join(str(points.shape) for points in sets)
        raise ValueError(f"points of one dimension are needed, at least one in each set, got {shapes}")
    for points in sets:
        if points.dtype != "uint8" and not all(bool(xp.isfinite(rows).all()) for _, rows in blocks(points)):
            raise ValueError("there are points that are not finite numbers (NaN or infinity)")
