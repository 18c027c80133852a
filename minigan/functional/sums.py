"""Sums over rows that keep their digits, and sums of gradients."""

from minigan.typing import Array


def sum_rows(rows: Array) -> Array:
    r"""Sum over the rows, :math:`s_c = \sum_r x_{rc}`.

    NumPy adds one row after the other, and each of the R additions rounds: in float32 the variance of a million rows
    of normal numbers would be wrong in the fourth digit. So it adds in double precision.

    Parameters: rows (R, C). Returns s (C,), in the precision of the rows.
    """
    return rows.sum(axis=0, dtype="float64").astype(rows.dtype)


def mean_rows(rows: Array) -> Array:
    r"""Mean over the rows, :math:`\tfrac1R \sum_r x_{rc}`, summed likewise.

    Parameters: rows (R, C). Returns (C,), in the precision of the rows.
    """
    return rows.mean(axis=0, dtype="float64").astype(rows.dtype)


def add_to(total: Array | None, gradient: Array) -> Array:
    """A parameter's gradient of this pass, added in place to the total of the passes before, where there is one.

    Parameters: total and gradient, of one shape. Returns the total, or the gradient where there is none.
    """
    if total is None:
        return gradient
    total += gradient
    return total
