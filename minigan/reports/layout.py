"""Where things are in a chart, in the units of its drawing; y goes down, as in SVG."""

WIDTH, HEIGHT = 440, 250
LEFT, TOP, RIGHT, BOTTOM = 54, 12, 12, 40  # margins around the plot
PLOT_WIDTH, PLOT_HEIGHT = WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM


def x(share: float) -> float:
    """From 0 ... 1 across the plot."""
    return round(LEFT + PLOT_WIDTH * share, 1)


def y(share: float) -> float:
    """From 0 (low) ... 1 (high)."""
    return round(TOP + PLOT_HEIGHT * (1 - share), 1)
