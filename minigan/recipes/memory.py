"""The memory that a round needs, counted from a recipe's networks: what stays, what waits for backward, what passes."""

import math

from minigan.games import UnrolledGame
from minigan.games.toolbox import ToolboxGame
from minigan.nn import (
    AveragePool,
    BatchNorm,
    Conv2D,
    ConvTranspose2D,
    Dense,
    Dropout,
    Flatten,
    Layer,
    Maxout,
    MaxPool,
    Reshape,
    pair,
)
from minigan.nn.activations import Activation
from minigan.recipes.cost import bends, generated, networks, single_layers, size
from minigan.recipes.recipe import Recipe
from minigan.typing import Shape


def round_bytes(recipe: Recipe, image_shape: Shape, itemsize: int = 4) -> int:
    r"""The largest number of bytes that a round of plain NumPy operations holds at one time.

    With P the numbers of trained parameters, M the moments of the update rule, K what the caches of
    one forward pass keep, X a batch of images, and W the most that a single layer or the update
    needs beside them, a round holds

    .. math:: P_G (2 + M_G) + P_D (2 + M_D) + \max \begin{cases}
              c\, K_G + W_G & \text{G's forward pass} \\
              K_G + 2 K_D + X + W_D & \text{D's step} \\
              K_G + K_D + \max(W_G, W_D) & \text{G's step} \end{cases}

    c is 2 where G makes samples again while those of the step before are still there, else 1; where G moves first, its
    caches are gone in D's step; a simultaneous round has one step of both. With a condition, X is an image with that
    behind it, and generated ones are there beside what G keeps.
    Where D takes real and fake images joined, W_D is that of both, and they are there twice. A penalty on gradients
    adds to D's step another K_D, the points where gradients are taken, the gradient on the output of each layer, and
    that on the input of each that bends. A G that looks ahead keeps K_D twice for each update, its gradient, and D's
    parameters and moments; the way back through a rule takes up to eleven vectors P_D. A round of toolbox-mlp is
    counted by itself. Not counted: the data set, Python, and what the libraries take.
    """
    (g, g_in), (d, d_in) = networks(recipe, image_shape)
    game, rules = recipe.game(), recipe.optimisers(1)
    p_g, p_d = size(g, g_in), size(d, d_in)
    m_g, m_d = (len(rule.moment_names) for rule in rules)
    stays = p_g * (2 + m_g) + p_d * (2 + m_d)
    if isinstance(game, ToolboxGame):
        return stays * itemsize + _toolbox_bytes(recipe, game, (g, g_in), (d, d_in), itemsize)
    kept_g, kept_d = (recipe.batch_size * kept(net, shape, itemsize) for net, shape in ((g, g_in), (d, d_in)))
    batch_d = recipe.batch_size * (2 if game.joined else 1)
    work_g = max(recipe.batch_size * work(g, g_in), max(m_g, 1) * p_g) * itemsize
    work_d = max(batch_d * work(d, d_in), max(m_d, 1) * p_d) * itemsize
    images = recipe.batch_size * math.prod(recipe.judged_shape(image_shape)) * itemsize
    pairs = images if recipe.condition else 0  # generated ones, with the condition put beside what G keeps
    first = game.order == "generator-first"  # then what G keeps is gone in D's step, else it waits for its own
    makes = (2 if generated(game) > 1 and not first else 1) * kept_g + work_g
    d_step = kept_g * (not first) + pairs + 2 * kept_d + (3 if game.joined else 1) * images + work_d
    if game.penalty is not None:
        points = images if game.penalty.at == "between" else 0
        d_step += kept_d + points + recipe.batch_size * _second_order(d, d_in) * itemsize
    if isinstance(game, UnrolledGame):  # both batches at once, and gradients apart from those of the player
        d_step += images + p_d * itemsize
        d_step += game.unroll * (2 * kept_d + p_d * (2 + m_d) * itemsize)
        if game.unroll:
            d_step += (11 * p_d + recipe.batch_size * _second_order(d, d_in)) * itemsize
    g_step = kept_g + pairs + kept_d * (2 if game.order == "simultaneous" else 1) + max(work_g, work_d)
    return stays * itemsize + max(makes, d_step, g_step)


def _toolbox_bytes(
    recipe: Recipe, game: ToolboxGame, g: tuple[Layer, Shape], d: tuple[Layer, Shape], itemsize: int
) -> int:
    """What a round of games.toolbox holds beside both players: the copy of D, and all its images at one time.

    Its steps are small. Largest are either G's sigmoid for all images, five arrays beside the real images, or the
    real and generated ones apart and together while D takes a step.
    """
    p_g, p_d, pixels = size(*g), size(*d), math.prod(d[1])
    copy = 0 if game.copy == "frozen" else 3 * p_d  # its parameters, gradients and momentum
    images = recipe.batch_size * pixels
    step = game.minibatch * (kept(*d, 1) + work(*d) + pixels)
    g_step = game.minibatch * (kept(*g, 1) + 2 * pixels) + step
    return (copy + max(6 * images, 4 * images + max(step, 2 * p_d), 2 * images + max(g_step, 2 * p_g))) * itemsize


def kept(net: Layer, in_shape: Shape, itemsize: int) -> int:
    """Bytes that the caches of one sample's forward pass keep, without the sample itself.

    An activation keeps its output and a layer with weights its input: often one array, counted once.
    """
    rows = _rows(net, in_shape)
    wants_input = [isinstance(layer, Conv2D | ConvTranspose2D | Dense) for layer, *_ in rows[1:]] + [False]
    total = 0
    for (layer, before, after), wanted_above in zip(rows, wants_input, strict=True):
        if isinstance(layer, Activation) or wanted_above:
            total += math.prod(after) * itemsize
        if isinstance(layer, BatchNorm):  # the normalised input
            total += math.prod(before) * itemsize
        elif isinstance(layer, Dropout):  # a byte for each that is kept
            total += before[-1] if layer.form == "channel" else math.prod(before)
        elif isinstance(layer, Maxout | MaxPool):
            total += _between(layer, before, after)
    return total


def _second_order(net: Layer, in_shape: Shape) -> int:
    """Numbers for one sample that a penalty on gradients keeps: on all outputs, and on the inputs of what bends."""
    rows = _rows(net, in_shape)
    return sum(math.prod(after) + math.prod(before) * bends(layer) for layer, before, after in rows)


def work(net: Layer, in_shape: Shape) -> int:
    """Numbers for one sample that the greediest layer holds beside all caches: what comes in, goes out, is between."""
    return max(math.prod(b) + _between(layer, b, a) + math.prod(a) for layer, b, a in _rows(net, in_shape))


def _between(layer: Layer, before: Shape, after: Shape) -> int:
    """Of a layer with windows all of them side by side (im2col), of others one more array."""
    if isinstance(layer, ConvTranspose2D):  # its image is the output, which is there with a border too
        return math.prod((*pair(layer.kernel), *before[:2], after[2])) + math.prod(after)
    if isinstance(layer, Conv2D | AveragePool | MaxPool):
        return math.prod((*pair(layer.kernel), *after[:2], before[2]))
    return max(math.prod(before), math.prod(after))


def _rows(net: Layer, in_shape: Shape) -> list[tuple[Layer, Shape, Shape]]:
    """(layer, input shape, output shape) of all layers that make new arrays, also of networks within."""
    return [row for row in single_layers(net, in_shape, joints=True) if not isinstance(row[0], Reshape | Flatten)]
