"""Numbers as a page shows them."""

import math

SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def shown(value: float, digits: int = 3) -> str:
    """``1,234``, ``0.0123``, ``1.2 × 10⁻⁵``: that many significant digits; whole numbers in full."""
    if not math.isfinite(value):
        return "not a number" if math.isnan(value) else "−∞" if value < 0 else "∞"
    size = abs(value)
    if size < 1e15 and value == int(value):
        text = f"{int(value):,}"
    elif 1e-3 <= size < 1e6:
        text = f"{value:,.{max(0, digits - 1 - math.floor(math.log10(size)))}f}"
    else:
        mantissa, exponent = f"{value:.{digits - 1}e}".split("e")
        text = f"{mantissa} × {power_of_ten(int(exponent))}"
    return text.replace("-", "−")


def power_of_ten(exponent: int) -> str:
    """``10⁻³``."""
    return "10" + str(exponent).translate(SUPERSCRIPTS)


def printable(value: object) -> object:
    """Text with whatever cannot be seen (control characters, bytes that are no UTF-8) written as an escape.

    Everything but plain text is left alone.
    """
    if type(value) is not str:
        return value
    return "".join(c if c.isprintable() or c == "\n" else c.encode("unicode_escape").decode() for c in value)
