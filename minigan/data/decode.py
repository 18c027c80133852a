"""From the bytes of an image file to pixels: how every mode of Pillow becomes grey or RGB bytes.

* The format is told by content, not by name. Of several frames the first one is taken.
* EXIF rotation is applied.
* Grey are the modes L, 1 (0 and 255), LA, I;16 and I, and P where all colours in use are grey; colour are RGB,
  RGBA, CMYK and other P. Any other mode (LAB, HSV, YCbCr, F) is refused by its name, since a guess
  would change colours unseen.
* Transparency is put on black: colour times opacity.
* 16 bits become 8 by v / 257, rounded, so that 65535 becomes 255 (Pillow's own conversion cuts all above
  255 off). Colour of 16 bits comes out of Pillow with 8 already, by v / 256.

What a damaged file makes Pillow raise cannot be foreseen, so all of it counts as damage: Unreadable.
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from io import BytesIO

import numpy as np
from PIL import Image, UnidentifiedImageError

from minigan.data.listing import Unreadable
from minigan.data.resize import Size, fit
from minigan.errors import DataError

GREY = ("L", "1", "LA", "I", "I;16", "I;16B", "I;16L", "I;16N")
WIDE = ("I", "I;16", "I;16B", "I;16L", "I;16N")
COLOUR = ("RGB", "RGBA", "CMYK")
MODES = (*GREY, *COLOUR, "P", "PA")
# All that Pillow opens and that people keep images in. Not EPS, which would start another program.
FORMATS = (
    "PNG", "JPEG", "GIF", "BMP", "DIB", "WEBP", "TIFF", "PPM", "PCX", "JPEG2000", "AVIF", "QOI", "TGA",
)  # fmt: skip
MAX_PIXELS = 2**26  # of one image: 8192 x 8192, which take Pillow 256 MiB in colour, and once more while converted
DEFLATE = 1032  # a byte of a PNG file becomes at most so many ("Maximum Compression Factor", zlib Technical Details)
STRIP = 2**20  # pixels that are laid on black at a time

ORIENTATION = 0x0112  # the EXIF tag
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}

# Pillow logs errors in TIFF files; without a handler Python would print them.
logging.getLogger("PIL").addHandler(logging.NullHandler())


@dataclass(frozen=True)
class Header:
    """What can be told about an image without its pixels."""

    size: Size  # (H, W)
    mode: str  # Pillow's name
    grey: bool


def read_header(data: bytes, name: str, exact: bool) -> Header:
    """Look at an image without decoding it, where that is possible.

    Parameters: exact, whether the size has to be that after EXIF rotation. Of other formats than JPEG
    only the decoded image tells, so that costs time.
    Raises Unreadable, and DataError for a mode that is not known here, naming the file.
    """
    with _damage():
        image = _open(data)
        if image.mode not in MODES:
            raise DataError(
                f"{name}: images of mode {image.mode} are not supported; save it as RGB or grey (L), or leave it out"
            )
        grey = image.mode in GREY or (image.mode in ("P", "PA") and _grey_palette(image))
        if exact and image.width != image.height and image.format != "JPEG":
            image.load()
        turn = _orientation(image) if exact else 1
        height, width = (image.width, image.height) if turn >= 5 else (image.height, image.width)
        return Header((height, width), image.mode, grey)


def decode(data: bytes, name: str, grey: bool, size: Size | None) -> tuple[np.ndarray, Size, bool]:
    """Decode an image to grey or RGB bytes, and bring it to `size` (None: its own) by the rule of `fit`.

    Returns (pixels (H, W) or (H, W, 3) uint8, the size (H, W) that it had, whether EXIF turned it).
    Raises Unreadable, and DataError for 32-bit values that are not of 16 bits.
    """
    with _damage():
        image = _open(data)
        image.load()
        turn = _orientation(image)
        flat = _to_bytes(image, name, "L" if grey else "RGB")
        if turn in TURNS:
            flat = flat.transpose(TURNS[turn])
        found = flat.height, flat.width
        return np.asarray(fit(flat, size or found)), found, turn > 1


@contextmanager
def _damage() -> Iterator[None]:
    """Turn whatever a damaged image makes Pillow raise into Unreadable."""
    try:
        yield
    except (Unreadable, DataError):
        raise
    except UnidentifiedImageError as err:
        raise Unreadable("not an image") from err
    except Exception as err:  # OSError, SyntaxError, ValueError, struct.error, IndexError, ...
        text = repr(str(err))[1:-1]
        raise Unreadable(f"damaged: {text[:100] or type(err).__name__}") from err


def _open(data: bytes) -> Image.Image:
    """Open an image lazily; its header alone is read, and its claim is checked."""
    image = Image.open(BytesIO(data), formats=_formats())
    pixels = image.width * image.height
    if not 0 < pixels <= MAX_PIXELS:
        raise Unreadable(f"claims {image.height} x {image.width} pixels, allowed are 1 to {MAX_PIXELS}")
    if image.format == "PNG" and pixels > 8 * DEFLATE * len(data):  # a pixel takes at least a bit
        raise Unreadable(f"claims {image.height} x {image.width} pixels, more than its {len(data)} bytes can hold")
    return image


@lru_cache(maxsize=1)  # at the first image and not before, as loading all of Pillow's plug-ins takes a while
def _formats() -> tuple[str, ...]:
    """Those of FORMATS that this Pillow was built with."""
    Image.init()
    return tuple(name for name in FORMATS if name in Image.OPEN)


def _orientation(image: Image.Image) -> int:
    """The EXIF orientation, 1 to 8. Damaged EXIF data are no reason to lose an image: 1."""
    try:
        value = image.getexif().get(ORIENTATION, 1)
    except Exception:  # as above: anything can come out of damaged bytes
        return 1
    return value if value in TURNS else 1


def _transparent(image: Image.Image) -> bool:
    return image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info


def _grey_palette(image: Image.Image) -> bool:
    """Whether all colours in use have red = green = blue."""
    red, green, blue = _to_bytes(image, "", "RGB").split()
    return red.tobytes() == green.tobytes() == blue.tobytes()


def _to_bytes(image: Image.Image, name: str, mode: str) -> Image.Image:
    """Mode L or RGB by the rules above."""
    if image.mode in WIDE:
        return _narrow(image, name).convert(mode)
    return (_on_black(image) if _transparent(image) else image).convert(mode)


def _on_black(image: Image.Image) -> Image.Image:
    """What shows of a transparent image, in colour. In strips, as each step on the way takes as much memory as all."""
    shown = Image.new("RGB", image.size)
    rows = max(1, STRIP // image.width)
    for top in range(0, image.height, rows):
        strip = image.crop((0, top, image.width, min(top + rows, image.height))).convert("RGBA")
        black = Image.new("RGBA", strip.size, (0, 0, 0, 255))
        shown.paste(Image.alpha_composite(black, strip).convert("RGB"), (0, top))
    return shown


def _narrow(image: Image.Image, name: str) -> Image.Image:
    """16 bits to 8."""
    values = np.asarray(image).astype(np.int64)
    if values.min() < 0 or values.max() > 65535:
        raise DataError(
            f"{name}: 32-bit values from {values.min()} to {values.max()} are not supported; save it with 8 or 16 bits"
        )
    clear = image.info.get("transparency")
    if isinstance(clear, int):
        values[values == clear] = 0
    return Image.fromarray(((values + 128) // 257).astype(np.uint8))
