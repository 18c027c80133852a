"""From the shapes of somebody's weights back to the constants of a recipe."""

import math
from typing import Any

from minigan.typing import Shape

# Recipes whose constants their weights tell. In the MLPs a flat image could have any height and width.
MEASURABLE = ("dcgan-28", "dcgan-64", "dcgan-upsample", "dcgan-256", "wgan-gp-28", "cdcgan-28")


def measured(name: str, g: dict[str, Shape], d: dict[str, Shape] | None) -> tuple[dict[str, Any], int]:
    """The constants of the recipe `name` that G's and D's tensors tell, and the colour channels of the images.

    The shapes are PyTorch's: Linear (O, I), Conv2d (O, I, kh, kw), ConvTranspose2d (I, O, kh, kw), in the order of
    the layers. Whether the rest fits is for the loading to find out. Raises IndexError for too few or too flat ones.
    """
    constants: dict[str, Any]
    weights_g = [shape for shape in g.values() if len(shape) > 1]
    weights_d = [shape for shape in (d or {}).values() if len(shape) > 1]
    first, last = weights_g[0], weights_g[-1]
    if name in ("dcgan-64", "dcgan-256"):
        unit = 16 if name == "dcgan-64" else 64
        return {"latent": first[0], "width": last[0], "size": (unit * first[2], unit * first[3])}, last[1]
    if name == "wgan-gp-28":
        return {"latent": first[1], "width": last[0]}, last[1]
    if name == "cdcgan-28":
        (units, told), classes = first, last[0] - weights_g[-2][1]  # the last layer is told the classes, too
        constants = {"latent": told - classes, "units": units, "width": weights_g[-2][1], "classes": classes}
        running = any(name.endswith(".running_mean") for name in g)
        return constants | {"running_statistics": running}, last[1]
    if name == "dcgan-28":
        constants = {"latent": first[1], "units": first[0], "width": last[0]}
        if d is not None:
            constants |= {"width_d": weights_d[1][0], "first_norm": len(d.get("1.weight", ())) == 1}
        return constants, last[1]
    enlarge = "transposed" if weights_g[1][2] == 4 else "upsample"
    side = 4 * math.isqrt(first[0] // last[1])  # the weights tell how many pixels there are: a square of them
    constants = {"latent": first[1], "width": last[1], "enlarge": enlarge, "size": (side, side)}
    return constants | ({"width_d": weights_d[0][0]} if d is not None else {}), last[0]
