"""The sample pictures of a run, small enough to be put into a page."""

import base64
import io
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from minigan.runs.pictures import evenly, read_picture

MOST = 40  # pictures in a page
BUDGET = 8 * 2**20  # bytes of all pictures together
LARGEST = 1320  # pixels on a side
SHRINK = 0.8
QUALITY = 85  # of JPEG
PNG = b"\x89PNG\r\n\x1a\n"


@dataclass(frozen=True)
class Picture:
    uri: str  # data:...
    width: int
    height: int

    @property
    def enlarged(self) -> int:
        """The width to show it with: whole multiples, so that all pixels are equally large."""
        return self.width * max(1, 640 // self.width)


def chosen(files: list[Path]) -> list[Path]:
    """The pictures that a page shows, in equal distances, with the first and the last."""
    return evenly(files, MOST)


def embedded(path: Path, budget: int) -> Picture:
    """A picture as a data URI of at most `budget` bytes before base64.

    A PNG that is small enough is taken as it is; any other becomes a JPEG, smaller and smaller until it fits.
    Raises DataError if the file is damaged.
    """
    picture, content = read_picture(path), path.read_bytes()
    if len(content) <= budget and max(picture.size) <= LARGEST and content.startswith(PNG):
        return _picture("png", content, picture.size)
    picture = picture.convert("L" if picture.mode == "L" else "RGB")
    picture.thumbnail((LARGEST, LARGEST), Image.Resampling.BOX)
    while len(content := _as_jpeg(picture)) > budget and max(picture.size) > 1:
        width, height = (max(1, int(side * SHRINK)) for side in picture.size)
        picture = picture.resize((width, height), Image.Resampling.BOX)
    return _picture("jpeg", content, picture.size)


def _picture(kind: str, content: bytes, size: tuple[int, int]) -> Picture:
    return Picture(f"data:image/{kind};base64,{base64.b64encode(content).decode()}", *size)


def _as_jpeg(picture: Image.Image) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, format="JPEG", quality=QUALITY, optimize=True)
    return buffer.getvalue()
