r"""Squared distances between two sets of points, block by block, so that memory does not grow with the sets.

.. math:: \lVert a - b \rVert^2 = \lVert a \rVert^2 - 2\, a \cdot b + \lVert b \rVert^2

makes a block one matrix product. It is computed in float64, because the three terms nearly cancel where two
points are close: in float32, distances below a thousandth of the norms would be noise.

Memory: a block has at most `ROWS` x `ROWS` distances (8 MiB), made from `WIDTH` coordinates at a time (32 MiB for each
of the two sets). A score that walks over the blocks stays within 160 MiB beside the points, whatever their number and
dimension.
"""

from collections.abc import Iterator

from minigan.backend import array_module
from minigan.typing import Array

ROWS = 1024
WIDTH = 4096
ROUNDING = 1e-12  # of |x|^2 + |y|^2: far above that of the sums, far below a grey level of one pixel


def parts(count: int, step: int) -> Iterator[slice]:
    """Consecutive slices of 0 ... count, `step` long but for the last."""
    return (slice(start, min(start + step, count)) for start in range(0, count, step))


def numbers(points: Array) -> Array:
    """A float64 copy. Bytes are pixels and count as numbers in [0, 1], so that nobody has to keep images as floats."""
    copy = points.astype("float64")
    if points.dtype == "uint8":
        copy /= 255
    return copy


def distance_blocks(a: Array, b: Array) -> Iterator[tuple[slice, slice, Array]]:
    """(rows, columns, squared distances of a[rows] from b[columns]), float64 and never negative.

    What is left of equal points is rounding, which differs from block to block; it is made 0, or it would decide which
    of two copies is nearer.

    Parameters: a (N, ...), b (M, ...), each point flattened to (D,). The caller may change a block.
    """
    xp = array_module(a, b)
    a, b = a.reshape(len(a), -1), b.reshape(len(b), -1)
    for rows in parts(len(a), ROWS):
        for columns in parts(len(b), ROWS):
            sizes = xp.zeros((rows.stop - rows.start, columns.stop - columns.start), dtype="float64")
            distances = xp.zeros_like(sizes)
            for width in parts(a.shape[1], WIDTH):
                x, y = numbers(a[rows, width]), numbers(b[columns, width])
                distances -= 2 * (x @ y.T)
                sizes += (x * x).sum(axis=1)[:, None] + (y * y).sum(axis=1)
            distances += sizes
            yield rows, columns, xp.where(distances < ROUNDING * sizes, 0.0, distances)


def check_points(*sets: Array) -> None:
    """Raises ValueError unless all sets hold finite points of one dimension, at least one each."""
    xp = array_module(*sets)
    sizes = {points[0].size if len(points) else 0 for points in sets}
    if len(sizes) != 1 or 0 in sizes:
        shapes = ", ".join(str(points.shape) for points in sets)
        raise ValueError(f"points of one dimension are needed, at least one in each set, got {shapes}")
    for points in sets:
        if points.dtype != "uint8" and not all(bool(xp.isfinite(points[p]).all()) for p in parts(len(points), ROWS)):
            raise ValueError("there are points that are not finite numbers (NaN or infinity)")
