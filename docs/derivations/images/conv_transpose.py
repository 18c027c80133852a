"""Draw conv-transpose.png: the matrix of a strided convolution, its transpose, and how often each pixel is painted.

python docs/derivations/images/conv_transpose.py
"""

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle

STRIDE, PLACES = 2, 4
TAPS = ["#f4c95d", "#ef8354", "#5fa8d3", "#7f9c6c"]  # one colour a tap of the kernel: w0, w1, w2, w3
PIXELS = ["#264653", "#2a9d8f", "#b5651d", "#d1495b"]  # one colour an input pixel: x0, x1, x2, x3
INK, GRID = "#222222", "#cfcfcf"


def draw_matrix(axes: Axes, kernel: int, transposed: bool) -> None:
    """The window matrix (or its transpose), one cell an entry; empty cells are zeros."""
    size = (PLACES - 1) * STRIDE + kernel
    for place in range(PLACES):
        for pixel in range(size):
            tap = pixel - STRIDE * place
            row, column = (pixel, place) if transposed else (place, pixel)
            inside = 0 <= tap < kernel
            face = TAPS[tap] if inside else "white"
            axes.add_patch(Rectangle((column, row), 1, 1, facecolor=face, edgecolor=GRID, linewidth=0.8))
            if inside:
                axes.text(column + 0.5, row + 0.53, f"$w_{tap}$", ha="center", va="center", fontsize=11, color=INK)
    rows, columns = (size, PLACES) if transposed else (PLACES, size)
    into, out = "xy"
    for row in range(rows):
        axes.text(-0.25, row + 0.53, f"${out}_{row}$", ha="right", va="center", fontsize=11)
    for column in range(columns):
        axes.text(column + 0.5, -0.2, f"${into}_{column}$", ha="center", va="bottom", fontsize=11)
    axes.set(xlim=(-0.8, columns + 0.1), ylim=(rows + 0.1, -0.9), aspect="equal")
    axes.axis("off")


def draw_paint(axes: Axes, kernel: int) -> None:
    """Every input pixel lays a kernel's width of paint; the bricks on a pixel are the taps that reach it."""
    size = (PLACES - 1) * STRIDE + kernel
    height = np.zeros(size, dtype=int)
    for place in range(PLACES):
        for tap in range(kernel):
            pixel = STRIDE * place + tap
            axes.add_patch(
                Rectangle((pixel, height[pixel]), 1, 1, facecolor=PIXELS[place], edgecolor="white", linewidth=1.5)
            )
            label = f"$x_{place}w_{tap}$"
            axes.text(pixel + 0.5, height[pixel] + 0.5, label, ha="center", va="center", fontsize=10, color="white")
            height[pixel] += 1
    for pixel in range(size):
        axes.text(pixel + 0.5, height[pixel] + 0.1, str(height[pixel]), ha="center", va="bottom", fontsize=11)
        axes.text(pixel + 0.5, -0.12, f"$y_{pixel}$", ha="center", va="top", fontsize=11)
    axes.plot([0, size], [0, 0], color=INK, linewidth=1)
    axes.set(xlim=(-0.8, 10.1), ylim=(-0.6, 2.9), aspect="equal")
    axes.axis("off")


def main() -> None:
    plt.rcParams.update({"font.family": "DejaVu Sans", "mathtext.fontset": "dejavusans"})
    figure = plt.figure(figsize=(9.6, 7.4), layout="constrained")
    figure.get_layout_engine().set(h_pad=0.1, w_pad=0.1)
    grid = figure.add_gridspec(3, 2, width_ratios=(10.9, 6.4), height_ratios=(5, 3.5, 3.5))
    left, right = [figure.add_subplot(grid[row, 0]) for row in range(3)], figure.add_subplot(grid[:, 1])
    titles = [
        "Convolution, kernel 3, stride 2:  $y = T x$",
        "Transposed, kernel 3, stride 2: painted unevenly",
        "Transposed, kernel 4, stride 2: evenly, away from the border",
        "Transposed convolution:  $y = T^{\\mathsf{T}} x$\neach $x$ paints one kernel",
    ]
    draw_matrix(left[0], kernel=3, transposed=False)
    draw_paint(left[1], kernel=3)
    draw_paint(left[2], kernel=4)
    draw_matrix(right, kernel=3, transposed=True)
    for panel, title in zip([*left, right], titles, strict=True):
        panel.set_title(title, fontsize=12, color=INK)
    figure.savefig(Path(__file__).with_name("conv-transpose.png"), dpi=100)


if __name__ == "__main__":
    main()
