"""The pictures of a run: sample grids, their animation, the curves."""

import contextlib
import io
import math
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from minigan.errors import DataError, UsageError
from minigan.runs.atomic import write_atomically
from minigan.runs.metrics import Row

MAX_PIXELS = 2**29
MAX_READ = 2**26  # of a grid of samples
MAX_SIDE = 2**16 - 1  # of a GIF
MAX_FRAMES = 120
FRAME_MS, LAST_FRAME_MS = 100, 2000
PALETTE_FRAMES = 8  # at least, that the colours of an animation are chosen from


def grid(images: np.ndarray, columns: int | None = None, gap: int = 2) -> np.ndarray:
    """Put images (N, H, W, C) of bytes into one picture, row by row; square unless `columns` is given."""
    count, height, width, channels = images.shape
    columns = min(columns or math.ceil(math.sqrt(count)), count)
    picture = np.zeros((*grid_size(count, (height, width), columns, gap), channels), np.uint8)
    for index, image in enumerate(images):
        top, left = index // columns * (height + gap), index % columns * (width + gap)
        picture[top : top + height, left : left + width] = image
    return picture


def grid_size(count: int, size: tuple[int, int], columns: int | None = None, gap: int = 2) -> tuple[int, int]:
    """Height and width of a `grid` of so many images of size (H, W)."""
    columns = min(columns or math.ceil(math.sqrt(count)), count)
    return math.ceil(count / columns) * (size[0] + gap) - gap, columns * (size[1] + gap) - gap


def check_png(size: tuple[int, int], scale: int) -> None:
    """Raises UsageError if a picture of size (H, W) with pixels enlarged to scale x scale has more than MAX_PIXELS."""
    height, width = size[0] * scale, size[1] * scale
    if height * width > MAX_PIXELS:
        raise UsageError(f"a picture of {width} x {height} pixels is too large: fewer samples, or a smaller --scale")


def check_gif(count: int, size: tuple[int, int], scale: int) -> None:
    """Raises UsageError if so many pictures have more than MAX_PIXELS in all, or MAX_SIDE on a side."""
    height, width = size[0] * scale, size[1] * scale
    if count * height * width > MAX_PIXELS or max(height, width) > MAX_SIDE:
        raise UsageError(
            f"{count} pictures of {width} x {height} pixels make too large an animation: a smaller --scale"
        )


def save_png(path: Path, picture: np.ndarray, scale: int = 1) -> None:
    """Write a picture (H, W, C) of bytes, each pixel enlarged to scale x scale.

    Raises UsageError if that makes more than MAX_PIXELS, OSError if it cannot be written.
    """
    check_png((picture.shape[0], picture.shape[1]), scale)
    large = picture.repeat(scale, axis=0).repeat(scale, axis=1)
    buffer = io.BytesIO()
    _as_image(large).save(buffer, format="PNG")
    write_atomically(path, buffer.getvalue())


def save_animation(path: Path, frames: Sequence[Path]) -> None:
    """Write a GIF of sample grids, at most MAX_FRAMES of them, the last one held.

    Older ones that cannot be read any more are left out; the run's page names them. Raises DataError if the last one
    cannot.
    """
    if not frames:
        return
    *older, last = evenly(frames, MAX_FRAMES)
    pictures = []
    for frame in older:
        with contextlib.suppress(DataError):
            pictures.append(read_picture(frame))
    _write_gif(path, [*pictures, read_picture(last)], last=LAST_FRAME_MS)


def evenly(frames: Sequence[Path], most: int) -> list[Path]:
    """At most so many of them, evenly spread, with the first and the last."""
    return [frames[round(i)] for i in np.linspace(0, len(frames) - 1, min(len(frames), most))]


def save_gif(path: Path, images: np.ndarray, scale: int = 1) -> None:
    """Write images (N, H, W, C) of bytes as an endless animation, each pixel enlarged to scale x scale.

    Raises UsageError for more than MAX_PIXELS in all, or MAX_SIDE on a side.
    """
    check_gif(len(images), (images.shape[1], images.shape[2]), scale)
    large = images.repeat(scale, axis=1).repeat(scale, axis=2)
    _write_gif(path, [_as_image(image) for image in large], last=FRAME_MS)


def _write_gif(path: Path, pictures: Sequence[Image.Image], last: int) -> None:
    """Pictures in colour share the 256 colours that suit them best; 256 shades of grey are all there are."""
    frames = list(pictures)
    if any(picture.mode != "L" for picture in pictures):
        coloured = [picture.convert("RGB") for picture in pictures]
        # Of all pixels of some frames, in a row: what is rare in one of them may be all of another one.
        some = [np.asarray(picture) for picture in coloured[:: max(1, len(coloured) // PALETTE_FRAMES)]]
        palette = Image.fromarray(np.concatenate([pixels.reshape(1, -1, 3) for pixels in some], axis=1)).quantize(256)
        frames = [picture.quantize(palette=palette, dither=Image.Dither.NONE) for picture in coloured]
    durations = [FRAME_MS] * (len(frames) - 1) + [last]
    buffer = io.BytesIO()
    frames[0].save(
        buffer, format="GIF", save_all=True, append_images=frames[1:], duration=durations, loop=0, optimize=False
    )
    write_atomically(path, buffer.getvalue())


def read_picture(path: Path) -> Image.Image:
    """A picture of a run, a PNG: some of the other kinds are programs, which Pillow hands over to be run.

    Raises DataError if it cannot be read, or claims more pixels than any that is written here.
    """
    try:
        if not path.is_file():
            raise ValueError("no regular file")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # told below
            with Image.open(path, formats=["PNG"]) as picture:
                if picture.width * picture.height > MAX_READ:
                    raise ValueError(f"{picture.width} x {picture.height} pixels")
                picture.load()
                return picture.copy()
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as err:  # whatever a damaged PNG gives
        raise DataError(f"{path}: a picture that cannot be read ({err})") from err


def save_curves(path: Path, rows: Sequence[Row], opinions: bool = True) -> None:
    """Draw the losses of both players, and with `opinions` what D thinks of real and of generated images."""
    if not rows:
        return
    from matplotlib.figure import Figure

    steps = [row["step"] for row in rows]
    figure = Figure(figsize=(7, 6 if opinions else 3.5), layout="constrained")
    losses, *below = np.atleast_1d(figure.subplots(1 + opinions, 1, sharex=True))
    for name, label in (("loss_d", "discriminator"), ("loss_g", "generator")):
        _plot_smoothed(losses, steps, [row[name] for row in rows], label)
    losses.set(ylabel="loss")
    losses.set_title("Losses", loc="left")
    for probabilities in below:
        for name, label in {"d_real": "D(x)", "d_fake": "D(G(z)) in D's step", "d_fake_g": "in G's"}.items():
            _plot_smoothed(probabilities, steps, [row[name] for row in rows], label)
        probabilities.axhline(0.5, color="grey", linewidth=0.8, linestyle=":")
        probabilities.set(ylabel="mean probability", ylim=(0, 1))
        probabilities.set_title("What D thinks", loc="left")
    for axes in (losses, *below):
        axes.legend(loc="lower right", bbox_to_anchor=(1, 1), ncols=3, frameon=False, fontsize=9)  # beside the title
    axes.set(xlabel="step")
    buffer = io.BytesIO()
    figure.savefig(buffer, dpi=110, format="png")
    write_atomically(path, buffer.getvalue())


def _plot_smoothed(axes: Any, steps: list[float], values: list[float], label: str) -> None:
    """The values in a light colour and their running mean over one fortieth of the run above them."""
    (line,) = axes.plot(steps, values, linewidth=0.6, alpha=0.35)
    axes.plot(steps, running_mean(np.array(values)), color=line.get_color(), label=label)


def running_mean(values: np.ndarray) -> np.ndarray:
    """Means (N,) of each value and those before it, over one fortieth of them; fewer at the beginning."""
    width = max(1, len(values) // 40)
    sums = np.cumsum([0.0, *values])
    ends = np.arange(1, len(values) + 1)
    starts = np.maximum(ends - width, 0)
    return (sums[ends] - sums[starts]) / (ends - starts)


def _as_image(picture: np.ndarray) -> Image.Image:
    return Image.fromarray(picture[..., 0] if picture.shape[-1] == 1 else picture)
